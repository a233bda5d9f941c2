//! The tokio drive of one run: it feeds the conductor with what engine and load report, carries out what the conductor
//! wants, and records everything. No rule of the protocol and none of the checker is known here.

pub(crate) mod bridge;
pub(crate) mod engine;
pub(crate) mod own;
mod recorder;
pub(crate) mod remote;
pub(crate) mod topics;
mod warm_up;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metricstream_engine::embedded::Wanted;
use metricstream_engine::observation::{Observation, Observed};
use metricstream_engine::{Engine, POLL_INTERVAL};
use metricstream_ledger::result::RunResult;
use metricstream_ledger::timeline::{Clock, TimelineEvent, What};
use metricstream_ledger::verdict::{Meta, assemble};
use metricstream_load::{Load, LoadEvent, LoadPlan, Progress};
use metricstream_run::conductor::{Action, Conductor, End, Event, LinkRule, Shortfall};
use metricstream_scenario::timers::effective_ms;
use metricstream_scenario::write::redact;
use metricstream_scenario::{Scenario, effective_broker_config, redacted, to_toml};
use tokio::sync::mpsc;

use crate::clock::{RunClock, monotonic_ns};
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::rundir::RunDir;
use recorder::Recorder;
use remote::RemoteArgs;
use topics::RunTopics;

/// Between the end of set-up and the run's second 0: what producers need to connect, and what groups need to form while
/// the brokers' code is still cold and the first rebalance waits for company (group.initial.rebalance.delay.ms).
const LEAD: Duration = Duration::from_millis(2_500);
const LEAD_WITH_GROUPS: Duration = Duration::from_millis(7_000);
/// The same where no code is cold; a group still waits for company.
const EMBEDDED_LEAD: Duration = Duration::from_millis(500);
/// Bounds on what waits to be taken in.
const LOAD_EVENTS: usize = 1_024;
/// How long members may take to leave a group at the end.
const LEAVE: Duration = Duration::from_secs(15);
const FLUSH_EVERY: Duration = Duration::from_millis(500);

/// Where the cluster of a run comes from.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// The embedded cluster, with these flaws switched on.
    Embedded { flaws: Vec<String> },
    /// Apache Kafka on this machine, of this version.
    Kafka { version: Option<String> },
    /// A cluster that somebody else runs.
    Remote(RemoteArgs),
}

/// One run to be made.
pub(crate) struct Trial {
    pub(crate) place: Place,
    pub(crate) scenario: Scenario,
    /// Steps that were taken out of the scenario because the user asked for it.
    pub(crate) left_out: Vec<String>,
    pub(crate) seed: u64,
    pub(crate) dir: RunDir,
    pub(crate) strict: bool,
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
    let mut scenario = trial.scenario.clone();
    trial.dir.write("scenario.toml", &as_it_is_run(&scenario, &trial.left_out))?;
    let started = start(&trial, &mut scenario, &mut interrupt, &watch).await?;
    let (engine, topics) = (started.engine.clone(), started.topics);
    let scenario = Arc::new(scenario);
    let ours = topics.as_ref();
    let telling = Arc::clone(&watch);
    let made = Box::pin(conduct(trial, scenario, started.engine, ours, begun, interrupt, (telling, tell))).await;
    watch.doing("stopping the cluster");
    engine.stop().await;
    watch.doing("judging what was measured");
    // Written before anything else may go wrong.
    let finished = made.and_then(Drive::finish);
    if let Some(topics) = topics {
        topics.clean_up().await;
    }
    finished
}

/// A cluster that is ready, and the topics of the run where it is not our own.
struct Started {
    engine: Engine,
    topics: Option<RunTopics>,
}

async fn start(
    trial: &Trial,
    scenario: &mut Scenario,
    interrupt: &mut Interrupt,
    watch: &Arc<dyn Watch>,
) -> Result<Started, Failure> {
    let interrupted = || Failure::interrupted("while the cluster was starting; nothing was measured");
    match &trial.place {
        Place::Embedded { flaws } => {
            // After the scenario was written down: its file names the profile, which is another on each engine.
            engine::fast_of_embedded(&mut scenario.topology);
            let dir = trial.dir.path().to_path_buf();
            let spec = engine::spec(&scenario.name, &scenario.topology, dir.join("data"), dir)?;
            let wanted = Wanted { seed: trial.seed, flaws: flaws.clone() };
            let topics = scenario.topology.topics.clone();
            watch.doing("starting the cluster");
            tokio::select! {
                started = Box::pin(engine::start_embedded(spec, &topics, wanted)) => {
                    Ok(Started { engine: started?, topics: None })
                }
                () = interrupt.wait() => Err(interrupted()),
            }
        }
        Place::Kafka { version } => {
            let base_dir = std::env::temp_dir().join(format!("metricstream-{}-{}", std::process::id(), monotonic_ns()));
            let spec = engine::spec(&scenario.name, &scenario.topology, base_dir, trial.dir.path().to_path_buf())?;
            let topics = scenario.topology.topics.clone();
            // That it starts, the engine says, once what it needs is there.
            let telling = Arc::clone(watch);
            let progress = move |what: &str| telling.doing(what);
            tokio::select! {
                started = Box::pin(engine::start_kafka(spec, &topics, version.clone(), progress)) => {
                    Ok(Started { engine: started?, topics: None })
                }
                // What was being started dies with the future that started it.
                () = interrupt.wait() => Err(interrupted()),
            }
        }
        Place::Remote(args) => {
            watch.doing("reaching the cluster");
            let mut starting = Box::pin(remote::start(args, &trial.properties, scenario));
            tokio::select! {
                started = &mut starting => {
                    let (engine, topics) = started?;
                    return Ok(Started { engine, topics: Some(topics) });
                }
                () = interrupt.wait() => {}
            }
            // What is being made there must be known before it can be taken away; each wait in it is bounded.
            if let Ok((_, topics)) = starting.await {
                topics.clean_up().await;
            }
            Err(interrupted())
        }
    }
}

/// The scenario file of the run directory: without what was left out, and the claims about it.
fn as_it_is_run(scenario: &Scenario, left_out: &[String]) -> String {
    let mut plain = redacted(scenario);
    plain.claims.retain(|claim| claim.step.as_ref().is_none_or(|step| !left_out.contains(step)));
    to_toml(&plain)
}

/// Makes the run on a cluster that is ready.
async fn conduct(
    trial: Trial,
    scenario: Arc<Scenario>,
    engine: Engine,
    topics: Option<&RunTopics>,
    begun: Instant,
    mut interrupt: Interrupt,
    (watch, tell): (Arc<dyn Watch>, &mut Tell<'_>),
) -> Result<Drive, Failure> {
    if topics.is_some() {
        // What the cluster really is, is known by now.
        trial.dir.write("scenario.toml", &as_it_is_run(&scenario, &trial.left_out))?;
    }
    let run_id = monotonic_ns().unsigned_abs() ^ (u64::from(std::process::id()) << 40);
    let clock = RunClock::starting_in(lead(&trial.place, &scenario));
    let about = recorder::About {
        run_id,
        seed: trial.seed,
        started_at: clock.started_wall().to_string(),
        is_shared: &|topic| topics.is_some_and(|topics| topics.is_shared(topic)),
    };
    let recorder = Recorder::open(trial.dir, &scenario, &about)?;
    let (load_tx, load_rx) = mpsc::channel(LOAD_EVENTS);
    let (done_tx, done) = mpsc::channel(256);
    let plan = LoadPlan {
        scenario: Arc::clone(&scenario),
        run_id,
        bootstrap: engine.bootstrap(),
        properties: trial.properties.clone(),
        starts: topics.map(|topics| topics.starts.clone()).unwrap_or_default(),
        origin_ns: clock.origin_ns(),
        member_program: this_program(),
    };
    let seen = engine.observations().ok_or_else(|| Failure::environment("the engine was observed by another"))?;
    watch.doing("warming the cluster up");
    let mut drive = Drive {
        watch,
        conductor: Conductor::new(&scenario, trial.seed),
        meta: meta(&scenario, &engine, topics, &trial.properties),
        scenario,
        clock,
        engine,
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
    drive.meta.seed = trial.seed;
    drive.meta.started_at = about.started_at;
    drive.meta.strict = trial.strict;
    drive.meta.left_out = trial.left_out;
    let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    for text in topics.map(|topics| topics.notes.clone()).unwrap_or_default() {
        drive.note(text, tell);
    }
    drive.conduct(took_ms, seen, load_rx, done, &mut interrupt, tell).await;
    Ok(drive)
}

/// How long before the run's second 0 load connects and groups form.
fn lead(place: &Place, scenario: &Scenario) -> Duration {
    let grouped = scenario.workload.groups.iter().any(|group| !group.members.is_empty());
    match (place, grouped) {
        (Place::Embedded { .. }, false) => EMBEDDED_LEAD,
        (Place::Embedded { .. }, true) => {
            let delay_ms =
                effective_ms("group.initial.rebalance.delay.ms", &effective_broker_config(&scenario.topology));
            // Waited for once, and once more for whoever came meanwhile; and members are processes that have to start.
            let in_company = scenario.workload.groups.iter().any(|group| group.members.len() > 1);
            let waits = if in_company { 2 } else { 1 };
            EMBEDDED_LEAD * 2 + Duration::from_millis(delay_ms.unsigned_abs().saturating_mul(waits))
        }
        (Place::Kafka { .. } | Place::Remote(_), true) => LEAD_WITH_GROUPS,
        (Place::Kafka { .. } | Place::Remote(_), false) => LEAD,
    }
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
    /// What the result says of the run beside what is measured.
    meta: Meta,
    clock: RunClock,
    engine: Engine,
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
        let bootstrap = self.engine.bootstrap();
        // The load connects during the lead; its schedules begin at 0.
        if let Err(failure) = self.start_load() {
            self.failed = Some(failure);
            return;
        }
        // Only Java has cold code.
        if self.engine.name() == "kafka" {
            warm_up::run(&bootstrap, self.scenario.topology.brokers).await;
        }
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
                    if self.interrupted == 1 {
                        self.watch.doing("interrupted: starting what is down, then stopping; Ctrl-C again skips that");
                    }
                    self.feed(&Event::Interrupted, tell);
                }
            }
        }
        self.let_members_leave(&mut load, tell).await;
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

    /// On a cluster that is not ours a group must be left in order, whatever ended the run: it could not be deleted else.
    async fn let_members_leave(&mut self, events: &mut mpsc::Receiver<LoadEvent>, tell: &mut Tell<'_>) {
        let Some(load) = self.load.clone().filter(|_| !self.engine.capabilities().own_cluster) else { return };
        load.stop_sending();
        let mut left = Box::pin(tokio::time::timeout(LEAVE, load.end_members()));
        loop {
            tokio::select! {
                _ = &mut left => return,
                Some(event) = events.recv() => self.loaded(event, tell),
            }
        }
    }

    fn record(&mut self, event: TimelineEvent, tell: &mut Tell<'_>) {
        tell(&event);
        self.recorder.event(event);
    }

    fn note(&mut self, text: String, tell: &mut Tell<'_>) {
        let (at_us, what) = (self.clock.now_us(), What::Note { text });
        self.record(TimelineEvent { at_us, error_us: 0, clock: Clock::Monotonic, what, cause: None }, tell);
    }

    /// On a cluster that is not ours the topics of others are none of the run's business.
    fn is_ours(&self, observation: &Observation) -> bool {
        let (Observed::Partition { topic, .. } | Observed::TopicDeleted { topic }) = &observation.what else {
            return true;
        };
        self.engine.capabilities().own_cluster || self.scenario.topology.topics.iter().any(|own| own.name == *topic)
    }

    fn observed(&mut self, observation: Observation, tell: &mut Tell<'_>) {
        if warm_up::is_about(&observation) || !self.is_ours(&observation) {
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
            Action::EndLoad { at_us } => load.end_sending_at(at_us),
            Action::StopLoad => load.stop_sending(),
            Action::Fault { step, kind, nodes, .. } => self.fault(step, engine::kind_of(kind), nodes),
            Action::Links { step, rules, .. } => self.links(step, &rules),
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
        let (engine, clock) = (self.engine.clone(), self.clock);
        self.answer(async move {
            match engine::fault(engine, kind, nodes.clone()).await {
                Ok(at) => Event::FaultDone { step, nodes, at_us: clock.us_of(at) },
                Err(error) => Event::FaultFailed { step, error: error.to_string() },
            }
        });
    }

    fn links(&self, step: String, rules: &[LinkRule]) {
        let rules: Vec<_> = rules.iter().map(engine::link_rule).collect();
        let (engine, clock) = (self.engine.clone(), self.clock);
        self.answer(async move {
            match engine.set_links(&rules) {
                // Who is hit the conductor knows.
                Ok(done) => Event::FaultDone { step, nodes: Vec::new(), at_us: clock.us_of(done.at) },
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

    fn finish(mut self) -> Result<Finished, Failure> {
        if let Some(failure) = self.failed {
            return Err(failure);
        }
        let accounting = self.recorder.account();
        let measured = self.recorder.measurements.finish(self.clock.now_us());
        let inconclusive = self.shortfalls.iter().filter(|s| s.is_inconclusive()).map(ToString::to_string);
        let (strict, mut meta) = (self.meta.strict, self.meta);
        meta.inconclusive = inconclusive.collect();
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
}

/// What the result says of engine, versions and settings; what is not known is named.
fn meta(
    scenario: &Scenario,
    engine: &Engine,
    topics: Option<&RunTopics>,
    properties: &BTreeMap<String, String>,
) -> Meta {
    let mut versions = engine.versions();
    versions.insert("metricstream".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    versions.insert("librdkafka".to_owned(), metricstream_scenario::librdkafka::VERSION.to_owned());
    let brokers_known = topics.is_none_or(|topics| topics.brokers_known);
    let mut not_measured = Vec::new();
    if engine.name() == "remote" {
        not_measured.push("versions.kafka: a remote cluster does not say".to_owned());
    }
    if !brokers_known {
        let why = "the cluster does not tell its brokers' settings; what is predicted assumes Kafka's defaults";
        not_measured.push(format!("config.broker: {why}"));
    }
    let polled = (!engine.capabilities().exact_metadata).then(|| {
        format!("metadata was polled every {} ms: only the metadata log tells it exactly", POLL_INTERVAL.as_millis())
    });
    let mut config = effective(scenario, brokers_known);
    config.extend(engine.flaws().iter().map(|flaw| (format!("flaw {flaw}"), "on".to_owned())));
    let mut own = properties.clone();
    redact(&mut own);
    config.extend(own.into_iter().map(|(key, value)| (format!("client {key}"), value)));
    if !engine.capabilities().own_cluster {
        config.insert("client bootstrap.servers".to_owned(), engine.bootstrap());
    }
    let (engine, foreign) = (engine.name().to_owned(), !engine.capabilities().own_cluster);
    Meta { engine, foreign, versions, config, polled, not_measured, ..Meta::default() }
}

/// Every effective setting, secrets redacted; the brokers' only where they are known.
fn effective(scenario: &Scenario, brokers_known: bool) -> BTreeMap<String, String> {
    let plain = redacted(scenario);
    let mut all = BTreeMap::new();
    let mut put = |prefix: &str, settings: BTreeMap<String, String>| {
        all.extend(settings.into_iter().map(|(key, value)| (format!("{prefix} {key}"), value)));
    };
    if brokers_known {
        put("broker", effective_broker_config(&plain.topology));
    }
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
