//! Small sums over many rows that the story, the view and the live view share: sets, spreads, names of partitions.

use std::collections::BTreeMap;

use metricstream_scenario::Scenario;
use metricstream_scenario::text::FIRST_CONTROLLER_ID;

use crate::text::{NO_BREAK, count, ranges, seconds};

/// Whether two lists hold the same ids; Kafka may reorder an ISR.
pub(crate) fn same_set(a: &[i32], b: &[i32]) -> bool {
    sorted(a) == sorted(b)
}

pub(crate) fn sorted(ids: &[i32]) -> Vec<i32> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Smallest and largest of finite values.
pub(crate) fn spread(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|value| value.is_finite()).fold(None, |seen, value| {
        let (low, high) = seen.unwrap_or((value, value));
        Some((low.min(value), high.max(value)))
    })
}

/// `8.6 s`, or `8.6–9.3 s` where the values differ by more than is shown.
pub(crate) fn spread_text(values: impl Iterator<Item = f64>) -> Option<String> {
    let (low, high) = spread(values)?;
    let (from, to) = (seconds(low), seconds(high));
    Some(match (from.strip_suffix(&format!("{NO_BREAK}s")), to.ends_with('s')) {
        _ if from == to => from,
        (Some(number), true) => format!("{number}–{to}"),
        _ => format!("{from}–{to}"),
    })
}

/// `broker 2`, `controller 101`, `brokers 1,2`.
pub(crate) fn nodes(ids: &[i32]) -> String {
    let ids = sorted(ids);
    let (brokers, controllers): (Vec<i32>, Vec<i32>) = ids.iter().partition(|id| **id < FIRST_CONTROLLER_ID);
    let name = |ids: &[i32], one: &str| match ids {
        [] => None,
        [id] => Some(format!("{one} {id}")),
        ids => Some(format!("{one}s {}", ranges(ids))),
    };
    let parts: Vec<String> =
        [name(&brokers, "broker"), name(&controllers, "controller")].into_iter().flatten().collect();
    if parts.is_empty() { "no node".to_owned() } else { parts.join(" and ") }
}

/// The topics of a run and how their partitions are named: by index alone where there is one topic.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    partitions: BTreeMap<String, i32>,
}

impl Names {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self { partitions: scenario.topology.topics.iter().map(|t| (t.name.clone(), t.partitions.max(0))).collect() }
    }

    /// Whether this topic is one of the run's, and not one of Kafka's own.
    pub(crate) fn knows(&self, topic: &str) -> bool {
        self.partitions.contains_key(topic)
    }

    /// How many topics the run has.
    pub(crate) fn topics(&self) -> usize {
        self.partitions.len()
    }

    /// All partitions of the run.
    pub(crate) fn total(&self) -> usize {
        self.partitions.values().map(|n| usize::try_from(*n).unwrap_or(0)).sum()
    }

    /// `partition 1`, `partitions 1,4`, `metrics-1,4; logs-0`, or a count where a list would be endless.
    pub(crate) fn list(&self, which: &[(String, i32)]) -> String {
        /// Topics, and ranges of one topic, that are spelt out.
        const SPELT_OUT_MAX: usize = 12;
        let mut by_topic: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in which {
            by_topic.entry(topic).or_default().push(*partition);
        }
        let lists: Vec<(&str, String)> =
            by_topic.iter().map(|(topic, indices)| (*topic, ranges(&sorted(indices)))).collect();
        let long = |list: &str| list.split(',').count() > SPELT_OUT_MAX;
        if lists.len() > SPELT_OUT_MAX || lists.iter().any(|(_, list)| long(list)) {
            return count(which.len(), "partition", "partitions");
        }
        match &lists[..] {
            [(topic, list)] if self.partitions.len() == 1 && self.knows(topic) => {
                format!("{}{NO_BREAK}{list}", if which.len() == 1 { "partition" } else { "partitions" })
            }
            lists => lists.iter().map(|(topic, list)| format!("{topic}-{list}")).collect::<Vec<_>>().join("; "),
        }
    }
}

/// Drops the topic of `topic-partition` names where all of a list of lists share it: `[0,2]` instead of `[metrics-0,…]`.
pub(crate) fn short_assignment(owned: &[String], shared_topic: Option<&str>) -> String {
    let short = |name: &String| {
        shared_topic
            .and_then(|topic| name.strip_prefix(topic)?.strip_prefix('-'))
            .map_or_else(|| name.clone(), str::to_owned)
    };
    let mut names: Vec<String> = owned.iter().map(short).collect();
    names.sort_by_key(|name| (name.parse::<i64>().unwrap_or(i64::MAX), name.clone()));
    format!("[{}]", names.join(","))
}

/// The topic that all of these `topic-partition` names share.
pub(crate) fn shared_topic<'a>(names: impl Iterator<Item = &'a String>) -> Option<&'a str> {
    let mut shared = None;
    for name in names {
        let (topic, _) = name.rsplit_once('-')?;
        if *shared.get_or_insert(topic) != topic {
            return None;
        }
    }
    shared
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_named_by_their_role() {
        assert_eq!(nodes(&[2]), "broker 2");
        assert_eq!(nodes(&[3, 1]), "brokers 1,3");
        assert_eq!(nodes(&[101, 2]), "broker 2 and controller 101");
        assert_eq!(nodes(&[]), "no node");
    }

    #[test]
    fn assignments_drop_a_shared_topic_only() {
        let names = |list: &[&str]| list.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let owned = names(&["metrics-10", "metrics-2"]);
        assert_eq!(short_assignment(&owned, shared_topic(owned.iter())), "[2,10]");
        let mixed = names(&["metrics-0", "logs-0"]);
        assert_eq!(short_assignment(&mixed, shared_topic(mixed.iter())), "[logs-0,metrics-0]");
        assert_eq!(short_assignment(&[], None), "[]");
    }

    #[test]
    fn spreads_collapse_where_nothing_differs() {
        assert_eq!(spread_text([8.6, 9.3].into_iter()).as_deref(), Some("8.6–9.3\u{a0}s"));
        assert_eq!(spread_text([8.61, 8.62].into_iter()).as_deref(), Some("8.6\u{a0}s"));
        assert_eq!(spread_text([0.04, 0.2].into_iter()).as_deref(), Some("40\u{a0}ms–0.2\u{a0}s"));
        assert_eq!(spread_text(std::iter::empty()), None);
    }
}
