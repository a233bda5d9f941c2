//! Fetch sessions (KIP-227), which librdkafka does not use: what is told in one, and how it ends.

use metricstream_engine::admin;
use metricstream_wire::api::fetch::{FetchPartition, FetchRequest, FetchTopic, ForgottenTopic};
use metricstream_wire::{ErrorCode, Uuid};

use crate::clients::{create, producer, send};
use crate::cluster::{Cluster, fresh};
use crate::wire::Wire;

/// Topics by id.
const BY_IDS: i16 = 17;
/// And by name.
const BY_NAMES: i16 = 12;
const LONG_MS: i32 = 30_000;

/// A topic as a reader names it, and the broker that it asks.
struct Reader {
    to: Wire,
    name: String,
    id: Uuid,
}

/// An answer: its code and session, and each partition with its code and whether it has records.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    error: ErrorCode,
    session: i32,
    partitions: Vec<(i32, ErrorCode, bool)>,
}

fn nothing(session: i32) -> Told {
    Told { error: ErrorCode::NONE, session, partitions: Vec::new() }
}

fn refused(error: ErrorCode) -> Told {
    Told { error, session: 0, partitions: Vec::new() }
}

impl Reader {
    /// A request: its session and epoch, partitions with the offsets to read from, and those that are wanted no more.
    fn request(&self, version: i16, session: (i32, i32), from: &[(i32, i64)], forget: &[i32]) -> FetchRequest {
        let (name, id) = if version == BY_IDS { (String::new(), self.id) } else { (self.name.clone(), [0; 16]) };
        let partition = |(partition, fetch_offset): &(i32, i64)| FetchPartition {
            partition: *partition,
            fetch_offset: *fetch_offset,
            partition_max_bytes: 1 << 20,
            ..Default::default()
        };
        let asked = FetchTopic { topic: name.clone(), topic_id: id, partitions: from.iter().map(partition).collect() };
        let forgotten = ForgottenTopic { topic: name, topic_id: id, partitions: forget.to_vec() };
        FetchRequest {
            session_id: session.0,
            session_epoch: session.1,
            min_bytes: 1,
            topics: if from.is_empty() { Vec::new() } else { vec![asked] },
            forgotten_topics_data: if forget.is_empty() { Vec::new() } else { vec![forgotten] },
            ..Default::default()
        }
    }

    async fn ask(&mut self, version: i16, request: &FetchRequest) -> Told {
        let answer = self.to.call(request, version).await;
        let (error, session) = (ErrorCode(answer.error_code), answer.session_id);
        let mut partitions = Vec::new();
        for told in answer.responses.into_iter().flat_map(|topic| topic.partitions) {
            let records = !told.records.unwrap_or_default().is_empty();
            partitions.push((told.partition_index, ErrorCode(told.error_code), records));
        }
        partitions.sort_by_key(|(partition, ..)| *partition);
        Told { error, session, partitions }
    }

    async fn fetch(&mut self, session: (i32, i32), from: &[(i32, i64)], forget: &[i32]) -> Told {
        let request = self.request(BY_IDS, session, from, forget);
        self.ask(BY_IDS, &request).await
    }

    /// The same, which waits until there is something to read.
    async fn wait(&mut self, session: (i32, i32)) -> Told {
        let request = FetchRequest { max_wait_ms: LONG_MS, ..self.request(BY_IDS, session, &[], &[]) };
        self.ask(BY_IDS, &request).await
    }

    /// A session in which both partitions were told of, without records.
    async fn session(&mut self, from: &[(i32, i64)]) -> i32 {
        let told = self.fetch((0, 0), from, &[]).await;
        let wanted: Vec<_> = from.iter().map(|(partition, _)| (*partition, ErrorCode::NONE, false)).collect();
        assert!(told.session > 0 && told.partitions == wanted, "{told:?}");
        told.session
    }
}

/// A topic of which one broker leads two partitions, with a record in each.
async fn scene(cluster: &Cluster) -> (Reader, [i32; 2]) {
    let topic = fresh("sessions");
    create(cluster, &topic, 4, 3, &[]).await;
    cluster.in_sync(&topic).await;
    let mut led = Vec::new();
    for partition in 0..4 {
        led.push((cluster.leader(&topic, partition).await, partition));
    }
    let of = |id: i32| led.iter().filter(move |(leader, _)| *leader == id).map(|(_, partition)| *partition);
    let leader = cluster.brokers().into_iter().find(|id| of(*id).count() >= 2).expect("four among three");
    let mine: Vec<i32> = of(leader).collect();
    let producer = producer(cluster, &[]);
    for partition in &mine[..2] {
        send(&producer, &topic, *partition, 0..1).await;
    }
    let told = admin::metadata(cluster.at(leader), Some(std::slice::from_ref(&topic))).await.expect("an answer");
    let reader = Reader { to: Wire::to(cluster, leader).await, name: topic, id: told.topics[0].topic_id };
    (reader, [mine[0], mine[1]])
}

pub(crate) async fn a_fetch_session_tells_only_what_is_new_and_refuses_who_is_out_of_turn(cluster: &mut Cluster) {
    let (mut reader, [one, other]) = scene(cluster).await;
    let full = reader.fetch((0, 0), &[(one, 0), (other, 1)], &[]).await;
    assert!(full.session > 0, "{full:?}");
    assert_eq!(full.partitions, [(one, ErrorCode::NONE, true), (other, ErrorCode::NONE, false)]);
    let id = full.session;
    assert_eq!(reader.fetch((id, 1), &[(one, 1)], &[]).await, nothing(id));

    send(&producer(cluster, &[]), &reader.name, other, 1..2).await;
    for epoch in [2, 3] {
        let told = reader.wait((id, epoch)).await;
        assert_eq!(told.partitions, [(other, ErrorCode::NONE, true)], "epoch {epoch}: its position was not moved");
    }
    assert_eq!(reader.fetch((id, 3), &[], &[]).await, refused(ErrorCode::INVALID_FETCH_SESSION_EPOCH));
    assert_eq!(reader.fetch((id, 5), &[], &[]).await, refused(ErrorCode::INVALID_FETCH_SESSION_EPOCH));
    assert_eq!(reader.fetch((id ^ 1, 4), &[], &[]).await, refused(ErrorCode::FETCH_SESSION_ID_NOT_FOUND));
    let by_name = reader.request(BY_NAMES, (id, 4), &[], &[]);
    assert_eq!(reader.ask(BY_NAMES, &by_name).await, refused(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR));
    assert_eq!(reader.fetch((id, 4), &[(other, 2)], &[]).await, nothing(id), "no refusal moved its epoch");

    let wrong = vec![(one, ErrorCode::OFFSET_OUT_OF_RANGE, false)];
    assert_eq!(reader.fetch((id, 5), &[(one, 99)], &[]).await.partitions, wrong);
    assert_eq!(reader.fetch((id, 6), &[], &[]).await.partitions, wrong, "an error is told every time");
    let right = reader.fetch((id, 7), &[(one, 1)], &[]).await;
    assert_eq!(right.partitions, [(one, ErrorCode::NONE, false)], "its end is told once");
    assert_eq!(reader.fetch((id, 8), &[], &[]).await, nothing(id));
    assert_eq!(reader.fetch((id, 9), &[(other, 1)], &[other]).await, nothing(id), "what is forgotten is not told");

    // The session is not the connection's.
    let at = cluster.leader(&reader.name, one).await;
    reader.to = Wire::to(cluster, at).await;
    assert_eq!(reader.fetch((id, 10), &[], &[]).await, nothing(id));
}

pub(crate) async fn a_fetch_session_ends_when_it_is_closed_replaced_or_empty(cluster: &mut Cluster) {
    let (mut reader, [one, other]) = scene(cluster).await;
    let from = [(one, 1), (other, 1)];
    let gone = refused(ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
    let first = reader.session(&from).await;
    let second = reader.fetch((first, 0), &from, &[]).await;
    assert!(second.session > 0 && second.session != first && second.partitions.len() == 2, "{second:?}");
    assert_eq!(reader.fetch((first, 1), &[], &[]).await, gone, "replaced");
    let closed = reader.fetch((second.session, -1), &from, &[]).await;
    assert_eq!((closed.session, closed.partitions.len()), (0, 2), "a full fetch without a session");
    assert_eq!(reader.fetch((second.session, 1), &[], &[]).await, gone, "closed");
    let third = reader.session(&from).await;
    assert_eq!(reader.fetch((third, 1), &[], &[one, other]).await, nothing(0));
    assert_eq!(reader.fetch((third, 2), &[], &[]).await, gone, "empty");
}
