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
use tokio::sync::mpsc::Sender;
use tokio::task::spawn_blocking;

use crate::audit::{self, AuditTopic};
use crate::caught_up::{self, Waited};
use crate::clock::RunTime;
use crate::config::{self, ConfigError};
use crate::event::{EventSink, LoadEvent};
use crate::group::{MemberProcess, Who};
use crate::member::Job;
use crate::producer::{ProducerHandle, ProducerPlan, StillSending};
use crate::progress::{GroupCounters, Progress};

/// Incarnation numbers of members begin here; below are the producers'.
pub const FIRST_MEMBER_INCARNATION: u32 = 10_000;
/// How long producers may take to end once they were told to give up.
const END_DEADLINE: Duration = Duration::from_secs(12);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Why load could not be started or steered.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A client's settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A schedule that is none.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// A producer for a topic that the scenario does not have.
    #[error("producer {producer}: topic {topic} is not in the scenario; add it to [[topology.topics]]")]
    Topic {
        /// Producer.
        producer: String,
        /// Topic.
        topic: String,
    },
    /// More producers than there are numbers for.
    #[error("{producers} producers are more than the {FIRST_MEMBER_INCARNATION} that a run can tell apart")]
    Producers {
        /// How many.
        producers: usize,
    },
    /// A member's process failed.
    #[error("member {member}: {source}")]
    Member {
        /// Group and member.
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
    /// A thread could not be started or ended badly.
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
    /// Where this run's part of each partition begins, by topic; a topic that is not here is all its own.
    pub starts: BTreeMap<String, Vec<i64>>,
    /// CLOCK_MONOTONIC at the run's 0, nanoseconds.
    pub origin_ns: i64,
    /// The program whose `__member` subcommand is a member.
    pub member_program: PathBuf,
}

type Members = BTreeMap<(String, String), MemberProcess>;

struct Inner {
    plan: LoadPlan,
    sink: EventSink,
    progress: Progress,
    producers: Vec<ProducerHandle>,
    members: Mutex<Members>,
    /// Every member incarnation so far: `group/member`, from [`FIRST_MEMBER_INCARNATION`] on.
    incarnations: Mutex<Vec<String>>,
}

/// The running load. Clones are the same load; when the last is dropped, everything that it started ends.
///
/// Whoever receives its events must go on receiving while it awaits any of the methods here.
#[derive(Clone)]
pub struct Load {
    inner: Arc<Inner>,
}

impl Load {
    /// Starts the producers and the groups' first members; schedules begin at the run's 0.
    ///
    /// # Errors
    /// If a client's settings are refused or a member's process does not start. What was started ends then.
    pub fn start(plan: LoadPlan, tx: Sender<LoadEvent>) -> Result<Self, LoadError> {
        let sink = EventSink::new(tx);
        let workload = &plan.scenario.workload;
        if workload.producers.len() >= FIRST_MEMBER_INCARNATION as usize {
            return Err(LoadError::Producers { producers: workload.producers.len() });
        }
        // All are looked at before any starts.
        let plans = (0..workload.producers.len()).map(|index| producer_plan(&plan, index));
        let plans = plans.collect::<Result<Vec<_>, _>>()?;
        if plans.is_empty() {
            let none = sink.clone();
            std::thread::spawn(move || none.send(LoadEvent::SendingEnded));
        }
        let still_sending = StillSending::new(plans.len(), sink.clone());
        let start = |plan| ProducerHandle::start(plan, sink.clone(), still_sending.clone());
        let producers = plans.into_iter().map(start).collect::<Result<Vec<_>, _>>()?;
        let progress = Progress {
            producers: producers.iter().map(ProducerHandle::counters).collect(),
            groups: workload.groups.iter().map(|_| Arc::new(GroupCounters::default())).collect(),
            sink: sink.clone(),
        };
        let scenario = Arc::clone(&plan.scenario);
        let (members, incarnations) = (Mutex::default(), Mutex::default());
        let load = Self { inner: Arc::new(Inner { plan, sink, progress, producers, members, incarnations }) };
        for group in &scenario.workload.groups {
            for member in &group.members {
                load.join_now(&group.name, member)?;
            }
        }
        Ok(load)
    }

    /// Counts, for a live view.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.inner.progress
    }

    /// Every member that was ever started: its incarnation and `group/member`.
    #[must_use]
    pub fn member_names(&self) -> Vec<(u32, String)> {
        let names = self.inner.incarnations.lock().unwrap_or_else(PoisonError::into_inner);
        (FIRST_MEMBER_INCARNATION..).zip(names.iter().cloned()).collect()
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.inner.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join_now(&self, group: &str, member: &str) -> Result<(), LoadError> {
        let plan = &self.inner.plan;
        let no = |what| LoadError::NoMember { group: group.to_owned(), member: member.to_owned(), what };
        let groups = &plan.scenario.workload.groups;
        let mut groups = (0_u16..).zip(groups);
        let (index, spec) =
            groups.find(|(_, g)| g.name == group).ok_or_else(|| no("has no such group in the scenario"))?;
        let key = (group.to_owned(), member.to_owned());
        // One that ended by itself may come again.
        if self.members().get(&key).is_some_and(|process| !process.has_ended()) {
            return Err(no("is there already; let it leave or crash first"));
        }
        let incarnation = {
            let mut names = self.inner.incarnations.lock().unwrap_or_else(PoisonError::into_inner);
            names.push(format!("{group}/{member}"));
            FIRST_MEMBER_INCARNATION + u32::try_from(names.len() - 1).unwrap_or(u32::MAX - FIRST_MEMBER_INCARNATION)
        };
        let job = Job {
            config: config::member(&plan.scenario, spec, member, &plan.bootstrap, &plan.properties),
            topics: topics_of(&plan.scenario, spec),
            run_id: plan.run_id,
            origin_ns: plan.origin_ns,
        };
        let who = Who { group_index: index, group: group.to_owned(), member: member.to_owned(), incarnation };
        let counters = Arc::clone(&self.inner.progress.groups[usize::from(index)]);
        let process = MemberProcess::start(&plan.member_program, &job, who, counters, self.inner.sink.clone())?;
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
        let member = format!("{group}/{member}");
        blocking(move || process.leave().map_err(|source| LoadError::Member { member, source })).await
    }

    /// Kills a member.
    ///
    /// # Errors
    /// If it is not there.
    pub async fn member_crash(&self, group: &str, member: &str) -> Result<(), LoadError> {
        let process = self.take_member(group, member)?;
        let member = format!("{group}/{member}");
        blocking(move || process.crash().map_err(|source| LoadError::Member { member, source })).await
    }

    /// Keeps a member in one slow poll, which begins within a few milliseconds.
    ///
    /// # Errors
    /// If it is not there.
    pub fn member_stall(&self, group: &str, member: &str, for_us: i64) -> Result<(), LoadError> {
        let mut members = self.members();
        let process = members.get_mut(&(group.to_owned(), member.to_owned())).ok_or_else(|| LoadError::NoMember {
            group: group.to_owned(),
            member: member.to_owned(),
            what: "is not there",
        })?;
        process.stall(for_us).map_err(|source| LoadError::Member { member: format!("{group}/{member}"), source })
    }

    /// Every schedule ends at this time of the run's clock; what is owed by then is still sent. Only the first call counts.
    pub fn end_sending_at(&self, at_us: i64) {
        self.inner.producers.iter().for_each(|producer| producer.end_schedule_at(at_us));
    }

    /// No further sends.
    pub fn stop_sending(&self) {
        self.inner.producers.iter().for_each(ProducerHandle::stop);
    }

    /// Waits until the outcome of every send is known; what is open at the deadline is given up, and counts as unknown
    /// unless it never left the client. Returns how many those were. The producers are at their end after this.
    pub async fn drain(&self, deadline: Instant) -> u64 {
        let producers = &self.inner.producers;
        producers.iter().for_each(ProducerHandle::end);
        while producers.iter().any(|p| !p.is_finished()) && Instant::now() < deadline {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let open = producers.iter().map(ProducerHandle::open).sum();
        producers.iter().for_each(ProducerHandle::purge);
        let patience = Instant::now() + END_DEADLINE;
        while producers.iter().any(|p| !p.is_finished()) && Instant::now() < patience {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        open
    }

    /// Waits until every group was given everything below the high watermarks; names those that were not, with the
    /// partition that they lack most of. Returns at once if no group that is behind has a member left.
    pub async fn wait_caught_up(&self, deadline: Instant) -> Vec<String> {
        let load = self.clone();
        let work = move || {
            let plan = &load.inner.plan;
            let groups = &plan.scenario.workload.groups;
            let waited = |group: &Group| Waited { group: group.name.clone(), partitions: partitions_of(plan, group) };
            let waited: Vec<Waited> = groups.iter().map(waited).collect();
            let positions = |index: usize| {
                let counters = &load.inner.progress.groups[index];
                (counters.positions(), counters.members.load(Ordering::Relaxed) > 0)
            };
            caught_up::wait(&config::base(&plan.bootstrap, &plan.properties), &waited, positions, deadline)
        };
        spawn_blocking(work).await.unwrap_or_else(|error| vec![error.to_string()])
    }

    /// Lets every member leave, so that what is committed is final.
    pub async fn end_members(&self) {
        let members: Vec<MemberProcess> = std::mem::take(&mut *self.members()).into_values().collect();
        let ended = spawn_blocking(move || {
            let leavers: Vec<_> =
                members.into_iter().map(|process| std::thread::spawn(move || process.leave())).collect();
            for leaver in leavers {
                match leaver.join() {
                    Ok(Ok(())) => {}
                    // Its end is what was wanted; that it was not in order is in its record.
                    Ok(Err(error)) => tracing::warn!(%error, "a member did not leave in order"),
                    Err(_) => tracing::error!("a thread that let a member leave panicked"),
                }
            }
        });
        if let Err(error) = ended.await {
            tracing::error!(%error, "members");
        }
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
                .map(|t| AuditTopic {
                    name: t.name.clone(),
                    partitions: t.partitions,
                    starts: plan.starts.get(&t.name).cloned().unwrap_or_default(),
                })
                .collect();
            let tell = |records| inner.sink.send(LoadEvent::Records(records));
            for (group, spec) in (0_u16..).zip(&plan.scenario.workload.groups) {
                let wanted: Vec<u16> = topics_of(&plan.scenario, spec).into_values().collect();
                let found =
                    audit::committed(&config, &spec.name, &topics, &wanted, deadline).map_err(|e| e.to_string())?;
                tell(found.into_iter().map(|(tp, offset)| Record::FinalCommit { group, tp, offset }).collect());
            }
            let time = RunTime::new(plan.origin_ns);
            audit::read_all(&config, &topics, plan.run_id, time, deadline, &mut |records| tell(records))
                .map_err(|e| e.to_string())
        };
        spawn_blocking(work).await.unwrap_or_else(|e| Err(e.to_string()))
    }

    /// Ends everything that was started: gives open sends up and lets the members leave.
    pub async fn finish(&self) {
        self.drain(Instant::now()).await;
        self.end_members().await;
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

fn partitions_of(plan: &LoadPlan, group: &Group) -> Vec<(String, Tp, i64)> {
    let topics = (0..).zip(&plan.scenario.topology.topics).filter(|(_, t)| group.topics.contains(&t.name));
    topics
        .flat_map(|(topic, t)| {
            let starts = plan.starts.get(&t.name).cloned().unwrap_or_default();
            let starts = starts.into_iter().chain(std::iter::repeat(0));
            (0..t.partitions)
                .zip(starts)
                .map(move |(partition, start)| (t.name.clone(), Tp { topic, partition }, start))
        })
        .collect()
}

fn producer_plan(plan: &LoadPlan, index: usize) -> Result<ProducerPlan, LoadError> {
    let producer = &plan.scenario.workload.producers[index];
    let mut topics = (0_u16..).zip(&plan.scenario.topology.topics);
    let (topic_index, topic) = topics
        .find(|(_, t)| t.name == producer.topic)
        .ok_or_else(|| LoadError::Topic { producer: producer.name.clone(), topic: producer.topic.clone() })?;
    let incarnation = u32::try_from(index).unwrap_or(u32::MAX);
    // Where the scenario does not say, load ends when it is told to, and by then in any case.
    let duration_us = (plan.scenario.longest_load_s() * 1e6) as i64;
    Ok(ProducerPlan {
        index: incarnation,
        name: producer.name.clone(),
        topic: producer.topic.clone(),
        topic_index,
        incarnation,
        run_id: plan.run_id,
        config: config::producer(&plan.scenario, producer, &plan.bootstrap, &plan.properties)?,
        schedule: Schedule::new(producer, topic.partitions, plan.run_id, incarnation, 0, duration_us)?,
        time: RunTime::new(plan.origin_ns),
    })
}
