//! The metadata observer against Kafka's own reading of the metadata log: what it told is what `DumpLogSegments` prints,
//! change by change and in the same order; over elections, over changes of the controller, and from a snapshot on.

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use metricstream_engine::observation::{Observation, Observed, ObservedAt};
use metricstream_engine::observer::{Image, Observer};
use metricstream_engine::{ClusterSpec, Engine, FaultKind};
use metricstream_scenario::{Controllers, Topic};
use support::dump::{Change, Dump, dump};
use support::{DEADLINE, kafka, say, spec, start, topic};
use tokio::sync::mpsc::Receiver;

struct Watched {
    engine: Engine,
    topics: Vec<Topic>,
    seen: Receiver<Observation>,
    told: Vec<Observation>,
}

impl Watched {
    async fn start(spec: ClusterSpec, topics: Vec<Topic>) -> Self {
        let engine = start(spec).await.expect("started");
        let seen = engine.observations().expect("the first");
        engine.create_topics(&topics).await.expect("created");
        engine.wait_ready(&topics, DEADLINE).await.expect("ready");
        Self { engine, topics, seen, told: Vec::new() }
    }

    async fn fault(&self, kind: FaultKind, id: i32) {
        self.engine.fault(kind, id).await.unwrap_or_else(|error| panic!("{kind:?} of node {id}: {error}"));
    }

    async fn healthy(&self) {
        self.engine.wait_ready(&self.topics, DEADLINE).await.expect("healthy again");
        self.image("every ISR full", |image| image.partitions.values().all(|p| p.isr.len() == p.replicas.len())).await;
    }

    /// Waits until the observer's image is so.
    async fn image(&self, what: &str, is: impl Fn(&Image) -> bool) {
        let mut images = self.engine.watch_image();
        let image = tokio::time::timeout(DEADLINE, images.wait_for(|image| is(image))).await;
        image.unwrap_or_else(|_| panic!("waited for {what}")).expect("the observer lives");
    }

    async fn controller(&self) -> i32 {
        self.engine.active_controller().await.expect("asked").expect("there is one")
    }

    async fn another_controller_than(&self, old: i32) {
        self.image("another controller", |image| image.controller.is_some_and(|(node, _)| node != old)).await;
    }

    async fn out_of_every_isr(&self, broker: i32) {
        let out = |image: &Image| image.partitions.values().all(|p| !p.isr.contains(&broker) && p.leader != broker);
        self.image("a dead broker out of every ISR", out).await;
    }

    /// What Kafka says is in the log of a node, once the observer has told as much.
    async fn compared_with(&mut self, data: &Path) -> Dump {
        let dump = dump(data);
        let told_all = async {
            while changes(&self.told).len() < dump.changes.len() || controllers(&self.told) != dump.controllers {
                self.told.push(self.seen.recv().await.expect("the engine tells"));
            }
        };
        let late = tokio::time::timeout(Duration::from_secs(30), told_all).await.is_err();
        assert_eq!(controllers(&self.told), dump.controllers, "active controllers");
        same(&changes(&self.told), &dump.changes);
        assert!(!late);
        assert_eq!(fencing(&self.told), dump.fencing, "fenced and unfenced brokers");
        dump
    }
}

fn data(folder: &Path, id: i32) -> std::path::PathBuf {
    folder.join(format!("data/node-{id}/data"))
}

fn changes(told: &[Observation]) -> Vec<Change> {
    let longs = |ids: &[i32]| ids.iter().map(|id| i64::from(*id)).collect();
    let change = |observation: &Observation| {
        let Observed::Partition { topic, partition, replicas, isr, elr, leader, leader_epoch, partition_epoch } =
            &observation.what
        else {
            return None;
        };
        Some(Change {
            topic: topic.clone(),
            partition: i64::from(*partition),
            replicas: longs(replicas),
            isr: longs(isr),
            elr: longs(elr),
            leader: i64::from(*leader),
            leader_epoch: i64::from(*leader_epoch),
            partition_epoch: i64::from(*partition_epoch),
            timestamp_ms: wall_ms(observation.at),
        })
    };
    told.iter().filter_map(change).collect()
}

/// The controller's wall clock again, from the monotonic clock that it was mapped to.
fn wall_ms(at: ObservedAt) -> i64 {
    let (ObservedAt::Controller { at, .. } | ObservedAt::Polled { at, .. } | ObservedAt::Now(at)) = at;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    i64::try_from((now - at.elapsed()).as_millis()).expect("milliseconds")
}

fn controllers(told: &[Observation]) -> Vec<(i64, i64)> {
    let controller = |observation: &Observation| match observation.what {
        Observed::Controller { node, epoch } => Some((i64::from(node), i64::from(epoch))),
        _ => None,
    };
    told.iter().filter_map(controller).collect()
}

fn fencing(told: &[Observation]) -> Vec<(i64, bool)> {
    let fencing = |observation: &Observation| match observation.what {
        Observed::BrokerFenced { broker, .. } => Some((i64::from(broker), true)),
        Observed::BrokerUnfenced { broker, .. } => Some((i64::from(broker), false)),
        _ => None,
    };
    told.iter().filter_map(fencing).collect()
}

/// Equal in all but the clock, and in that within what a mapping there and back can add.
#[track_caller]
fn same(told: &[Change], logged: &[Change]) {
    let untimed = |change: &Change| Change { timestamp_ms: 0, ..change.clone() };
    for (at, (told, logged)) in told.iter().zip(logged).enumerate() {
        assert_eq!(untimed(told), untimed(logged), "change {at}");
        let off_ms = told.timestamp_ms.abs_diff(logged.timestamp_ms);
        assert!(off_ms <= 1_000, "change {at} is told {off_ms} ms off its time: {told:?}");
    }
    assert_eq!(told.len(), logged.len());
}

/// How often the log has a partition change leader, and how often an ISR shrink.
fn elections_and_shrinks(changes: &[Change]) -> (usize, usize) {
    let mut found = (0, 0);
    for (at, change) in changes.iter().enumerate() {
        let of_it = |other: &&Change| (&other.topic, other.partition) == (&change.topic, change.partition);
        if let Some(before) = changes[..at].iter().rev().find(of_it) {
            found.0 += usize::from(before.leader_epoch < change.leader_epoch);
            found.1 += usize::from(before.isr.len() > change.isr.len());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn every_election_and_isr_change_is_told_as_dump_log_segments_prints_it() {
    let Some(_turn) = kafka("every_election_and_isr_change_is_told_as_dump_log_segments_prints_it").await else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let topics = vec![topic("metrics", 6, 3), topic("other", 3, 2)];
    let mut watched = Watched::start(spec(folder.path(), 3, Controllers::Combined), topics).await;

    let controller = watched.controller().await;
    let broker = (1..=3).find(|id| *id != controller).expect("another");
    watched.fault(FaultKind::Kill, broker).await;
    watched.out_of_every_isr(broker).await;
    watched.fault(FaultKind::Start, broker).await;
    watched.healthy().await;

    watched.fault(FaultKind::Kill, controller).await;
    watched.another_controller_than(controller).await;
    watched.out_of_every_isr(controller).await;
    watched.fault(FaultKind::Start, controller).await;
    watched.healthy().await;

    watched.fault(FaultKind::Stop, broker).await;
    watched.out_of_every_isr(broker).await;
    watched.fault(FaultKind::Start, broker).await;
    watched.healthy().await;

    let dump = watched.compared_with(&data(folder.path(), controller)).await;
    let (elections, shrinks) = elections_and_shrinks(&dump.changes);
    say(&format!("{} changes: {elections} elections, {shrinks} shrinks", dump.changes.len()));
    assert!(elections >= 6 && shrinks >= 18, "{elections} elections, {shrinks} shrinks: the story did not happen");
    assert!(dump.controllers.len() >= 2, "{:?}", dump.controllers);
    watched.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_observer_follows_a_quorum_whose_leader_dies_and_one_that_only_stands_still() {
    let Some(_turn) = kafka("the_observer_follows_a_quorum_whose_leader_dies_and_one_that_only_stands_still").await
    else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let topics = vec![topic("metrics", 2, 1)];
    let mut watched = Watched::start(spec(folder.path(), 1, Controllers::Separate(3)), topics.clone()).await;

    let killed = watched.controller().await;
    watched.fault(FaultKind::Kill, killed).await;
    watched.another_controller_than(killed).await;
    watched.fault(FaultKind::Start, killed).await;

    let paused = watched.controller().await;
    watched.fault(FaultKind::Pause, paused).await;
    watched.another_controller_than(paused).await;
    // What the new one writes is told while the old one still holds its connections open.
    watched.engine.create_topics(&[topic("later", 3, 1)]).await.expect("created");
    watched.image("the new topic", |image| image.partitions.contains_key(&("later".to_owned(), 2))).await;
    watched.fault(FaultKind::Resume, paused).await;

    let active = watched.controller().await;
    let dump = watched.compared_with(&data(folder.path(), active)).await;
    assert!(dump.controllers.len() >= 3, "{:?}", dump.controllers);
    watched.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observer_that_comes_after_a_snapshot_knows_the_same_and_goes_on_from_there() {
    let Some(_turn) = kafka("an_observer_that_comes_after_a_snapshot_knows_the_same_and_goes_on_from_there").await
    else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let mut wanted = spec(folder.path(), 3, Controllers::Combined);
    // A snapshot as soon as there is something to say, and the log before it given up when the cleaner comes by.
    for (key, value) in [
        ("metadata.log.max.record.bytes.between.snapshots", "100"),
        ("metadata.log.max.snapshot.interval.ms", "1000"),
        ("metadata.max.retention.ms", "1000"),
    ] {
        wanted.broker_config.insert(key.to_owned(), value.to_owned());
    }
    let mut watched = Watched::start(wanted, vec![topic("metrics", 6, 3)]).await;
    let addresses = watched.engine.bootstrap_of_controllers().expect("known");
    let controllers: Vec<_> = (1..).zip(addresses.split(',').map(|at| at.parse().expect("an address"))).collect();

    let (late, mut heard, mut told) = begins_with_a_snapshot(&controllers).await;
    let controller = watched.controller().await;
    assert_eq!(late.image().controller.map(|(node, _)| node), Some(controller), "also without a record that says so");
    let broker = (1..=3).find(|id| *id != controller).expect("another");
    watched.fault(FaultKind::Kill, broker).await;
    watched.out_of_every_isr(broker).await;
    watched.fault(FaultKind::Start, broker).await;
    watched.healthy().await;
    let dump = watched.compared_with(&data(folder.path(), controller)).await;

    let image = watched.engine.image();
    let mut images = late.watch();
    let caught_up = tokio::time::timeout(DEADLINE, images.wait_for(|now| *now.as_ref() == *image)).await;
    caught_up.expect("the late observer knows all that the early one does").expect("it lives");
    told.extend(drained(&mut heard));
    let (snapshot, after): (Vec<_>, Vec<_>) = told.into_iter().partition(is_polled);
    let (snapshot, after) = (changes(&snapshot), changes(&after));
    say(&format!("{} states from the snapshot, {} changes after it", snapshot.len(), after.len()));
    assert!(after.len() >= 6, "a broker left and came back after the snapshot");
    let before = dump.changes.len() - after.len();
    same(&after, &dump.changes[before..]);
    // Each state of the snapshot is what the log says last of that partition, up to there.
    for state in &snapshot {
        let of_it = |other: &&Change| (&other.topic, other.partition) == (&state.topic, state.partition);
        let logged = dump.changes[..before].iter().rev().find(of_it).expect("the log has it");
        assert_eq!(&Change { timestamp_ms: logged.timestamp_ms, ..state.clone() }, logged);
    }
    watched.engine.stop().await;
}

/// Starts observers until one begins with a snapshot: Kafka gives the beginning of the log up when its cleaner comes by,
/// once a minute. What it told so far comes with it.
async fn begins_with_a_snapshot(
    controllers: &[(i32, SocketAddr)],
) -> (Observer, Receiver<Observation>, Vec<Observation>) {
    let begun = Instant::now();
    loop {
        let (seen, mut heard) = tokio::sync::mpsc::channel(65_536);
        let observer = Observer::follow(controllers.to_vec(), seen);
        let mut images = observer.watch();
        let known = tokio::time::timeout(DEADLINE, images.wait_for(|image| image.partitions.len() >= 6)).await;
        known.expect("the observer sees the topic").expect("it lives");
        let told = drained(&mut heard);
        if told.iter().any(is_polled) {
            return (observer, heard, told);
        }
        assert!(begun.elapsed() < DEADLINE, "waited for a metadata log that begins with a snapshot");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// What was told already; an observation comes before the image that it makes.
fn drained(heard: &mut Receiver<Observation>) -> Vec<Observation> {
    std::iter::from_fn(|| heard.try_recv().ok()).collect()
}

/// Only a snapshot, which has states and no changes, is told by another clock than the controller's.
fn is_polled(observation: &Observation) -> bool {
    matches!(observation.at, ObservedAt::Polled { .. })
}
