//! The tokio drive of one run: it feeds the conductor with what engine and load report, carries out what the conductor
//! wants, and records everything. No rule of the protocol and none of the checker is known here.

pub(crate) mod bridge;
pub(crate) mod cluster;
mod recorder;
mod warm_up;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metricstream_engine::observation::Observation;
use metricstream_ledger::result::RunResult;
use metricstream_ledger::timeline::TimelineEvent;
use metricstream_ledger::verdict::{Meta, assemble};
use metricstream_load::{Load, LoadEvent, LoadPlan, Progress};
use metricstream_run::conductor::{Action, Conductor, End, Event, Shortfall};
use metricstream_scenario::{Scenario, effective_broker_config, redacted, to_toml};
use tokio::sync::mpsc;

use crate::clock::{RunClock, monotonic_ns};
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::rundir::RunDir;
use cluster::Cluster;
use recorder::Recorder;

/// Between the end of set-up and the run's second 0: what producers need to connect, and what groups need to form while
/// the brokers' code is still cold and the first rebalance waits for company (group.initial.rebalance.delay.ms).
const LEAD: Duration = Duration::from_millis(2_500);
const LEAD_WITH_GROUPS: Duration = Duration::from_millis(7_000);
/// Bounds on what waits to be taken in.
const OBSERVATIONS: usize = 8_192;
const LOAD_EVENTS: usize = 1_024;
const FLUSH_EVERY: Duration = Duration::from_millis(500);

/// One run to be made.
pub(crate) struct Trial {
    pub(crate) scenario: Scenario,
    pub(crate) seed: u64,
    pub(crate) dir: RunDir,
    pub(crate) strict: bool,
    pub(crate) kafka_version: Option<String>,
    pub(crate) properties: BTreeMap<String, String>,
}

/// A run that was made.
pub(crate) struct Finished {
    pub(crate) result: RunResult,
    pub(crate) timeline: Vec<TimelineEvent>,
    pub(crate) run_dir: String,
    pub(crate) interrupted: bool,
    /// What the disk refused; what was measured is in `result` all the same.
    pub(crate) disk: Option<String>,
}

/// Who wants to see a run while it goes on. What is called here returns at once: the run waits for it.
pub(crate) trait Watch: Send + Sync {
    /// Something that takes a while begins, before or after the run proper.
    fn doing(&self, what: &str);
    /// It is known when load starts, and its counters can be read.
    fn load(&self, clock: RunClock, progress: &Progress);
}

/// Told of every event of the timeline as it comes.
pub(crate) type Tell<'a> = dyn FnMut(&TimelineEvent) + Send + 'a;

/// Makes one run, from an empty directory to a result in it.
///
/// # Errors
/// If the cluster cannot be started or the load not; later failures are part of the result.
pub(crate) async fn run(
    trial: Trial,
    mut interrupt: Interrupt,
    watch: Arc<dyn Watch>,
    tell: &mut Tell<'_>,
) -> Result<Finished, Failure> {
    let begun = Instant::now();
    let scenario = Arc::new(trial.scenario);
    trial.dir.write("scenario.toml", &to_toml(&redacted(&scenario)))?;
    let (seen_tx, seen) = mpsc::channel(OBSERVATIONS);
    let base_dir = std::env::temp_dir().join(format!("metricstream-{}-{}", std::process::id(), monotonic_ns()));
    let spec = cluster::spec(&scenario.name, &scenario.topology, base_dir, trial.dir.path().to_path_buf())?;
    watch.doing("starting the cluster");
    let telling = Arc::clone(&watch);
    let progress = move |what: &str| telling.doing(what);
    let starting = Cluster::start(spec, &scenario.topology.topics, trial.kafka_version, seen_tx, progress);
    let cluster = tokio::select! {
        started = Box::pin(starting) => started?,
        // What was being started dies with the future that started it.
        () = interrupt.wait() => return Err(Failure::interrupted("while the cluster was starting; nothing was measured")),
    };
    let run_id = monotonic_ns().unsigned_abs() ^ (u64::from(std::process::id()) << 40);
    let grouped = scenario.workload.groups.iter().any(|group| !group.members.is_empty());
    let clock = RunClock::starting_in(if grouped { LEAD_WITH_GROUPS } else { LEAD });
    let started_at = clock.started_wall().to_string();
    let recorder = match Recorder::open(trial.dir, &scenario, run_id, trial.seed, &started_at) {
        Ok(recorder) => recorder,
        Err(error) => {
            cluster.kafka.stop().await;
            return Err(error.into());
        }
    };
    let (load_tx, load_rx) = mpsc::channel(LOAD_EVENTS);
    let (done_tx, done) = mpsc::channel(256);
    let plan = LoadPlan {
        scenario: Arc::clone(&scenario),
        run_id,
        bootstrap: cluster.kafka.bootstrap(),
        properties: trial.properties,
        origin_ns: clock.origin_ns(),
        member_program: this_program(),
    };
    watch.doing("warming the cluster up");
    let mut drive = Drive {
        watch,
        conductor: Conductor::new(&scenario, trial.seed),
        scenario,
        clock,
        cluster,
        recorder,
        plan: Some(plan),
        load: None,
        load_tx,
        done_tx,
        wake_us: None,
        end: None,
        shortfalls: Vec::new(),
        interrupted: 0,
        failed: None,
    };
    let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    drive.conduct(took_ms, seen, load_rx, done, &mut interrupt, tell).await;
    drive.watch.doing("stopping the cluster");
    drive.cluster.kafka.stop().await;
    drive.watch.doing("judging what was measured");
    drive.finish(trial.seed, trial.strict, &started_at)
}

/// The running executable itself, also if another was put in its place meanwhile.
fn this_program() -> PathBuf {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() { running } else { std::env::current_exe().unwrap_or(running) }
}

struct Drive {
    watch: Arc<dyn Watch>,
    conductor: Conductor,
    scenario: Arc<Scenario>,
    clock: RunClock,
    cluster: Cluster,
    recorder: Recorder,
    plan: Option<LoadPlan>,
    load: Option<Load>,
    load_tx: mpsc::Sender<LoadEvent>,
    done_tx: mpsc::Sender<Event>,
    wake_us: Option<i64>,
    end: Option<End>,
    shortfalls: Vec<Shortfall>,
    interrupted: u32,
    /// Load could not be started: then there is nothing to conduct.
    failed: Option<Failure>,
}

impl Drive {
    async fn conduct(
        &mut self,
        took_ms: u64,
        mut seen: mpsc::Receiver<Observation>,
        mut load: mpsc::Receiver<LoadEvent>,
        mut done: mpsc::Receiver<Event>,
        interrupt: &mut Interrupt,
        tell: &mut Tell<'_>,
    ) {
        // What the cluster looked like before load began is part of the story.
        while let Ok(observation) = seen.try_recv() {
            self.observed(observation, tell);
        }
        let bootstrap = self.cluster.kafka.bootstrap();
        // The load connects during the lead; its schedules begin at 0.
        if let Err(failure) = self.start_load() {
            self.failed = Some(failure);
            return;
        }
        warm_up::run(&bootstrap, self.scenario.topology.brokers).await;
        tokio::time::sleep_until(self.clock.instant_of(0).into()).await;
        self.feed(&Event::ClusterReady { bootstrap, took_ms }, tell);
        let mut flush = tokio::time::interval(FLUSH_EVERY);
        while self.end.is_none() {
            let wake = self.wake_us.map_or_else(|| Instant::now() + FLUSH_EVERY, |us| self.clock.instant_of(us));
            tokio::select! {
                Some(observation) = seen.recv() => self.observed(observation, tell),
                Some(event) = load.recv() => self.loaded(event, tell),
                Some(event) = done.recv() => self.feed(&event, tell),
                () = tokio::time::sleep_until(wake.into()) => self.feed(&Event::Tick, tell),
                _ = flush.tick() => {
                    self.recorder.flush();
                    panic_if_asked(self.clock.now_us());
                }
                () = interrupt.wait_for(self.interrupted + 1) => {
                    self.interrupted += 1;
                    self.feed(&Event::Interrupted, tell);
                }
            }
        }
        // The audit's last records were sent before its end was.
        while let Ok(event) = load.try_recv() {
            self.loaded(event, tell);
        }
        while let Ok(observation) = seen.try_recv() {
            self.observed(observation, tell);
        }
        if let Some(load) = self.load.take() {
            load.stop_sending();
        }
    }

    fn record(&mut self, event: TimelineEvent, tell: &mut Tell<'_>) {
        tell(&event);
        self.recorder.event(event);
    }

    fn observed(&mut self, observation: Observation, tell: &mut Tell<'_>) {
        if warm_up::is_about(&observation) {
            return;
        }
        let event = bridge::timeline_event(&self.clock, observation);
        self.record(event.clone(), tell);
        self.feed(&Event::Timeline(event), tell);
    }

    fn loaded(&mut self, event: LoadEvent, tell: &mut Tell<'_>) {
        let ended = event == LoadEvent::SendingEnded;
        if let Some(event) = self.recorder.load(event) {
            self.record(event.clone(), tell);
            self.feed(&Event::Timeline(event), tell);
        }
        if ended {
            self.feed(&Event::LoadEnded, tell);
        }
    }

    fn feed(&mut self, event: &Event, tell: &mut Tell<'_>) {
        let mut actions = Vec::new();
        self.conductor.observe(self.clock.now_us(), event, &mut actions);
        for action in actions {
            self.act(action, tell);
        }
    }

    fn start_load(&mut self) -> Result<(), Failure> {
        let Some(plan) = self.plan.take() else { return Ok(()) };
        let load = Load::start(plan, self.load_tx.clone()).map_err(Failure::usage)?;
        self.watch.load(self.clock, load.progress());
        self.load = Some(load);
        Ok(())
    }

    fn act(&mut self, action: Action, tell: &mut Tell<'_>) {
        let Some(load) = self.load.clone() else { return };
        let at = |deadline_us: i64| self.clock.instant_of(deadline_us);
        match action {
            // Its schedules were given their 0 beforehand.
            Action::StartLoad { .. } => {}
            Action::Emit(event) => self.record(event, tell),
            Action::WakeAt(us) => self.wake_us = Some(us),
            Action::StopLoad => load.stop_sending(),
            Action::Fault { step, kind, nodes, .. } => self.fault(step, cluster::kind_of(kind), nodes),
            Action::MemberJoin { step, member } => {
                self.member(step, async move { load.member_join(&member.group, &member.member).await });
            }
            Action::MemberLeave { step, member } => {
                self.member(step, async move { load.member_leave(&member.group, &member.member).await });
            }
            Action::MemberCrash { step, member } => {
                self.member(step, async move { load.member_crash(&member.group, &member.member).await });
            }
            Action::MemberStall { step, member, for_us } => {
                self.member(step, async move { load.member_stall(&member.group, &member.member, for_us) });
            }
            Action::Drain { deadline_us } => {
                let deadline = at(deadline_us);
                self.answer(async move { Event::Drained { open: load.drain(deadline).await } });
            }
            Action::WaitGroups { deadline_us } => {
                let deadline = at(deadline_us);
                self.answer(async move { Event::GroupsCaughtUp { behind: load.wait_caught_up(deadline).await } });
            }
            Action::Audit { deadline_us } => {
                let deadline = at(deadline_us);
                self.answer(async move {
                    load.end_members().await;
                    let why = load.audit(deadline).await.err();
                    Event::AuditFinished { ok: why.is_none(), why }
                });
            }
            Action::Finish { end, shortfalls } => {
                self.end = Some(end);
                self.shortfalls = shortfalls;
            }
        }
    }

    /// Does it beside the loop; its answer comes as an event.
    fn answer(&self, work: impl Future<Output = Event> + Send + 'static) {
        let done = self.done_tx.clone();
        tokio::spawn(async move {
            let event = work.await;
            let _ = done.send(event).await;
        });
    }

    fn fault(&self, step: String, kind: metricstream_engine::FaultKind, nodes: Vec<i32>) {
        let (kafka, clock) = (self.cluster.kafka.clone(), self.clock);
        self.answer(async move {
            match Cluster::fault(kafka, kind, nodes.clone()).await {
                Ok(at) => Event::FaultDone { step, nodes, at_us: clock.us_of(at) },
                Err(error) => Event::FaultFailed { step, error: error.to_string() },
            }
        });
    }

    fn member(
        &self,
        step: String,
        work: impl Future<Output = Result<(), metricstream_load::LoadError>> + Send + 'static,
    ) {
        let clock = self.clock;
        self.answer(async move {
            // A crash or a leave is told by when it was asked for: the group's clock starts there.
            let at_us = clock.now_us();
            match work.await {
                Ok(()) => Event::MemberDone { step, at_us },
                Err(error) => Event::MemberFailed { step, error: error.to_string() },
            }
        });
    }

    fn finish(mut self, seed: u64, strict: bool, started_at: &str) -> Result<Finished, Failure> {
        if let Some(failure) = self.failed {
            return Err(failure);
        }
        let accounting = self.recorder.account();
        let measured = self.recorder.measurements.finish(self.clock.now_us());
        let inconclusive = self.shortfalls.iter().filter(|s| s.is_inconclusive()).map(ToString::to_string);
        let meta = Meta {
            engine: "kafka".to_owned(),
            versions: self.versions(),
            seed,
            started_at: started_at.to_owned(),
            config: effective(&self.scenario),
            strict,
            inconclusive: inconclusive.collect(),
        };
        let result = assemble(&self.scenario, measured, Some(&accounting), &self.recorder.timeline, meta);
        let mut disk = self.recorder.disk.take();
        if let Err(error) = self.recorder.dir.result(&result, strict) {
            disk.get_or_insert_with(|| format!("{error:#}"));
        }
        Ok(Finished {
            result,
            run_dir: self.recorder.dir.shown(),
            timeline: self.recorder.timeline,
            interrupted: self.end == Some(End::Interrupted),
            disk,
        })
    }

    fn versions(&self) -> BTreeMap<String, String> {
        let own = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        BTreeMap::from([
            own("metricstream", env!("CARGO_PKG_VERSION")),
            own("kafka", self.cluster.kafka.version()),
            own("java", self.cluster.kafka.java_version()),
            own("librdkafka", metricstream_scenario::librdkafka::VERSION),
        ])
    }
}

/// Every effective setting, secrets redacted.
fn effective(scenario: &Scenario) -> BTreeMap<String, String> {
    let plain = redacted(scenario);
    let mut all = BTreeMap::new();
    let mut put = |prefix: &str, settings: BTreeMap<String, String>| {
        all.extend(settings.into_iter().map(|(key, value)| (format!("{prefix} {key}"), value)));
    };
    put("broker", effective_broker_config(&plain.topology));
    for producer in &plain.workload.producers {
        put(&format!("producer {}", producer.name), plain.producer_config(producer));
    }
    for group in &plain.workload.groups {
        put(&format!("group {}", group.name), plain.group_config(group));
    }
    for topic in &plain.topology.topics {
        let own = [
            ("partitions".to_owned(), topic.partitions.to_string()),
            ("replication.factor".to_owned(), topic.replication_factor.to_string()),
            ("min.insync.replicas".to_owned(), topic.min_insync_replicas.to_string()),
        ];
        put(&format!("topic {}", topic.name), topic.config.clone().into_iter().chain(own).collect());
    }
    all
}

/// A door for one test: that a panic of this program leaves no process behind can only be seen by panicking.
fn panic_if_asked(now_us: i64) {
    let asked = std::env::var("METRICSTREAM_PANIC_AT_S").ok().and_then(|s| s.parse::<i64>().ok());
    assert!(asked.is_none_or(|at_s| now_us < at_s * 1_000_000), "asked to panic at {asked:?} s");
}
