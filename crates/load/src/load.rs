//! The load of one run: its producers, its group members, and the waits at its end. Each wait has a deadline.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metricstream_ledger::history::{Record, Tp};
use metricstream_run::schedule::{Schedule, ScheduleError};
use metricstream_scenario::{Group, Scenario};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::BaseProducer;
use tokio::sync::mpsc::Sender;
use tokio::task::spawn_blocking;

use crate::audit::{self, AuditTopic};
use crate::clock::RunTime;
use crate::config::{self, ConfigError};
use crate::event::{LoadEvent, Progress};
use crate::group::{MemberProcess, Positions, Who};
use crate::member::Job;
use crate::producer::{Callbacks, Control, Worker};

/// Why load could not be started or steered.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// librdkafka refuses a setting.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A schedule that is none.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// A producer for a topic that the scenario does not have.
    #[error("producer {producer}: topic {topic} is not in the scenario")]
    Topic {
        /// Producer.
        producer: String,
        /// Topic.
        topic: String,
    },
    /// A member's process failed.
    #[error("member {member}: {source}")]
    Member {
        /// Member.
        member: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A member that is not there, or is there already.
    #[error("member {member} of group {group} {what}")]
    NoMember {
        /// Group.
        group: String,
        /// Member.
        member: String,
        /// What is wrong.
        what: &'static str,
    },
    /// A thread of ours died.
    #[error("a load thread could not be started or ended badly: {0}")]
    Thread(String),
}

/// Everything that the load needs to know.
#[derive(Debug, Clone)]
pub struct LoadPlan {
    /// The scenario.
    pub scenario: Arc<Scenario>,
    /// The run's identity.
    pub run_id: u64,
    /// Bootstrap addresses.
    pub bootstrap: String,
    /// librdkafka properties for every client, such as credentials.
    pub properties: BTreeMap<String, String>,
    /// CLOCK_MONOTONIC at the run's 0, nanoseconds.
    pub origin_ns: i64,
    /// The program whose `__member` subcommand is a member.
    pub member_program: PathBuf,
}

type Members = BTreeMap<(String, String), MemberProcess>;

struct Inner {
    plan: LoadPlan,
    tx: Sender<LoadEvent>,
    progress: Arc<Progress>,
    controls: Vec<Arc<Control>>,
    members: Mutex<Members>,
    incarnations: Mutex<u32>,
    positions: Positions,
}

/// The running load. Clones are the same load.
#[derive(Clone)]
pub struct Load {
    inner: Arc<Inner>,
}

/// Incarnation numbers of members begin here; below are the producers'.
pub(crate) const FIRST_MEMBER_INCARNATION: u32 = 10_000;

impl Load {
    /// Starts the groups' first members and the producers; their schedules begin at the run's 0.
    ///
    /// # Errors
    /// If a client's settings are refused or a member's process does not start.
    pub fn start(plan: LoadPlan, tx: Sender<LoadEvent>) -> Result<Self, LoadError> {
        let progress = Arc::new(Progress::default());
        let mut workers = Vec::new();
        for index in 0..plan.scenario.workload.producers.len() {
            workers.push(worker(&plan, index, &progress, &tx)?);
        }
        let controls = workers.iter().map(|(worker, _)| Arc::clone(&worker.control)).collect();
        let inner = Inner {
            plan,
            tx,
            progress,
            controls,
            members: Mutex::new(BTreeMap::new()),
            incarnations: Mutex::new(FIRST_MEMBER_INCARNATION),
            positions: Positions::default(),
        };
        let load = Self { inner: Arc::new(inner) };
        let scenario = Arc::clone(&load.inner.plan.scenario);
        for group in &scenario.workload.groups {
            for member in &group.members {
                load.join_now(&group.name, member)?;
            }
        }
        for (worker, client) in workers {
            std::thread::Builder::new()
                .name(format!("producer {}", worker.name))
                .spawn(move || worker.run(&client))
                .map_err(|e| LoadError::Thread(e.to_string()))?;
        }
        load.watch_sending();
        Ok(load)
    }

    /// Says once that all producers have handed over what they had.
    fn watch_sending(&self) {
        let inner = Arc::clone(&self.inner);
        tokio::spawn(async move {
            while !inner.controls.iter().all(|c| c.sending_ended.load(Ordering::Relaxed)) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let _ = inner.tx.send(LoadEvent::SendingEnded).await;
        });
    }

    /// Counts, for a live view.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.inner.progress
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.inner.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join_now(&self, group: &str, member: &str) -> Result<(), LoadError> {
        let plan = &self.inner.plan;
        let no = |what| LoadError::NoMember { group: group.to_owned(), member: member.to_owned(), what };
        let groups = &plan.scenario.workload.groups;
        let (index, spec) =
            (0_u16..).zip(groups).find(|(_, g)| g.name == group).ok_or_else(|| no("has no such group in the scenario"))?;
        let key = (group.to_owned(), member.to_owned());
        if self.members().contains_key(&key) {
            return Err(no("is there already"));
        }
        let incarnation = {
            let mut next = self.inner.incarnations.lock().unwrap_or_else(PoisonError::into_inner);
            *next += 1;
            *next - 1
        };
        let job = Job {
            config: config::member(&plan.scenario, spec, member, &plan.bootstrap, &plan.properties),
            topics: topics_of(&plan.scenario, spec),
            run_id: plan.run_id,
            origin_ns: plan.origin_ns,
        };
        let who = Who { group_index: index, group: group.to_owned(), member: member.to_owned(), incarnation };
        let (positions, progress) = (Arc::clone(&self.inner.positions), Arc::clone(&self.inner.progress));
        let process =
            MemberProcess::start(&plan.member_program, &job, who, positions, progress, self.inner.tx.clone())?;
        self.members().insert(key, process);
        Ok(())
    }

    /// Starts a member.
    ///
    /// # Errors
    /// If it is there already, or its process does not start.
    pub async fn member_join(&self, group: &str, member: &str) -> Result<(), LoadError> {
        let (load, group, member) = (self.clone(), group.to_owned(), member.to_owned());
        blocking(move || load.join_now(&group, &member)).await
    }

    fn take_member(&self, group: &str, member: &str) -> Result<MemberProcess, LoadError> {
        self.members().remove(&(group.to_owned(), member.to_owned())).ok_or_else(|| LoadError::NoMember {
            group: group.to_owned(),
            member: member.to_owned(),
            what: "is not there",
        })
    }

    /// Lets a member leave, and waits until it has.
    ///
    /// # Errors
    /// If it is not there.
    pub async fn member_leave(&self, group: &str, member: &str) -> Result<(), LoadError> {
        let process = self.take_member(group, member)?;
        let member = member.to_owned();
        blocking(move || process.leave().map_err(|source| LoadError::Member { member, source })).await
    }

    /// Kills a member.
    ///
    /// # Errors
    /// If it is not there.
    pub async fn member_crash(&self, group: &str, member: &str) -> Result<(), LoadError> {
        let process = self.take_member(group, member)?;
        let member = member.to_owned();
        blocking(move || process.crash().map_err(|source| LoadError::Member { member, source })).await
    }

    /// Keeps a member in one slow poll; returns when that has begun.
    ///
    /// # Errors
    /// If it is not there.
    pub fn member_stall(&self, group: &str, member: &str, for_us: i64) -> Result<(), LoadError> {
        let mut members = self.members();
        let no = |what| LoadError::NoMember { group: group.to_owned(), member: member.to_owned(), what };
        let process =
            members.get_mut(&(group.to_owned(), member.to_owned())).ok_or_else(|| no("is not there"))?;
        process.stall(for_us).map_err(|source| LoadError::Member { member: member.to_owned(), source })
    }

    /// No further sends.
    pub fn stop_sending(&self) {
        self.inner.controls.iter().for_each(|c| c.stop.store(true, Ordering::Relaxed));
    }

    /// Waits until the outcome of every send is known; what is open at the deadline is given up as unknown. Returns how
    /// many those were.
    pub async fn drain(&self, deadline: Instant) -> u64 {
        let time = RunTime::new(self.inner.plan.origin_ns);
        let left = deadline.saturating_duration_since(Instant::now());
        let give_up_us = time.now_us() + i64::try_from(left.as_micros()).unwrap_or(i64::MAX / 2);
        for control in &self.inner.controls {
            control.stop.store(true, Ordering::Relaxed);
            control.give_up_us.store(give_up_us.max(1), Ordering::Relaxed);
        }
        let patience = deadline + Duration::from_secs(1);
        while !self.inner.controls.iter().all(|c| c.ended.load(Ordering::Relaxed)) && Instant::now() < patience {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let open = self.inner.controls.iter().map(|c| c.open.load(Ordering::Relaxed).max(0).unsigned_abs());
        open.sum()
    }

    /// Waits until every group that has members was given everything below the high watermarks; names those that were
    /// not, with the first partition that they lack.
    pub async fn wait_caught_up(&self, deadline: Instant) -> Vec<String> {
        let load = self.clone();
        spawn_blocking(move || load.caught_up_by(deadline)).await.unwrap_or_else(|e| vec![e.to_string()])
    }

    fn caught_up_by(&self, deadline: Instant) -> Vec<String> {
        loop {
            let behind = self.behind();
            if behind.is_empty() || Instant::now() >= deadline {
                return behind;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn behind(&self) -> Vec<String> {
        let plan = &self.inner.plan;
        let mut config = config::base(&plan.bootstrap, &plan.properties);
        let reader: BaseConsumer = match config.set("group.id", "metricstream-lag").create() {
            Ok(reader) => reader,
            Err(error) => return vec![error.to_string()],
        };
        let members = self.members().keys().map(|(group, _)| group.clone()).collect::<Vec<_>>();
        let mut behind = Vec::new();
        for (index, group) in (0_u16..).zip(&plan.scenario.workload.groups) {
            if !members.contains(&group.name) {
                continue;
            }
            for (topic, tp) in partitions_of(&plan.scenario, group) {
                let high = reader.fetch_watermarks(&topic, tp.partition, Duration::from_secs(2));
                let position = {
                    let positions = self.inner.positions.lock().unwrap_or_else(PoisonError::into_inner);
                    positions.get(&(index, tp)).copied().unwrap_or(0)
                };
                let lacks = match high {
                    Ok((low, high)) if position >= high || low >= high => continue,
                    Ok((_, high)) => format!("{} ({topic}-{} at {position} of {high})", group.name, tp.partition),
                    Err(error) => format!("{} ({topic}-{}: {error})", group.name, tp.partition),
                };
                behind.push(lacks);
                break;
            }
        }
        behind
    }

    /// Lets every member leave, so that what is committed is final.
    pub async fn end_members(&self) {
        let members: Vec<MemberProcess> = std::mem::take(&mut *self.members()).into_values().collect();
        let _ = blocking(move || {
            let enders: Vec<_> =
                members.into_iter().map(|process| std::thread::spawn(move || process.leave())).collect();
            enders.into_iter().for_each(|ender| drop(ender.join()));
            Ok::<_, LoadError>(())
        })
        .await;
    }

    /// Reads the whole log and every group's commits; records leave as events.
    ///
    /// # Errors
    /// Why it was not finished.
    pub async fn audit(&self, deadline: Instant) -> Result<(), String> {
        let inner = Arc::clone(&self.inner);
        let work = move || {
            let plan = &inner.plan;
            let config = config::base(&plan.bootstrap, &plan.properties);
            let topics: Vec<AuditTopic> = plan
                .scenario
                .topology
                .topics
                .iter()
                .map(|t| AuditTopic { name: t.name.clone(), partitions: t.partitions })
                .collect();
            let tell = |records| drop(inner.tx.blocking_send(LoadEvent::Records(records)));
            for (group, spec) in (0_u16..).zip(&plan.scenario.workload.groups) {
                let wanted: Vec<u16> = topics_of(&plan.scenario, spec).into_values().collect();
                let found = audit::committed(&config, &spec.name, &topics, &wanted, deadline).map_err(|e| e.to_string())?;
                let commits = found.into_iter().filter(|(_, offset)| *offset >= 0);
                tell(commits.map(|(tp, offset)| Record::FinalCommit { group, tp, offset }).collect());
            }
            let time = RunTime::new(plan.origin_ns);
            audit::read_all(&config, &topics, plan.run_id, time, deadline, &mut |records| tell(records))
                .map_err(|e| e.to_string())
        };
        spawn_blocking(work).await.unwrap_or_else(|e| Err(e.to_string()))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LoadError> + Send + 'static,
) -> Result<T, LoadError> {
    spawn_blocking(work).await.unwrap_or_else(|e| Err(LoadError::Thread(e.to_string())))
}

fn topics_of(scenario: &Scenario, group: &Group) -> BTreeMap<String, u16> {
    let all = scenario.topology.topics.iter().map(|t| t.name.clone()).zip(0..);
    all.filter(|(name, _)| group.topics.contains(name)).collect()
}

fn partitions_of(scenario: &Scenario, group: &Group) -> Vec<(String, Tp)> {
    let topics = (0..).zip(&scenario.topology.topics).filter(|(_, t)| group.topics.contains(&t.name));
    topics.flat_map(|(topic, t)| (0..t.partitions).map(move |partition| (t.name.clone(), Tp { topic, partition }))).collect()
}

fn worker(
    plan: &LoadPlan,
    index: usize,
    progress: &Arc<Progress>,
    tx: &Sender<LoadEvent>,
) -> Result<(Worker, BaseProducer<Callbacks>), LoadError> {
    let producer = &plan.scenario.workload.producers[index];
    let effective = plan.scenario.producer_config(producer);
    let topics = &plan.scenario.topology.topics;
    let (topic_index, topic) = (0_u16..).zip(topics).find(|(_, t)| t.name == producer.topic).ok_or_else(|| {
        LoadError::Topic { producer: producer.name.clone(), topic: producer.topic.clone() }
    })?;
    let incarnation = u32::try_from(index).unwrap_or(u32::MAX);
    let duration_us = (plan.scenario.workload.duration_s * 1e6) as i64;
    let schedule = Schedule::new(producer, topic.partitions, plan.run_id, incarnation, 0, duration_us)?;
    let client: BaseProducer<Callbacks> = config::producer(&plan.scenario, producer, &plan.bootstrap, &plan.properties)
        .create_with_context(Callbacks::new())
        .map_err(|e| config::refused(&producer.name, &e))?;
    let worker = Worker {
        index: incarnation,
        name: producer.name.clone(),
        topic: producer.topic.clone(),
        topic_index,
        partitions: topic.partitions,
        size_bytes: producer.message_size_bytes,
        idempotent: effective.get("enable.idempotence").is_some_and(|v| v == "true"),
        acks_zero: effective.get("acks").is_some_and(|v| v == "0"),
        schedule,
        incarnation,
        time: RunTime::new(plan.origin_ns),
        control: Arc::new(Control::default()),
        progress: Arc::clone(progress),
        tx: tx.clone(),
    };
    Ok((worker, client))
}
