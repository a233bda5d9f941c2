//! One interface to every engine. What an engine cannot do it says before anybody tries.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use metricstream_scenario::Topic;
use tokio::sync::{mpsc, watch};

use crate::admin::{self, AdminError};
use crate::embedded::{self, Embedded};
use crate::error::EngineError;
use crate::kafka::{KafkaCluster, Progress, Wanted};
use crate::observation::{Observation, Observed};
use crate::observer::{Image, Observer};
use crate::remote::{MetadataSource, Remote};
use crate::spec::{Capabilities, ClusterSpec, FaultKind, Injected, LinkRule, NodeStatus};

/// Observations that are kept until somebody takes them.
const OBSERVATIONS_MAX: usize = 65_536;
/// Where the metadata log cannot be read, metadata is asked for this often: the resolution of what is seen then.
pub const POLL_INTERVAL: Duration = Duration::from_millis(250);
const CREATE_DEADLINE: Duration = Duration::from_secs(60);

/// A cluster, whoever runs it. Clones are the same cluster; when the last is dropped, what was started is ended.
#[derive(Debug, Clone)]
pub struct Engine {
    kind: Kind,
    observer: Arc<Observer>,
    exact_metadata: bool,
    observations: Arc<Observations>,
}

#[derive(Debug, Clone)]
enum Kind {
    Embedded(Embedded),
    Kafka(KafkaCluster),
    Remote(Remote),
}

#[derive(Debug)]
struct Observations {
    untaken: Mutex<Option<mpsc::Receiver<Observation>>>,
    taken: AtomicBool,
}

impl Observations {
    /// A sender, and where what is sent can be taken from. Senders are never held up as long as nobody takes it.
    fn new() -> (mpsc::Sender<Observation>, Arc<Self>) {
        let (seen, heard) = mpsc::channel(1024);
        let (kept, untaken) = mpsc::channel(OBSERVATIONS_MAX);
        let this = Arc::new(Self { untaken: Mutex::new(Some(untaken)), taken: AtomicBool::new(false) });
        tokio::spawn(keep(heard, kept, Arc::clone(&this)));
        (seen, this)
    }
}

async fn keep(mut heard: mpsc::Receiver<Observation>, kept: mpsc::Sender<Observation>, state: Arc<Observations>) {
    let mut dropped = 0_u64;
    while let Some(observation) = heard.recv().await {
        // Once somebody reads, nothing is dropped any more; until then the newest are, when there are too many.
        let taken = state.taken.load(Ordering::SeqCst);
        if dropped > 0 && (taken || kept.capacity() > 1) {
            let text = format!("{dropped} observations were dropped: nobody took them");
            dropped = 0;
            let _ = kept.send(Observation::now(Observed::Note(text))).await;
        }
        if taken {
            let _ = kept.send(observation).await;
        } else if kept.try_send(observation).is_err() {
            dropped += 1;
        }
    }
}

impl Engine {
    /// Starts Apache Kafka on this machine, installing it if need be, and waits until every node has started.
    ///
    /// # Errors
    /// Whatever stands in the way; nothing is left running then.
    pub async fn start_kafka(
        spec: ClusterSpec,
        wanted: Wanted,
        progress: Arc<Progress>,
        deadline: Duration,
    ) -> Result<Self, EngineError> {
        let (seen, observations) = Observations::new();
        let cluster = KafkaCluster::prepare(spec, wanted, progress, seen.clone()).await?;
        // Before the first node: the observer sees the cluster's first word.
        let observer = Observer::follow(cluster.controllers(), seen);
        cluster.launch(deadline).await?;
        Ok(Self { kind: Kind::Kafka(cluster), observer: Arc::new(observer), exact_metadata: true, observations })
    }

    /// Starts the embedded cluster, and waits until all its brokers are unfenced.
    ///
    /// # Errors
    /// Whatever stands in the way; nothing is left running then.
    pub async fn start_embedded(
        spec: &ClusterSpec,
        wanted: &embedded::Wanted,
        deadline: Duration,
    ) -> Result<Self, EngineError> {
        let (seen, observations) = Observations::new();
        let cluster = Embedded::start(spec, wanted, seen.clone(), deadline).await?;
        // It reads the log from its beginning, so nothing of the start is missed.
        let observer = Observer::follow(cluster.controllers(), seen);
        Ok(Self { kind: Kind::Embedded(cluster), observer: Arc::new(observer), exact_metadata: true, observations })
    }

    /// Observes a cluster that somebody else runs. Its metadata log is followed where its controllers are on this machine
    /// and want no credentials; else `source` is asked every [`POLL_INTERVAL`], and a note says so and why.
    pub async fn over_remote(remote: Remote, source: Arc<dyn MetadataSource>) -> Self {
        let (seen, observations) = Observations::new();
        let controllers = if remote.is_plaintext() {
            admin::controllers_here(remote.reached()).await
        } else {
            Err("the cluster demands encryption or credentials".to_owned())
        };
        let (observer, exact_metadata) = match controllers {
            Ok(controllers) => (Observer::attach(controllers, seen), true),
            Err(why) => {
                let text = format!(
                    "leaders and ISRs are polled every {} ms, which is how late they may be told: the controllers' \
                     metadata log cannot be read here: {why}",
                    POLL_INTERVAL.as_millis()
                );
                // The channel is new and empty.
                let _ = seen.try_send(Observation::now(Observed::Note(text)));
                (Observer::poll(source, POLL_INTERVAL, seen), false)
            }
        };
        Self { kind: Kind::Remote(remote), observer: Arc::new(observer), exact_metadata, observations }
    }

    /// `embedded`, `kafka` or `remote`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self.kind {
            Kind::Embedded(_) => "embedded",
            Kind::Kafka(_) => "kafka",
            Kind::Remote(_) => "remote",
        }
    }

    /// What ran: `kafka`, `java`; of the embedded cluster the version of Kafka's protocol that it follows. Empty where it
    /// is not known.
    #[must_use]
    pub fn versions(&self) -> BTreeMap<String, String> {
        match &self.kind {
            Kind::Embedded(_) => BTreeMap::from([("kafka protocol".to_owned(), embedded::PROTOCOL.to_owned())]),
            Kind::Kafka(cluster) => BTreeMap::from([
                ("kafka".to_owned(), cluster.version().to_owned()),
                ("java".to_owned(), cluster.java_version().to_owned()),
            ]),
            Kind::Remote(_) => BTreeMap::new(),
        }
    }

    /// What it can do.
    #[must_use]
    pub const fn capabilities(&self) -> Capabilities {
        let own = !matches!(self.kind, Kind::Remote(_));
        let links = matches!(self.kind, Kind::Embedded(_));
        Capabilities { faults: own, links, exact_metadata: self.exact_metadata, own_cluster: own }
    }

    /// Bootstrap addresses for clients.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        match &self.kind {
            Kind::Embedded(cluster) => cluster.bootstrap(),
            Kind::Kafka(cluster) => cluster.bootstrap(),
            Kind::Remote(remote) => remote.bootstrap().to_owned(),
        }
    }

    /// Addresses of the voters, where they are known.
    #[must_use]
    pub fn bootstrap_of_controllers(&self) -> Option<String> {
        let controllers = match &self.kind {
            Kind::Embedded(cluster) => cluster.controllers(),
            Kind::Kafka(cluster) => cluster.controllers(),
            Kind::Remote(_) => return None,
        };
        let addresses: Vec<String> = controllers.iter().map(|(_, at)| at.to_string()).collect();
        Some(addresses.join(","))
    }

    /// What every client must set to be let in; it may hold secrets.
    #[must_use]
    pub fn client_config(&self) -> BTreeMap<String, String> {
        match &self.kind {
            Kind::Embedded(_) | Kind::Kafka(_) => BTreeMap::new(),
            Kind::Remote(remote) => remote.client_config().clone(),
        }
    }

    /// Every node as it is now; empty where somebody else runs them.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeStatus> {
        match &self.kind {
            Kind::Embedded(cluster) => cluster.nodes(),
            Kind::Kafka(cluster) => cluster.nodes(),
            Kind::Remote(_) => Vec::new(),
        }
    }

    /// What is known of brokers and partitions.
    #[must_use]
    pub fn image(&self) -> Arc<Image> {
        self.observer.image()
    }

    /// To be told of every change of [`image`](Self::image).
    #[must_use]
    pub fn watch_image(&self) -> watch::Receiver<Arc<Image>> {
        self.observer.watch()
    }

    /// What is observed from the start on; it can be taken once.
    #[must_use]
    pub fn observations(&self) -> Option<mpsc::Receiver<Observation>> {
        let taken = self.observations.untaken.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.observations.taken.store(true, Ordering::SeqCst);
        taken
    }

    /// Carries out a fault on a node. Faults on different nodes may be carried out at the same time.
    ///
    /// # Errors
    /// If the engine cannot, the node does not exist or its state does not fit.
    pub async fn fault(&self, kind: FaultKind, node: i32) -> Result<Injected, EngineError> {
        match &self.kind {
            Kind::Embedded(cluster) => cluster.fault(kind, node).await,
            Kind::Kafka(cluster) => cluster.fault(kind, node).await,
            Kind::Remote(_) => Err(EngineError::Unsupported {
                engine: "remote",
                what: format!("have node {node} {}", kind.participle()),
                remedy: "use --engine embedded or kafka, or leave them out: --without-faults",
            }),
        }
    }

    /// Every link as these rules say; one that is not among them is as it was made.
    ///
    /// # Errors
    /// If the engine has no say over links ([`Capabilities::links`]), or a node does not exist.
    pub fn set_links(&self, rules: &[LinkRule]) -> Result<Injected, EngineError> {
        match &self.kind {
            Kind::Embedded(cluster) => cluster.set_links(rules),
            Kind::Kafka(_) | Kind::Remote(_) => Err(EngineError::Unsupported {
                engine: self.name(),
                what: "slow or cut links".to_owned(),
                remedy: "use --engine embedded",
            }),
        }
    }

    /// The flaws that are switched on.
    #[must_use]
    pub fn flaws(&self) -> &[String] {
        match &self.kind {
            Kind::Embedded(cluster) => cluster.flaws(),
            Kind::Kafka(_) | Kind::Remote(_) => &[],
        }
    }

    /// The addresses of the brokers that run; of a remote cluster none, which is reached otherwise.
    fn running_brokers(&self) -> Vec<SocketAddr> {
        match &self.kind {
            Kind::Embedded(cluster) => cluster.running_brokers(),
            Kind::Kafka(cluster) => cluster.running_brokers(),
            Kind::Remote(_) => Vec::new(),
        }
    }

    /// Comes back when a node has ended by itself.
    async fn wait_ended(&self) -> EngineError {
        match &self.kind {
            Kind::Embedded(cluster) => cluster.wait_ended().await,
            Kind::Kafka(cluster) => cluster.wait_ended().await,
            Kind::Remote(_) => std::future::pending().await,
        }
    }

    /// Creates topics, all or none known to be there; one that exists is refused.
    ///
    /// # Errors
    /// If the cluster refuses or does not answer, or is not the engine's own: that takes a client with credentials.
    pub async fn create_topics(&self, topics: &[Topic]) -> Result<(), EngineError> {
        match &self.kind {
            _ if topics.is_empty() => Ok(()),
            Kind::Embedded(_) | Kind::Kafka(_) => {
                let until = Instant::now() + CREATE_DEADLINE;
                Ok(admin::create_topics(&self.running_brokers(), topics, until).await?)
            }
            Kind::Remote(_) => Err(EngineError::Unsupported {
                engine: self.name(),
                what: "create topics".to_owned(),
                remedy: "that is for a client that has the credentials",
            }),
        }
    }

    /// Waits until every running broker knows all of them as unfenced, and a leader and a full ISR of each of `topics`.
    /// Of a remote cluster a leader of each partition is enough: whether its ISRs are full is its owner's business.
    ///
    /// # Errors
    /// If that does not come true within `deadline`, or a node ends instead.
    pub async fn wait_ready(&self, topics: &[Topic], deadline: Duration) -> Result<(), EngineError> {
        let wanted: Vec<(String, i32)> = topics.iter().map(|topic| (topic.name.clone(), partitions(topic))).collect();
        match &self.kind {
            Kind::Embedded(_) | Kind::Kafka(_) => {
                let (brokers, until) = (self.running_brokers(), Instant::now() + deadline);
                let ready = async { Ok(admin::cluster_ready(&brokers, &wanted, until).await?) };
                tokio::select! {
                    ready = ready => ready,
                    ended = self.wait_ended() => Err(ended),
                }
            }
            Kind::Remote(_) => self.wait_led(&wanted, deadline).await,
        }
    }

    async fn wait_led(&self, topics: &[(String, i32)], deadline: Duration) -> Result<(), EngineError> {
        let since = Instant::now();
        let mut images = self.watch_image();
        let led = images.wait_for(|image| no_leader(image, topics).is_none());
        match tokio::time::timeout(deadline, led).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(EngineError::Stopped),
            Err(_) => {
                let missing = no_leader(&self.image(), topics).unwrap_or_default();
                Err(AdminError::NotReady { waited_s: since.elapsed().as_secs_f64(), missing }.into())
            }
        }
    }

    /// The active controller, as last heard of; `None` if nobody knows one.
    ///
    /// # Errors
    /// If nobody answers.
    pub async fn active_controller(&self) -> Result<Option<i32>, EngineError> {
        if let Some((node, _)) = self.image().controller {
            return Ok(Some(node));
        }
        match &self.kind {
            Kind::Embedded(_) | Kind::Kafka(_) => {
                Ok(admin::active_controller(&self.running_brokers()).await?.map(|(node, _)| node))
            }
            Kind::Remote(_) => Ok(None),
        }
    }

    /// Ends what was started and waits until it is gone. A remote cluster is left alone.
    pub async fn stop(&self) {
        match &self.kind {
            Kind::Embedded(cluster) => cluster.stop().await,
            Kind::Kafka(cluster) => cluster.stop().await,
            Kind::Remote(_) => {}
        }
    }
}

/// The first partition that nobody leads.
fn no_leader(image: &Image, topics: &[(String, i32)]) -> Option<String> {
    let mut all = topics.iter().flat_map(|(topic, count)| (0..*count).map(move |index| (topic.clone(), index)));
    let lacking = all.find(|key| image.partitions.get(key).is_none_or(|partition| partition.leader < 0));
    lacking.map(|(topic, index)| format!("{topic}-{index} has no leader"))
}

fn partitions(topic: &Topic) -> i32 {
    match i32::try_from(topic.replicas.len()) {
        Ok(explicit) if explicit > 0 => explicit,
        _ => topic.partitions,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;
    use crate::remote::{ListedPartition, Listing};

    fn note(number: usize) -> Observation {
        Observation::now(Observed::Note(number.to_string()))
    }

    #[tokio::test]
    async fn nobody_who_observes_waits_for_a_reader_that_never_comes() {
        let (seen, observations) = Observations::new();
        let all = OBSERVATIONS_MAX + 5_000;
        for number in 0..all {
            seen.send(note(number)).await.expect("heard");
        }
        let mut reader = observations.untaken.lock().expect("unpoisoned").take().expect("the first");
        observations.taken.store(true, Ordering::SeqCst);
        seen.send(note(all)).await.expect("heard");
        drop(seen);
        let mut read = Vec::new();
        while let Some(observation) = reader.recv().await {
            if let Observed::Note(text) = observation.what {
                read.push(text);
            }
        }
        assert_eq!(read[..OBSERVATIONS_MAX], (0..OBSERVATIONS_MAX).map(|n| n.to_string()).collect::<Vec<_>>());
        let rest = &read[OBSERVATIONS_MAX..];
        let dropped = rest[0].strip_suffix(" observations were dropped: nobody took them").expect("a note of the gap");
        let gap_ends = OBSERVATIONS_MAX + dropped.parse::<usize>().expect("a number");
        assert!(gap_ends > OBSERVATIONS_MAX);
        assert_eq!(rest[1..], (gap_ends..=all).map(|n| n.to_string()).collect::<Vec<_>>());
    }

    /// One broker that leads one partition.
    #[derive(Debug)]
    struct OneBroker;

    impl MetadataSource for OneBroker {
        fn listing(&self) -> Result<Listing, String> {
            let partition = ListedPartition { replicas: vec![7], isr: vec![7], leader: 7 };
            Ok(Listing { brokers: [7].into(), partitions: [(("metrics".to_owned(), 0), partition)].into() })
        }
    }

    fn topic(name: &str) -> Topic {
        Topic {
            name: name.to_owned(),
            partitions: 1,
            replication_factor: 1,
            min_insync_replicas: 1,
            replicas: Vec::new(),
            config: BTreeMap::new(),
        }
    }

    #[tokio::test]
    async fn a_remote_cluster_is_observed_with_its_credentials_and_says_what_it_cannot_do() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
        let address = listener.local_addr().expect("bound").to_string();
        let secure = BTreeMap::from([("security.protocol".to_owned(), "SASL_SSL".to_owned())]);
        let remote = Remote::connect(&address, secure.clone()).await.expect("reached");
        let engine = Engine::over_remote(remote, Arc::new(OneBroker)).await;
        assert_eq!((engine.bootstrap(), engine.client_config()), (address.clone(), secure));
        let none = Capabilities { faults: false, links: false, exact_metadata: false, own_cluster: false };
        assert_eq!(engine.capabilities(), none);
        assert!(engine.nodes().is_empty());
        let error = engine.fault(FaultKind::Kill, 2).await.expect_err("not ours").to_string();
        assert!(error.contains("engine remote cannot have node 2 killed"), "{error}");
        let error = engine.create_topics(&[topic("metrics")]).await.expect_err("no credentials").to_string();
        assert!(error.contains("credentials"), "{error}");
        engine.wait_ready(&[topic("metrics")], Duration::from_secs(10)).await.expect("it has a leader");
        let error = engine.wait_ready(&[topic("x")], Duration::from_millis(50)).await.expect_err("none").to_string();
        assert!(error.contains("x-0 has no leader"), "{error}");
        let mut seen = engine.observations().expect("the first");
        assert!(engine.observations().is_none());
        let Observed::Note(text) = seen.recv().await.expect("a note").what else {
            panic!("the resolution comes first")
        };
        assert!(text.contains("polled every 250 ms") && text.contains("credentials"), "{text}");
    }
}
