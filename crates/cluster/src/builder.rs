//! From a wish to a running cluster.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use metricstream_node::config::{FAST, Settings};
use metricstream_node::flaws::Flaws;
use metricstream_node::io::Event;

use crate::cluster::Cluster;
use crate::driver::{EndSink, Sink};
use crate::error::ClusterError;
use crate::store::StoreKind;

/// Which timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// Kafka's defaults, none overridden.
    #[default]
    Apache,
    /// As quick as this cluster can honestly be: failover in tens of milliseconds.
    Fast,
}

/// A topic that is to be there from the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Name.
    pub name: String,
    /// Partitions.
    pub partitions: i32,
    /// Replicas of each.
    pub replication_factor: i16,
    /// Kafka's own topic settings.
    pub config: BTreeMap<String, String>,
}

/// What is wanted.
#[derive(Clone)]
pub struct Builder {
    pub(crate) brokers: i32,
    pub(crate) controllers: Option<i32>,
    pub(crate) profile: Profile,
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) flaws: Flaws,
    pub(crate) topics: Vec<TopicSpec>,
    pub(crate) store: StoreKind,
    pub(crate) ports: Option<u16>,
    pub(crate) racks: bool,
    pub(crate) seed: u64,
    pub(crate) patience: Duration,
    pub(crate) slow_reader: Duration,
    pub(crate) sink: Sink,
    pub(crate) ended: EndSink,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            brokers: 3,
            controllers: None,
            profile: Profile::default(),
            settings: Vec::new(),
            flaws: Flaws::default(),
            topics: Vec::new(),
            store: StoreKind::Memory,
            ports: None,
            racks: false,
            seed: 1,
            patience: Duration::from_secs(30),
            slow_reader: Duration::from_secs(30),
            sink: Arc::new(|_, _| {}),
            ended: Arc::new(|_, _| {}),
        }
    }
}

/// The first id of controllers that are nodes of their own.
pub(crate) const FIRST_CONTROLLER: i32 = 101;
const NODES_MAX: i32 = 15;

impl Builder {
    /// Brokers 1, 2, …; every one is a controller too, unless [`controllers`](Self::controllers) says otherwise.
    #[must_use]
    pub fn brokers(mut self, brokers: i32) -> Self {
        self.brokers = brokers;
        self
    }

    /// Controllers on nodes of their own, 101, 102, …: 1, 3 or 5.
    #[must_use]
    pub fn controllers(mut self, controllers: i32) -> Self {
        self.controllers = Some(controllers);
        self
    }

    /// Which timers.
    #[must_use]
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// A broker setting under Kafka's name, over what the profile sets.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Flaws that are switched on.
    #[must_use]
    pub fn flaws(mut self, flaws: Flaws) -> Self {
        self.flaws = flaws;
        self
    }

    /// A topic that is there, with all its leaders, when the cluster has started.
    #[must_use]
    pub fn topic(self, name: &str, partitions: i32, replication_factor: i16) -> Self {
        self.topic_spec(TopicSpec { name: name.to_owned(), partitions, replication_factor, config: BTreeMap::new() })
    }

    /// The same with settings of its own.
    #[must_use]
    pub fn topic_spec(mut self, topic: TopicSpec) -> Self {
        self.topics.push(topic);
        self
    }

    /// Keeps everything under this folder, in Kafka's own layout, instead of in memory.
    #[must_use]
    pub fn data(mut self, folder: impl Into<PathBuf>) -> Self {
        self.store = StoreKind::Files(folder.into());
        self
    }

    /// Broker 1 listens here, the others on the ports after it; else wherever nobody does.
    #[must_use]
    pub fn first_port(mut self, port: u16) -> Self {
        self.ports = Some(port);
        self
    }

    /// Decides everything that is drawn: where replicas go, and the waits of elections.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How long it may take to be ready.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// A client that takes nothing of what it is sent for this long is cut.
    #[must_use]
    pub fn slow_reader(mut self, after: Duration) -> Self {
        self.slow_reader = after;
        self
    }

    /// Is told of everything that nodes tell of themselves; from their tasks, so it must be quick.
    #[must_use]
    pub fn on_event(mut self, sink: impl Fn(i32, Event) + Send + Sync + 'static) -> Self {
        self.sink = Arc::new(sink);
        self
    }

    /// Is told of a node that ended by itself, and why.
    #[must_use]
    pub fn on_end(mut self, sink: impl Fn(i32, &str) + Send + Sync + 'static) -> Self {
        self.ended = Arc::new(sink);
        self
    }

    /// Starts it, and waits until every broker is unfenced and every topic has its leaders.
    ///
    /// # Errors
    /// If it cannot be what is wanted, a port is taken, a store does not let a node start, or time runs out.
    pub async fn start(self) -> Result<Cluster, ClusterError> {
        self.check()?;
        let settings = self.effective()?;
        Cluster::start(self, settings).await
    }

    fn check(&self) -> Result<(), ClusterError> {
        let wrong = |text: String| Err(ClusterError::Shape(text));
        if !(1..=NODES_MAX).contains(&self.brokers) {
            return wrong(format!("a cluster has from 1 to {NODES_MAX} brokers, not {}", self.brokers));
        }
        if self.controllers.is_some_and(|n| ![1, 3, 5].contains(&n)) {
            return wrong("controllers on nodes of their own are 1, 3 or 5".to_owned());
        }
        for topic in &self.topics {
            if i32::from(topic.replication_factor) > self.brokers {
                let (name, factor, brokers) = (&topic.name, topic.replication_factor, self.brokers);
                return wrong(format!("topic {name}: {factor} replicas do not fit on {brokers} brokers"));
            }
        }
        Ok(())
    }

    /// Every setting of its nodes.
    fn effective(&self) -> Result<Settings, ClusterError> {
        let mut settings = Settings::default();
        // Internal topics of a small cluster have as many replicas as there are brokers.
        let replicas = self.brokers.min(3).to_string();
        settings.set("offsets.topic.replication.factor", &replicas)?;
        settings.set("transaction.state.log.replication.factor", &replicas)?;
        if self.profile == Profile::Fast {
            for (name, value) in FAST {
                settings.set(name, value)?;
            }
        }
        for (name, value) in &self.settings {
            settings.set(name, value)?;
        }
        Ok(settings)
    }

    /// Voters by their ids: every broker of up to five (an even number leaves the last one out), or nodes of their own.
    pub(crate) fn voters(&self) -> Vec<i32> {
        match self.controllers {
            Some(count) => (FIRST_CONTROLLER..FIRST_CONTROLLER + count).collect(),
            None => {
                let odd = if self.brokers % 2 == 0 { self.brokers - 1 } else { self.brokers };
                (1..=odd.min(5)).collect()
            }
        }
    }
}
