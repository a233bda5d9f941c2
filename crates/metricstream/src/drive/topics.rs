//! Topics and groups of a run on a cluster that is not ours. What is not there is created and goes again in the end; what
//! is there is used only if the user said so, and is never deleted. What others wrote is no business of the run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use metricstream_load::ClientConfig;
use metricstream_load::cluster::{Cluster, ClusterView};
use metricstream_load::tools::{self, GroupRow, ResourceSpecifier, ToolError};
use metricstream_scenario::timers::clock;
use metricstream_scenario::{Controllers, Scenario, Topic};

use crate::command::{blocking, tool_failure};
use crate::exit::Failure;
use crate::output;

const ASK: Duration = Duration::from_secs(10);
/// A group whose last member has just left may need a moment until it can be deleted.
const GONE: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(250);
/// Of a topic's settings, those that its guarantees follow from.
const OF_TOPIC: &[&str] = &["unclean.leader.election.enable", "cleanup.policy"];
const MIN_ISR: &str = "min.insync.replicas";

/// What may be done to the cluster's topics.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TopicRules {
    /// Topics that are there may be written to.
    pub(crate) use_existing: bool,
    /// Topics that the run made stay.
    pub(crate) keep: bool,
}

/// The topics and groups of a run, ready.
#[derive(Debug)]
pub(crate) struct RunTopics {
    client: ClientConfig,
    cluster: Arc<Cluster>,
    keep: bool,
    /// What the run made, and what goes in the end.
    made: Vec<String>,
    groups: Vec<String>,
    /// Topics that others write to, and where the run's part of each of their partitions begins.
    pub(crate) starts: BTreeMap<String, Vec<i64>>,
    /// What is worth a line in the timeline.
    pub(crate) notes: Vec<String>,
    /// Whether the brokers' settings are known.
    pub(crate) brokers_known: bool,
}

impl RunTopics {
    /// Whether others may write to a topic.
    pub(crate) fn is_shared(&self, topic: &str) -> bool {
        self.starts.contains_key(topic)
    }

    /// Deletes what the run made. What cannot be deleted is named.
    pub(crate) async fn clean_up(self) {
        for group in &self.groups {
            let deadline = Instant::now() + GONE;
            while let Err(error) = tools::delete_group(&self.client, group).await {
                match error {
                    // Nobody ever joined it.
                    ToolError::Refused { code, .. } if tools::is_absent(code) => break,
                    ToolError::Refused { code, .. } if tools::has_members(code) && Instant::now() < deadline => {
                        tokio::time::sleep(AGAIN).await;
                    }
                    _ => {
                        output::note(&format!("warning: {error}; its offsets stay until they expire"));
                        break;
                    }
                }
            }
        }
        if self.keep {
            return;
        }
        for topic in &self.made {
            if let Err(error) = tools::delete_topic(&self.client, topic).await {
                output::note(&format!("warning: {error}. Delete it: metricstream topic delete {topic}"));
                return;
            }
        }
        self.wait_gone().await;
    }

    /// Brokers learn of a deletion a little later; whoever makes the same topics next must not find them.
    async fn wait_gone(self) {
        let gone = tokio::task::spawn_blocking(move || {
            let deadline = Instant::now() + GONE;
            let there = |view: ClusterView| self.made.iter().any(|topic| view.topics.contains_key(topic));
            while self.cluster.look(ASK).is_ok_and(there) && Instant::now() < deadline {
                std::thread::sleep(AGAIN);
            }
        });
        if let Err(error) = gone.await {
            tracing::warn!(%error, "waiting for topics to be gone");
        }
    }
}

/// Sees to it that every topic of the scenario is there and that its groups are nobody else's. The scenario learns how
/// many brokers there are and which settings hold, as far as the cluster tells.
///
/// # Errors
/// Exit 2 if the scenario does not fit the cluster or would touch what is not ours, exit 3 if the cluster refuses.
/// Nothing that was made is left then.
pub(super) async fn prepare(
    client: ClientConfig,
    cluster: &Arc<Cluster>,
    scenario: &mut Scenario,
    rules: TopicRules,
) -> Result<RunTopics, Failure> {
    let looking = Arc::clone(cluster);
    let view = tokio::task::spawn_blocking(move || looking.look(ASK)).await.map_err(Failure::environment)?;
    let view = view.map_err(|error| Failure::environment(format!("asking the cluster for its topics: {error}")))?;
    let asking = client.clone();
    let groups = blocking(move || tools::list_groups(&asking, None)).await?;
    fits(scenario, &view, &groups, rules, &options_of(&client))?;
    scenario.topology.brokers = u32::try_from(view.brokers.len()).unwrap_or(u32::MAX);
    // Where its voters live is not known, and nothing that is done here depends on it.
    scenario.topology.controllers = Controllers::Combined;
    let known: BTreeSet<&String> = groups.iter().map(|group| &group.group).collect();
    let own = scenario.workload.groups.iter().map(|group| group.name.clone()).filter(|name| !known.contains(name));
    let mut topics = RunTopics {
        groups: own.collect(),
        client,
        cluster: Arc::clone(cluster),
        keep: rules.keep,
        made: Vec::new(),
        starts: BTreeMap::new(),
        notes: Vec::new(),
        brokers_known: false,
    };
    match make(&mut topics, cluster, scenario, &view).await {
        Ok(()) => Ok(topics),
        Err(failure) => {
            topics.keep = false;
            topics.clean_up().await;
            Err(failure)
        }
    }
}

async fn make(
    topics: &mut RunTopics,
    cluster: &Arc<Cluster>,
    scenario: &mut Scenario,
    view: &ClusterView,
) -> Result<(), Failure> {
    for topic in &scenario.topology.topics {
        if view.topics.contains_key(&topic.name) {
            share(topics, cluster, scenario, topic).await?;
        } else {
            tools::create_topic_of(&topics.client, topic).await.map_err(refused)?;
            topics.made.push(topic.name.clone());
        }
    }
    let mut notes = Vec::new();
    for topic in &mut scenario.topology.topics {
        match tools::settings_of(&topics.client, ResourceSpecifier::Topic(&topic.name)).await {
            Ok(settings) => notes.extend(adopt(topic, &settings)),
            Err(error) => notes.push(format!("{}: judged by the scenario's settings, for {error}", topic.name)),
        }
    }
    let broker = view.brokers.first().copied().unwrap_or_default();
    match tools::settings_of(&topics.client, ResourceSpecifier::Broker(broker)).await {
        Ok(settings) => {
            let of_use = |(name, _): &(String, String)| clock(name).is_some() || name == OF_TOPIC[0];
            scenario.topology.broker_config = settings.into_iter().filter(of_use).collect();
            topics.brokers_known = true;
        }
        Err(error) => notes.push(format!("the brokers' settings are not known: {error}")),
    }
    topics.notes.extend(notes);
    Ok(())
}

/// A topic that is there: the run's part begins where it ends now, for the groups too.
async fn share(
    topics: &mut RunTopics,
    cluster: &Arc<Cluster>,
    scenario: &Scenario,
    topic: &Topic,
) -> Result<(), Failure> {
    let (looking, name, partitions) = (Arc::clone(cluster), topic.name.clone(), topic.partitions);
    let ends = tokio::task::spawn_blocking(move || looking.ends(&name, partitions, ASK)).await;
    let ends = ends.map_err(Failure::environment)?;
    let ends = ends.map_err(|error| Failure::environment(format!("asking where the topic ends: {error}")))?;
    for group in scenario.workload.groups.iter().filter(|group| group.topics.contains(&topic.name)) {
        let (client, group, name, ends) = (topics.client.clone(), group.name.clone(), topic.name.clone(), ends.clone());
        let text = format!(
            "group {group} has offsets in topic {name} already, and they are not this run's to move; give the scenario's \
             group another name (workload.groups.N.name)"
        );
        let placed = blocking(move || {
            let before = tools::offsets_of_group(&client, &group, &name, partitions)?;
            let free = before.iter().all(|offset| *offset < 0);
            if free { tools::place_group(&client, &group, &name, &ends).map(|()| true) } else { Ok(false) }
        });
        if !placed.await? {
            return Err(Failure::usage(text));
        }
    }
    topics.notes.push(format!(
        "topic {} was there before: this run's part begins at its end, what others write is counted apart, and it stays",
        topic.name
    ));
    topics.starts.insert(topic.name.clone(), ends);
    Ok(())
}

/// A topic that was to be created and was not.
fn refused(error: ToolError) -> Failure {
    let Failure { code, error } = tool_failure(error);
    let remedy = "or let somebody create it beforehand and run with --use-existing-topics";
    Failure { code, error: anyhow::anyhow!("{error}; {remedy}") }
}

/// The guarantees follow from what the cluster says, not from what the scenario hoped for; what differs is told.
fn adopt(topic: &mut Topic, settings: &BTreeMap<String, String>) -> Option<String> {
    for name in OF_TOPIC {
        if let Some(value) = settings.get(*name) {
            topic.config.insert((*name).to_owned(), value.clone());
        }
    }
    let found = settings.get(MIN_ISR)?.parse().ok()?;
    let wanted = std::mem::replace(&mut topic.min_insync_replicas, found);
    (found != wanted).then(|| format!("{}: {MIN_ISR} is {found} there, not {wanted}: it is judged by that", topic.name))
}

/// Whether the scenario can be run on this cluster without touching what is not the run's.
/// `at` is how a command reaches the same cluster.
fn fits(
    scenario: &Scenario,
    view: &ClusterView,
    groups: &[GroupRow],
    rules: TopicRules,
    at: &str,
) -> Result<(), Failure> {
    for (index, topic) in scenario.topology.topics.iter().enumerate() {
        let lacks = match view.topics.get(&topic.name) {
            None => unmakeable(index, topic, &view.brokers),
            Some(_) if !rules.use_existing => Some(format!(
                "topic {0} is there already, and this run did not make it. If nothing in it is needed, delete it:\n  \
                 metricstream topic delete {0}{at}\nElse let the run write to it: --use-existing-topics; nothing in it is \
                 deleted, and what others wrote is not held against it",
                topic.name
            )),
            Some(rows) => differs(index, topic, rows),
        };
        if let Some(lacks) = lacks {
            return Err(Failure::usage(lacks));
        }
    }
    for (index, group) in scenario.workload.groups.iter().enumerate() {
        let Some(found) = groups.iter().find(|found| found.group == group.name) else { continue };
        // A group of the KIP-848 protocol is listed without its members, as if it were dead.
        if !found.members.is_empty() || found.state != "Empty" {
            return Err(Failure::usage(format!(
                "group {0} is in use on that cluster ({1} members, state {2}), and joining it would disturb its owner. If \
                 its members are yours, end them; this names them:\n  metricstream group describe {0}{at}\nElse give the \
                 scenario's group another name, in a file of your own: workload.groups.{index}.name, and wherever it is named",
                group.name,
                found.members.len(),
                found.state
            )));
        }
    }
    Ok(())
}

/// With which options a command of this program reaches the cluster that this client does.
fn options_of(client: &ClientConfig) -> String {
    let bootstrap = client.get("bootstrap.servers").unwrap_or_default();
    // Where one is, it has come from such a file.
    let secured = client.get("security.protocol").map_or("", |_| " --client-config FILE");
    format!(" --bootstrap {bootstrap}{secured}")
}

fn unmakeable(index: usize, topic: &Topic, brokers: &[i32]) -> Option<String> {
    let name = &topic.name;
    let strangers: Vec<i32> = topic.replicas.iter().flatten().copied().filter(|id| !brokers.contains(id)).collect();
    if let Some(id) = strangers.first() {
        return Some(format!(
            "topic {name} wants a replica on broker {id}; the cluster has brokers {brokers:?}. Leave its explicit \
             replicas away: --set topology.topics.{index}.replicas=[]"
        ));
    }
    let wanted = usize::from(topic.replication_factor.unsigned_abs());
    (wanted > brokers.len()).then(|| {
        format!(
            "topic {name} wants {wanted} replicas; the cluster has {} ({brokers:?}). Ask for fewer: --set \
             topology.topics.{index}.replication_factor={} --set topology.topics.{index}.min_insync_replicas={}",
            if brokers.len() == 1 { "1 broker".to_owned() } else { format!("{} brokers", brokers.len()) },
            brokers.len(),
            usize::from(topic.min_insync_replicas.unsigned_abs()).min(brokers.len().saturating_sub(1)).max(1)
        )
    })
}

fn differs(index: usize, topic: &Topic, rows: &[tools::PartitionRow]) -> Option<String> {
    let replicas = rows.first().map_or(0, |row| row.replicas.len());
    let wanted = usize::from(topic.replication_factor.unsigned_abs());
    let set = format!("--set topology.topics.{index}");
    let partitions = i32::try_from(rows.len()).unwrap_or(i32::MAX);
    if partitions != topic.partitions {
        return Some(format!(
            "topic {} has {partitions} partitions there, and {} in the scenario; say what is true: {set}.partitions={partitions}",
            topic.name, topic.partitions
        ));
    }
    (replicas != wanted).then(|| {
        format!(
            "topic {} has {replicas} replicas there, and {wanted} in the scenario; say what is true: \
             {set}.replication_factor={replicas}",
            topic.name
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Code;

    fn scenario() -> Scenario {
        let text = metricstream_scenario::builtin::all().iter().find(|b| b.name == "group-rebalance").unwrap().text;
        metricstream_scenario::parse(text).unwrap()
    }

    fn view(brokers: &[i32], topics: &[(&str, usize, usize)]) -> ClusterView {
        let rows = |partitions: usize, replicas: usize| {
            let row = |partition| tools::PartitionRow {
                partition,
                leader: 1,
                replicas: vec![1; replicas],
                isr: vec![1; replicas],
            };
            (0..).take(partitions).map(row).collect()
        };
        let topics = topics.iter().map(|(name, p, r)| ((*name).to_owned(), rows(*p, *r))).collect();
        ClusterView { brokers: brokers.to_vec(), topics }
    }

    fn group(name: &str, state: &str) -> GroupRow {
        GroupRow {
            group: name.into(),
            protocol: String::new(),
            state: state.into(),
            members: Vec::new(),
            lag: Vec::new(),
        }
    }

    #[track_caller]
    fn refused(view: &ClusterView, groups: &[GroupRow], rules: TopicRules, parts: &[&str]) {
        let at = options_of(ClientConfig::new().set("bootstrap.servers", "h:1").set("security.protocol", "SASL_SSL"));
        let failure = fits(&scenario(), view, groups, rules, &at).expect_err("it does not fit");
        assert_eq!(failure.code, Code::Usage);
        let text = failure.error.to_string();
        parts.iter().for_each(|part| assert!(text.contains(part), "`{part}` is not in {text}"));
    }

    #[test]
    fn what_is_not_ours_is_not_touched_unless_the_user_says_so() {
        let new = TopicRules::default();
        let shared = TopicRules { use_existing: true, keep: false };
        let three = &[1, 2, 3];
        fits(&scenario(), &view(three, &[("other", 1, 1)]), &[group("other", "Stable")], new, "").expect("it fits");
        let delete = "metricstream topic delete metrics --bootstrap h:1 --client-config FILE\n";
        refused(&view(three, &[("metrics", 3, 3)]), &[], new, &["metrics is there", delete, "--use-existing-topics"]);
        fits(&scenario(), &view(three, &[("metrics", 3, 3)]), &[], shared, "").expect("it fits");
        refused(&view(three, &[("metrics", 12, 3)]), &[], shared, &["topology.topics.0.partitions=12"]);
        refused(&view(three, &[("metrics", 3, 2)]), &[], shared, &["topology.topics.0.replication_factor=2"]);
        refused(
            &view(three, &[]),
            &[group("group-1", "Stable")],
            new,
            &["group-1 is in use", "workload.groups.0.name"],
        );
        refused(&view(three, &[]), &[group("group-1", "Dead")], new, &["group-1"]);
        fits(&scenario(), &view(three, &[]), &[group("group-1", "Empty")], new, "").expect("left over, and free");
    }

    #[test]
    fn more_replicas_than_brokers_are_refused_with_what_would_do() {
        let parts = ["the cluster has 1 broker", "replication_factor=1", "min_insync_replicas=1"];
        refused(&view(&[7], &[]), &[], TopicRules::default(), &parts);
    }

    #[test]
    fn guarantees_follow_from_the_settings_that_the_cluster_has() {
        let mut topic = scenario().topology.topics[0].clone();
        let settings = [(MIN_ISR, "1"), ("unclean.leader.election.enable", "true"), ("segment.bytes", "1")];
        let note = adopt(&mut topic, &settings.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        assert!(note.is_some_and(|note| note.contains("is 1 there, not 2")));
        assert_eq!(topic.min_insync_replicas, 1);
        assert_eq!(topic.config, BTreeMap::from([("unclean.leader.election.enable".into(), "true".into())]));
    }
}
