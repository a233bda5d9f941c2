//! What a client that keeps asking is told while a leader dies that is the active controller, too: the longest that a cluster
//! of living sockets is without one. How quickly librdkafka goes on is measured by `cargo xtask bench cluster`.

use std::net::SocketAddr;
use std::time::Duration;

use metricstream_cluster::Cluster;
use metricstream_wire::api::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use metricstream_wire::frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{DEADLINE, fast, partition, running, until};

const VERSION: i16 = 12;
const KILLS: u32 = 5;
/// Between an answer and the next question.
const PAUSE: Duration = Duration::from_millis(1);

/// What was told after one kill.
#[derive(Debug, Default)]
struct Told {
    /// Answers to questions after the death that still named the dead leader.
    dead: u32,
    /// Whether the first that named another one listed the dead broker.
    listed: bool,
}

async fn ask(stream: &mut TcpStream) -> MetadataResponse {
    let topic = MetadataRequestTopic { name: Some("t".into()), ..MetadataRequestTopic::default() };
    let body = MetadataRequest { topics: Some(vec![topic]), ..MetadataRequest::default() };
    let question = frame::request(&body, VERSION, 1, "asker").expect("declared");
    stream.write_all(&question).await.expect("sent");
    let answer = async {
        let mut length = [0; 4];
        stream.read_exact(&mut length).await.expect("an answer");
        let mut bytes = vec![0; usize::try_from(i32::from_be_bytes(length)).expect("a length")];
        stream.read_exact(&mut bytes).await.expect("the rest of it");
        bytes
    };
    let bytes = timeout(DEADLINE, answer).await.expect("in time");
    frame::response::<MetadataRequest>(bytes.into(), VERSION).expect("an answer that can be read").1
}

fn leader(answer: &MetadataResponse, partition: i32) -> i32 {
    let partitions = &answer.topics[0].partitions;
    partitions.iter().find(|p| p.partition_index == partition).expect("it is there").leader_id
}

/// Kills the active controller, and asks another node who leads now what it led, until somebody does.
async fn one_kill(cluster: &Cluster) -> Told {
    cluster.wait_isr_full(DEADLINE).await.expect("in sync");
    // A leader that came back leads nothing: what is led may have to be looked for.
    let (victim, number) = until("a controller that leads", || async {
        let office = cluster.controller().await?;
        for number in 0..3 {
            if partition(cluster, "t", number).await?.leader == office {
                return Some((office, number));
            }
        }
        // Another one takes the office.
        cluster.stop(office).await.ok()?;
        cluster.restart(office).await.ok()?;
        cluster.wait_isr_full(DEADLINE).await.ok()?;
        None
    })
    .await;
    let other = running(cluster).into_iter().find(|id| *id != victim).expect("three run");
    let at: SocketAddr = cluster.brokers().into_iter().find(|(id, _)| *id == other).expect("it listens").1;
    let mut stream = TcpStream::connect(at).await.expect("connected");
    assert_eq!(leader(&ask(&mut stream).await, number), victim);
    cluster.kill(victim).await.expect("killed");
    let mut told = Told::default();
    loop {
        let answer = ask(&mut stream).await;
        let leads = leader(&answer, number);
        if leads != victim && leads >= 0 {
            told.listed = answer.brokers.iter().any(|b| b.node_id == victim);
            break;
        }
        told.dead += 1;
        tokio::time::sleep(PAUSE).await;
    }
    cluster.restart(victim).await.expect("restarted");
    told
}

async fn kills(wait_ms: &str) -> Vec<Told> {
    let wait = "metricstream.metadata.wait.after.disconnect.ms";
    let cluster = fast().set(wait, wait_ms).topic("t", 3, 3).start().await.expect("a cluster");
    let mut told = Vec::new();
    for _ in 0..KILLS {
        told.push(one_kill(&cluster).await);
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_while_its_leader_dies_is_told_of_the_next_one_and_not_of_the_dead() {
    let (waiting, at_once) = (kills("200").await, kills("-1").await);
    let dead = |told: &[Told]| told.iter().map(|t| t.dead).sum::<u32>();
    eprintln!("{waiting:?}\n{at_once:?}");
    assert!(
        dead(&waiting) < dead(&at_once),
        "{} answers named the dead, {} without waiting",
        dead(&waiting),
        dead(&at_once)
    );
    assert!(waiting.iter().all(|told| told.listed), "it died less than 200 ms ago");
    assert!(at_once.iter().all(|told| !told.listed), "fenced brokers are not listed");
}
