//! The command line of one node's Java machine, and its class-data archive, which saves seconds at every start.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use metricstream_cluster::ports::Ports;
use rustix::process::Signal;

use crate::error::EngineError;
use crate::guardian::Guardian;
use crate::kafka::Progress;
use crate::kafka::config::{LOG4J, Listener, server_properties};
use crate::kafka::format;
use crate::kafka::install::{Installed, TempFolder, lock};
use crate::kafka::java::Java;
use crate::kafka::process::{Launch, Process, text_from};
use crate::spec::{Jvm, Role};

/// What a node's log says when it is unfenced and serves.
pub(crate) const STARTED: &str = "Kafka Server started";
const MAIN: &str = "kafka.Kafka";
const SERVER_FILE: &str = "server.properties";
const LOG4J_FILE: &str = "log4j2.properties";
const TRAINING_DEADLINE: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(20);

/// Everything that all nodes of a cluster share.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) java: Java,
    class_path: String,
    flags: Vec<String>,
    archive: Option<PathBuf>,
}

/// Writes what a node reads when it starts.
pub(crate) fn configure(folder: &Path, server_properties: &str) -> Result<(), EngineError> {
    for (name, text) in [(SERVER_FILE, server_properties), (LOG4J_FILE, LOG4J)] {
        let path = folder.join(name);
        fs::write(&path, text).map_err(EngineError::io("write", path))?;
    }
    Ok(())
}

fn flags(jvm: Jvm) -> Vec<String> {
    let tuned: &[&str] = match jvm {
        Jvm::QuickStart => &["-Xms128M", "-Xmx512M", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"],
        Jvm::Throughput => &["-Xms256M", "-Xmx1G"],
    };
    // No file in a shared temporary folder; rather an end that is seen than a node that limps.
    let common = ["-XX:-UsePerfData", "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true"];
    tuned.iter().chain(&common).map(|flag| (*flag).to_owned()).collect()
}

impl Machine {
    pub(crate) fn new(java: Java, kafka: &Installed, jvm: Jvm) -> Result<Self, EngineError> {
        Ok(Self { java, class_path: kafka.class_path()?, flags: flags(jvm), archive: None })
    }

    /// How to start the node that was [`configure`]d in `folder`.
    pub(crate) fn launch(&self, name: String, folder: &Path, log: &Path) -> Launch {
        let mut args = self.flags.clone();
        if let Some(archive) = &self.archive {
            args.push(format!("-XX:SharedArchiveFile={}", archive.display()));
            // One that does not fit is not used; that is slower, no error.
            args.extend(["-Xshare:auto".into(), "-Xlog:cds=off".into(), "-Xlog:class+path=off".into()]);
        }
        args.push(format!("-XX:ErrorFile={}", log.with_extension("crash.log").display()));
        args.push(format!("-Dlog4j2.configurationFile={}", folder.join(LOG4J_FILE).display()));
        let properties = folder.join(SERVER_FILE).display().to_string();
        args.extend(["-cp".to_owned(), self.class_path.clone(), MAIN.to_owned(), properties]);
        Launch { program: self.java.program.clone(), args, log: log.into(), name }
    }

    /// Uses the class-data archive of this Java, Kafka and flags; makes it first if there is none, which takes seconds.
    pub(crate) fn use_archive(
        &mut self,
        kafka: &Installed,
        bootstrap: &[u8],
        guardian: &Arc<Guardian>,
        progress: &Progress,
    ) -> Result<(), EngineError> {
        let path = kafka.derived.join(format!("classes-{:016x}.jsa", self.key(kafka)));
        if !path.exists() {
            let _lock = lock(&kafka.derived.join("archive.lock"))?;
            if !path.exists() {
                progress("making the class-data archive that lets nodes start in seconds (once)");
                self.train(&path, kafka, bootstrap, guardian)?;
            }
        }
        self.archive = Some(path);
        Ok(())
    }

    /// Whatever makes an archive unusable, in one number.
    fn key(&self, kafka: &Installed) -> u64 {
        let mut text = format!("{}\n{}\n{}\n", self.java.build, self.java.program.display(), self.flags.join(" "));
        for jar in &kafka.jars {
            let meta = jar.metadata().ok();
            let changed = meta.as_ref().and_then(|m| m.modified().ok()?.duration_since(UNIX_EPOCH).ok());
            text.push_str(&format!("{} {:?} {changed:?}\n", jar.display(), meta.map(|m| m.len())));
        }
        // FNV-1a: the same in every build of this program.
        text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }

    /// One node by itself, started and stopped in order: at its end the Java machine writes what it had loaded.
    fn train(
        &self,
        path: &Path,
        kafka: &Installed,
        bootstrap: &[u8],
        guardian: &Arc<Guardian>,
    ) -> Result<(), EngineError> {
        let work = TempFolder::new(&kafka.derived, "training")?;
        guardian.delete_at_end(&work.0)?;
        let mut ports = Ports::new(Vec::new());
        let (broker, controller) = (ports.free()?, ports.free()?);
        let (broker_port, controller_port) = (Some(broker.number()), Some(controller.number()));
        let node = Listener { id: 1, role: Role::Combined, broker_port, controller_port };
        let data = work.0.join("data");
        format::prepare(&data, &format::random_id()?, 1, bootstrap)?;
        configure(&work.0, &server_properties(&node, &[node], &data, &BTreeMap::new())?)?;
        let (fresh, log) = (work.0.join("fresh.jsa"), work.0.join("training.log"));
        let mut launch = self.launch("training".into(), &work.0, &log);
        launch.args.insert(0, format!("-XX:ArchiveClassesAtExit={}", fresh.display()));
        let process = Process::spawn(&launch, guardian)?;
        let ended = process.ended();
        let started = Instant::now();
        let mut told = false;
        while ended.borrow().is_none() {
            if started.elapsed() > TRAINING_DEADLINE {
                process.kill_and_wait(Duration::from_secs(10));
                break;
            }
            if !told && text_from(&log, 0).contains(STARTED) {
                told = process.signal(Signal::TERM).is_some();
            }
            thread::sleep(POLL);
        }
        fs::rename(&fresh, path).map_err(|source| {
            tracing::warn!(log = text_from(&log, 0), "no class-data archive was made");
            EngineError::Io { doing: "make the class-data archive", path: path.into(), source }
        })
    }
}
