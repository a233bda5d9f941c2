//! Waiting until groups have read to the end, and saying which partition lags if they do not.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use metricstream_ledger::history::Tp;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::config;

const ASK: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(50);

/// A group that is waited for.
pub(crate) struct Waited {
    pub(crate) group: String,
    /// Its partitions: the topic's name, and where this run's part begins.
    pub(crate) partitions: Vec<(String, Tp, i64)>,
}

/// Waits until every group was given everything below the high watermarks, or until the deadline. Names the groups that
/// were not, each with the partition that lags most and by how much.
///
/// `positions` tells how far a group has been given, by its index among `groups`, and whether it has a member that could
/// read on.
pub(crate) fn wait(
    client: &ClientConfig,
    groups: &[Waited],
    positions: impl Fn(usize) -> (BTreeMap<Tp, i64>, bool),
    deadline: Instant,
) -> Vec<String> {
    let client = config::reader(client, "metricstream-lag");
    let reader: BaseConsumer = match client.create() {
        Ok(reader) => reader,
        Err(error) => {
            return groups.iter().map(|g| format!("{}: {error}", g.group)).collect();
        }
    };
    let mut ends: BTreeMap<Tp, Result<(i64, i64), String>> = BTreeMap::new();
    loop {
        let mut behind = Vec::new();
        let mut hopeless = true;
        for (index, waited) in groups.iter().enumerate() {
            let (at, alive) = positions(index);
            if let Some(lag) = waited.lag(&reader, &at, alive, &mut ends, deadline) {
                hopeless &= !alive;
                behind.push(lag);
            }
        }
        // Groups without members will not read on, however long anybody waits.
        if behind.is_empty() || hopeless || Instant::now() >= deadline {
            return behind;
        }
        std::thread::sleep(AGAIN);
    }
}

impl Waited {
    /// What it lacks, if anything. Ends that were found once are final: nothing is sent any more.
    fn lag(
        &self,
        reader: &BaseConsumer,
        positions: &BTreeMap<Tp, i64>,
        alive: bool,
        ends: &mut BTreeMap<Tp, Result<(i64, i64), String>>,
        deadline: Instant,
    ) -> Option<String> {
        let mut worst: Option<(i64, String)> = None;
        for (topic, tp, start) in &self.partitions {
            let known = ends.entry(*tp).or_insert_with(|| Err("not asked yet".to_owned()));
            if known.is_err() {
                let patience = deadline.saturating_duration_since(Instant::now()).clamp(AGAIN, ASK);
                *known = reader.fetch_watermarks(topic, tp.partition, patience).map_err(|e| e.to_string());
            }
            let at = positions.get(tp).copied().unwrap_or(0);
            let lag = match &*known {
                Ok((low, high)) if at >= *high || low.max(start) >= high => continue,
                Ok((low, high)) => {
                    let lag = *high - at.max(*low).max(*start);
                    let why = if alive { "" } else { "; the group has no member" };
                    (lag, format!("{} ({topic}-{} at {at} of {high}{why})", self.group, tp.partition))
                }
                Err(error) => {
                    (i64::MAX, format!("{} ({topic}-{}: its end is not known: {error})", self.group, tp.partition))
                }
            };
            if worst.as_ref().is_none_or(|(most, _)| lag.0 > *most) {
                worst = Some(lag);
            }
        }
        worst.map(|(_, text)| text)
    }
}
