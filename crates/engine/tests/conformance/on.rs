//! On what a story is told: engines, shapes of clusters, what a story takes, and how a test comes to its cluster.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Instant;

use tokio::runtime::{Builder, Runtime};

use crate::cluster::Cluster;
use crate::support::{exists, kafka, say};

/// An engine, and where it keeps what it stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    /// The embedded cluster, in memory.
    Memory,
    /// The embedded cluster, in files.
    Files,
    /// Apache Kafka.
    Kafka,
}

/// What a cluster is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Three nodes, each a broker and a voter.
    Combined,
    /// Three brokers, and a controller of its own that outlives any of them.
    Apart,
    /// The same, and what is in its files stays when it ends.
    Kept,
    /// Three nodes, whose sessions outlast every pause and whose ISRs do not.
    Patient,
}

/// What not every engine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Nothing of the kind.
    Nothing,
    /// Links that can be cut.
    Links,
    /// Data that outlives its cluster.
    Files,
}

/// A story, as the documents list it.
#[derive(Debug)]
pub(crate) struct Story {
    /// Name of the function that tells it.
    pub(crate) name: &'static str,
    /// On which cluster.
    pub(crate) shape: Shape,
    /// What it takes.
    pub(crate) needs: Needs,
}

impl On {
    /// As the documents and the command line call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Memory => "embedded (memory)",
            Self::Files => "embedded (files)",
            Self::Kafka => "kafka",
        }
    }

    /// Why a story that needs this cannot be told; `None` where it can, or where only the engine knows (links).
    pub(crate) const fn lacks(self, needs: Needs) -> Option<&'static str> {
        match (self, needs) {
            (Self::Memory, Needs::Files) => Some("memory does not outlive its cluster"),
            _ => None,
        }
    }
}

/// Why a story that cuts links waits for its engine.
pub(crate) const NO_LINKS: &str = "no link faults yet";

/// The clusters of Apache Kafka and what clients of them run on outlive the tests that share them.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(runtime);
/// The cluster of Apache Kafka that runs, for the next story that wants one of its shape.
static SHARED: Mutex<Option<Cluster>> = Mutex::new(None);

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(4).enable_all().build().expect("a runtime")
}

/// Tells one story on one engine: on a cluster of its own where that is cheap, else on the one that is there.
pub(crate) fn tell(on: On, name: &str, story: impl AsyncFnOnce(&mut Cluster)) {
    let entry = crate::STORIES.iter().find(|known| known.name == name).expect("a story of the list");
    if let Some(why) = on.lacks(entry.needs) {
        return say(&format!("NOT TOLD on {}: {name}: {why}", on.name()));
    }
    if on == On::Kafka {
        return RUNTIME.block_on(shared(entry, story));
    }
    let folder = tempfile::tempdir().expect("a folder");
    runtime().block_on(async {
        let mut cluster = Cluster::start(on, entry.shape, folder.path()).await;
        told(entry, &mut cluster, story).await;
        cluster.engine.stop().await;
    });
}

/// Tells a story of the embedded cluster with a flaw switched on: it must fail, or it looks for nothing.
pub(crate) fn must_fail(flaw: &str, name: &str, story: impl AsyncFnOnce(&mut Cluster)) {
    let entry = crate::STORIES.iter().find(|known| known.name == name).expect("a story of the list");
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = runtime();
    let mut cluster = runtime.block_on(Cluster::flawed(On::Memory, entry.shape, folder.path(), &[flaw]));
    let told = catch_unwind(AssertUnwindSafe(|| runtime.block_on(story(&mut cluster))));
    assert!(told.is_err(), "{name} does not notice {flaw}");
}

async fn shared(entry: &Story, story: impl AsyncFnOnce(&mut Cluster)) {
    let Some(_turn) = kafka(entry.name).await else { return };
    // Out of its place: a story that fails takes its cluster with it.
    let kept = SHARED.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut cluster = match kept {
        Some(cluster) if cluster.shape == entry.shape => cluster,
        other => {
            if let Some(other) = other {
                other.engine.stop().await;
            }
            let begun = Instant::now();
            let cluster = Cluster::start(On::Kafka, entry.shape, &folder(entry.shape)).await;
            say(&format!("a cluster of Apache Kafka ({:?}) after {:.1} s", entry.shape, begun.elapsed().as_secs_f64()));
            cluster
        }
    };
    told(entry, &mut cluster, story).await;
    cluster.whole().await;
    *SHARED.lock().unwrap_or_else(PoisonError::into_inner) = Some(cluster);
}

async fn told(entry: &Story, cluster: &mut Cluster, story: impl AsyncFnOnce(&mut Cluster)) {
    let (name, on) = (entry.name, cluster.on.name());
    if entry.needs == Needs::Links && !cluster.engine.capabilities().links {
        return say(&format!("NOT TOLD on {on}: {name}: {NO_LINKS}"));
    }
    let begun = Instant::now();
    story(cluster).await;
    say(&format!("{on}: {name}: {:.1} s", begun.elapsed().as_secs_f64()));
}

/// Where a shared cluster of this process lives. Its logs stay to be read until the suite runs again.
fn folder(shape: Shape) -> PathBuf {
    let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance");
    let own = std::process::id();
    for other in std::fs::read_dir(&all).into_iter().flatten().flatten() {
        let pid = other.file_name().to_str().and_then(|name| name.parse().ok());
        if pid.is_some_and(|pid| pid != own && !exists(pid)) {
            let _ = std::fs::remove_dir_all(other.path());
        }
    }
    let name = format!("{shape:?}").to_lowercase();
    let folder = all.join(own.to_string()).join(crate::cluster::fresh(&name));
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}
