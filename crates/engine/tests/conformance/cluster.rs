//! The cluster that a story is told of, through the one interface that every engine has.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metricstream_engine::embedded::{self, Wanted};
use metricstream_engine::observation::Observed;
use metricstream_engine::observer::PartitionImage;
use metricstream_engine::{ClusterSpec, Engine, FaultKind, LinkRule, NodeState, Party, admin};
use metricstream_scenario::{Controllers, Profile, Topology};

pub(crate) use crate::librdkafka::until;
use crate::on::{On, Shape};
use crate::support;

/// By when anything that a story waits for must be there. Generous: machines may be busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// Between two looks for it.
pub(crate) const LOOK: Duration = Duration::from_millis(10);

/// What every cluster of the suite sets: cleaners that do not let a story wait for minutes.
const SETTINGS: &[(&str, &str)] = &[
    ("auto.create.topics.enable", "true"),
    ("default.replication.factor", "3"),
    ("log.retention.check.interval.ms", "300"),
    ("log.cleaner.backoff.ms", "200"),
    ("group.initial.rebalance.delay.ms", "100"),
];
/// The same for what only Apache Kafka has.
const OF_KAFKA: &[(&str, &str)] = &[("log.initial.task.delay.ms", "300")];
/// A broker may stand still for seconds and is not fenced; a follower that stands still soon counts no more.
const PATIENT: &[(&str, &str)] = &[("broker.session.timeout.ms", "30000"), ("replica.lag.time.max.ms", "1500")];

static FRESH: AtomicU32 = AtomicU32::new(0);

/// A cluster, and what was observed of it since it was started.
pub(crate) struct Cluster {
    /// Which engine.
    pub(crate) on: On,
    /// What it is like.
    pub(crate) shape: Shape,
    /// The engine itself.
    pub(crate) engine: Engine,
    spec: ClusterSpec,
    wanted: Wanted,
    seen: Arc<Mutex<Vec<Observed>>>,
    /// The broker epochs of processes that are gone. A broker that was killed and started at once is still known by the one
    /// of its dead process, until its session ends.
    gone: Mutex<BTreeMap<i32, i64>>,
}

/// A name that no other story uses: they may share a cluster.
pub(crate) fn fresh(base: &str) -> String {
    format!("{base}-{}", FRESH.fetch_add(1, Ordering::Relaxed))
}

fn spec(on: On, shape: Shape, folder: &Path) -> ClusterSpec {
    let controllers = if shape == Shape::Apart { Controllers::Separate(1) } else { Controllers::Combined };
    let owned = |settings: &[(&str, &str)]| -> Vec<(String, String)> {
        settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let mut broker_config: BTreeMap<String, String> =
        if on == On::Kafka { owned(OF_KAFKA).into_iter().collect() } else { embedded::fast() };
    broker_config.extend(owned(SETTINGS));
    if shape == Shape::Patient {
        broker_config.extend(owned(PATIENT));
    }
    let topology = Topology { brokers: 3, controllers, profile: Profile::Fast, broker_config, topics: Vec::new() };
    let (data, logs) = (folder.join("data"), folder.join("logs"));
    let mut spec = ClusterSpec::new("conformance", &topology, data, logs, support::guardian());
    // Of the embedded cluster this is what decides between files and memory.
    spec.keep_data = on == On::Files || (on == On::Kafka && shape == Shape::Kept);
    spec
}

async fn run(on: On, spec: &ClusterSpec, wanted: &Wanted) -> (Engine, Arc<Mutex<Vec<Observed>>>) {
    let engine = match on {
        On::Kafka => support::start(spec.clone()).await,
        On::Memory | On::Files => Engine::start_embedded(spec, wanted, DEADLINE).await,
    };
    let engine = engine.unwrap_or_else(|error| panic!("{}: {error}", on.name()));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (mut observations, kept) = (engine.observations().expect("the first"), Arc::clone(&seen));
    tokio::spawn(async move {
        while let Some(observation) = observations.recv().await {
            kept.lock().expect("unpoisoned").push(observation.what);
        }
    });
    (engine, seen)
}

impl Cluster {
    /// A cluster whose brokers are all there.
    pub(crate) async fn start(on: On, shape: Shape, folder: &Path) -> Self {
        Self::flawed(on, shape, folder, &[]).await
    }

    /// The same with flaws switched on, which only the embedded cluster has.
    pub(crate) async fn flawed(on: On, shape: Shape, folder: &Path, flaws: &[&str]) -> Self {
        let (spec, flaws) = (spec(on, shape, folder), flaws.iter().map(|flaw| (*flaw).to_owned()).collect());
        let wanted = Wanted { seed: 7, flaws };
        let (engine, seen) = run(on, &spec, &wanted).await;
        let this = Self { on, shape, engine, spec, wanted, seen, gone: Mutex::default() };
        this.whole().await;
        this
    }

    /// Ends it and starts it again from what it left in its files.
    pub(crate) async fn start_again_from_files(&mut self) {
        assert!(self.spec.keep_data, "there are files");
        for id in self.brokers() {
            self.goes(id);
        }
        self.engine.stop().await;
        (self.engine, self.seen) = run(self.on, &self.spec, &self.wanted).await;
        self.whole().await;
    }

    /// Heals it: links mended, every node running, every broker unfenced.
    pub(crate) async fn whole(&self) {
        if self.engine.capabilities().links {
            self.mend();
        }
        for node in self.engine.nodes() {
            match node.state {
                NodeState::Running | NodeState::Starting => {}
                NodeState::Paused => self.fault(FaultKind::Resume, node.id).await,
                _ => self.fault(FaultKind::Start, node.id).await,
            }
        }
        for id in self.brokers() {
            self.unfenced(id).await;
        }
    }

    pub(crate) fn bootstrap(&self) -> String {
        self.engine.bootstrap()
    }

    /// Ids of the brokers.
    pub(crate) fn brokers(&self) -> Vec<i32> {
        self.engine.nodes().iter().filter(|node| node.role.is_broker()).map(|node| node.id).collect()
    }

    /// Brokers but these.
    pub(crate) fn others(&self, than: &[i32]) -> Vec<i32> {
        self.brokers().into_iter().filter(|id| !than.contains(id)).collect()
    }

    /// Where a broker listens.
    pub(crate) fn at(&self, id: i32) -> SocketAddr {
        let node = self.engine.nodes().into_iter().find(|node| node.id == id).expect("a node");
        SocketAddr::from((Ipv4Addr::LOCALHOST, node.port))
    }

    pub(crate) fn runs(&self, id: i32) -> bool {
        self.engine.nodes().iter().any(|node| node.id == id && node.state == NodeState::Running)
    }

    async fn fault(&self, kind: FaultKind, id: i32) {
        self.engine.fault(kind, id).await.unwrap_or_else(|error| panic!("{kind:?} of node {id}: {error}"));
    }

    fn goes(&self, id: i32) {
        if let Some(broker) = self.engine.image().brokers.get(&id) {
            self.gone.lock().expect("unpoisoned").insert(id, broker.broker_epoch);
        }
    }

    /// Whether the broker's present process is known and unfenced.
    fn is_back(&self, id: i32) -> bool {
        let gone = self.gone.lock().expect("unpoisoned").get(&id).copied();
        let image = self.engine.image();
        image.brokers.get(&id).is_some_and(|b| !b.fenced && gone.is_none_or(|epoch| b.broker_epoch > epoch))
    }

    pub(crate) async fn kill(&self, id: i32) {
        self.goes(id);
        self.fault(FaultKind::Kill, id).await;
    }

    /// A controlled shutdown, to its end.
    pub(crate) async fn stop(&self, id: i32) {
        self.goes(id);
        self.fault(FaultKind::Stop, id).await;
    }

    pub(crate) async fn pause(&self, id: i32) {
        self.fault(FaultKind::Pause, id).await;
    }

    pub(crate) async fn resume(&self, id: i32) {
        self.fault(FaultKind::Resume, id).await;
    }

    pub(crate) async fn start_node(&self, id: i32) {
        self.fault(FaultKind::Start, id).await;
    }

    /// Starts it on a new disk.
    pub(crate) async fn start_empty(&self, id: i32) {
        self.fault(FaultKind::StartReformatted, id).await;
    }

    /// Starts it without its partitions' logs.
    pub(crate) async fn start_wiped(&self, id: i32) {
        self.fault(FaultKind::StartWiped, id).await;
    }

    /// A partition as the metadata log has it.
    pub(crate) fn partition(&self, topic: &str, number: i32) -> Option<PartitionImage> {
        self.engine.image().partitions.get(&(topic.to_owned(), number)).cloned()
    }

    /// The leader of a partition, once there is one that runs.
    pub(crate) async fn leader(&self, topic: &str, number: i32) -> i32 {
        until("a leader that runs", || async {
            self.partition(topic, number).map(|p| p.leader).filter(|id| self.runs(*id))
        })
        .await
    }

    /// Waits until a partition is as is said.
    pub(crate) async fn partition_is(
        &self,
        topic: &str,
        number: i32,
        what: &str,
        fits: impl Fn(&PartitionImage) -> bool,
    ) -> PartitionImage {
        until(what, || async { self.partition(topic, number).filter(&fits) }).await
    }

    /// Waits until every replica of a topic that exists is in its ISR, as the process that it is now.
    pub(crate) async fn in_sync(&self, topic: &str) {
        until("full ISRs", || async {
            let image = self.engine.image();
            let mut all = image.partitions.iter().filter(|((name, _), _)| name == topic).peekable();
            all.peek()?;
            let whole = |p: &PartitionImage| {
                p.isr.len() == p.replicas.len() && p.leader >= 0 && p.isr.iter().all(|id| self.is_back(*id))
            };
            all.all(|(_, p)| whole(p)).then_some(())
        })
        .await;
    }

    pub(crate) async fn fenced(&self, id: i32) {
        until("a broker to be fenced", || async {
            self.engine.image().brokers.get(&id).filter(|broker| broker.fenced).map(|_| ())
        })
        .await;
    }

    pub(crate) async fn unfenced(&self, id: i32) {
        until("a broker to be unfenced", || async { self.is_back(id).then_some(()) }).await;
    }

    /// The active controller, once it is one that runs.
    pub(crate) async fn controller(&self) -> i32 {
        until("an active controller that runs", || async {
            self.engine.image().controller.map(|(id, _)| id).filter(|id| self.runs(*id))
        })
        .await
    }

    /// Waits until every broker that runs knows a leader of each of so many partitions of a topic.
    pub(crate) async fn known_everywhere(&self, topic: &str, partitions: usize) {
        for id in self.brokers().into_iter().filter(|id| self.runs(*id)) {
            until("a broker to know the topic's leaders", || async {
                let told = admin::metadata(self.at(id), Some(&[topic.to_owned()])).await.ok()?;
                let led = told.topics.first()?.partitions.iter().filter(|p| p.error_code == 0 && p.leader_id >= 0);
                (led.count() == partitions).then_some(())
            })
            .await;
        }
    }

    /// How much was observed so far.
    pub(crate) fn seen_so_far(&self) -> usize {
        self.seen.lock().expect("unpoisoned").len()
    }

    /// What was observed after that, in the order of the metadata log.
    pub(crate) fn seen_after(&self, mark: usize) -> Vec<Observed> {
        self.seen.lock().expect("unpoisoned")[mark..].to_vec()
    }

    /// Cuts links, both ways.
    pub(crate) fn cut(&self, pairs: &[(Party, Party)]) {
        let both = pairs.iter().flat_map(|(a, b)| [(*a, *b), (*b, *a)]);
        let (delay, jitter) = (Duration::ZERO, Duration::ZERO);
        let rules: Vec<LinkRule> =
            both.map(|(from, to)| LinkRule { from, to, cut: true, delay, jitter, bytes_per_s: None }).collect();
        self.engine.set_links(&rules).expect("cut");
    }

    pub(crate) fn mend(&self) {
        self.engine.set_links(&[]).expect("mended");
    }
}
