//! Bytes that no client would send, and clients that only cost: others are served on.

use std::time::Duration;

use rdkafka::Offset;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::support::{DEADLINE, fast, frame, is_cut, producer, read, reader, send, until};

/// Both ends of every connection are in this process: that takes more open files than a shell usually allows.
fn allow_files(wanted: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let current = now.maximum.map_or(wanted, |most| most.min(wanted));
    if now.current.is_some_and(|current| current < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum: now.maximum }).expect("more open files");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_idle_connections_cost_others_nothing() {
    allow_files(4_096);
    let cluster = fast().brokers(1).topic("t", 1, 1).start().await.expect("a cluster");
    let at = cluster.brokers()[0].1;
    let mut idle = Vec::new();
    for _ in 0..1_000 {
        idle.push(TcpStream::connect(at).await.expect("connected"));
    }
    send(&producer(&cluster, &[]), "t", 0, 0..100).await;
    assert_eq!(read(&reader(&cluster, "t", 0, Offset::Beginning), 100).len(), 100);
    // And the first and the last of them are served when they ask at last.
    for mut stream in [idle.remove(0), idle.pop().expect("some")] {
        stream.write_all(&frame(18, 0, b"")).await.expect("sent");
        let mut length = [0; 4];
        timeout(DEADLINE, stream.read_exact(&mut length)).await.expect("in time").expect("an answer");
        assert!(i32::from_be_bytes(length) > 10);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_limit_of_connections_new_ones_are_closed_and_old_ones_served_on() {
    let cluster = fast().brokers(1).set("max.connections", "40").topic("t", 1, 1).start().await.expect("a cluster");
    let at = cluster.brokers()[0].1;
    let client = producer(&cluster, &[]);
    send(&client, "t", 0, 0..1).await;
    let (mut kept, mut closed) = (Vec::new(), 0);
    for _ in 0..60 {
        let mut stream = TcpStream::connect(at).await.expect("connected");
        let asked = stream.write_all(&frame(18, 0, b"")).await;
        let mut length = [0; 4];
        let answered =
            asked.is_ok() && timeout(DEADLINE, stream.read_exact(&mut length)).await.expect("in time").is_ok();
        if answered { kept.push(stream) } else { closed += 1 }
    }
    assert!(closed >= 20 && kept.len() >= 20, "{} are served, {closed} are not", kept.len());
    send(&client, "t", 0, 1..20).await;
    // Whoever goes makes room.
    drop(kept);
    let again = || async { (!is_cut(at, &frame(18, 0, b"")).await).then_some(()) };
    until("room for another connection", again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_no_answer_is_cut_and_others_are_served() {
    let patience = Duration::from_millis(300);
    let cluster = fast().brokers(1).slow_reader(patience).topic("t", 1, 1).start().await.expect("a cluster");
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a small buffer");
    let mut greedy = socket.connect(cluster.brokers()[0].1).await.expect("connected");
    let many = frame(18, 0, b"").repeat(1_000);
    // It asks until nobody takes its questions any more: its connection is gone, and it never read.
    let asking = async { while greedy.write_all(&many).await.is_ok() {} };
    timeout(DEADLINE, asking).await.expect("it is cut");
    send(&producer(&cluster, &[]), "t", 0, 0..10).await;
}
