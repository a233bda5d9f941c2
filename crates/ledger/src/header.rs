//! What a history says before its first record: names for its indices, and the guarantee it is judged by.
//!
//! The guarantee is stated here by whoever ran the scenario, so that `check` needs the history alone. How it follows
//! from a configuration is not known here.

use serde::{Deserialize, Serialize};

use crate::history::{Record, Tp};

/// The version of the history that this build writes and reads.
pub const HISTORY_SCHEMA: u32 = 1;

/// Most topics, groups and partitions of one topic that a header may name: indices stay small and dense.
const NAMES_MAX: usize = 4_096;
const PARTITIONS_MAX: i32 = 65_536;
/// Sequences and offsets beyond this are damage, not data.
pub(crate) const POSITION_MAX: u64 = 1 << 60;

/// The first thing in every history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`HISTORY_SCHEMA`].
    pub schema: u32,
    /// The run's identity; files of one run carry the same.
    pub run_id: u64,
    /// Topics; records name them by index.
    pub topics: Vec<TopicInfo>,
    /// Consumer groups; records name them by index.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Producers by incarnation, for people.
    #[serde(default)]
    pub producers: Vec<Named>,
    /// Group members by incarnation, for people.
    #[serde(default)]
    pub members: Vec<Named>,
    /// What the configuration guarantees. Left out: not stated, so that whoever checks has to.
    #[serde(default, skip_serializing_if = "Expected::is_unstated")]
    pub guarantee: Expected,
    /// RFC 3339, the wall clock when load started; may be empty.
    #[serde(default)]
    pub started_at: String,
    /// Name of the scenario; may be empty.
    #[serde(default)]
    pub scenario: String,
    /// Seed of the run.
    #[serde(default)]
    pub seed: u64,
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicInfo {
    /// Kafka topic name.
    pub name: String,
    /// Number of partitions.
    pub partitions: i32,
    /// Whether the log is compacted: then a missing message is no proof of loss.
    #[serde(default)]
    pub compacted: bool,
    /// Whether others write to it: then values of other runs are no error.
    #[serde(default)]
    pub shared: bool,
}

/// A name for an incarnation number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// Incarnation, unique in the run.
    pub incarnation: u32,
    /// What people call it.
    pub name: String,
}

/// What the configuration guarantees; a breach inside it is a violation, outside it is predicted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// Whether acknowledged messages must survive: acks=all, no unclean election, faults within the budget.
    pub durable: bool,
    /// Whether what was below the high watermark, so what a group was given, must survive; that does not depend on
    /// acks. Absent: as `durable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed_durable: Option<bool>,
    /// Whether committed group offsets must survive. Absent: yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offsets_durable: Option<bool>,
    /// Most disks lost or unclean shutdowns in one recovery window (min.insync.replicas − 1). With it, the faults of
    /// the timeline are counted and more of them take the guarantee away. Absent: not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unclean: Option<u32>,
    /// Why, for people: `acks=all, min.insync.replicas=2, no unclean election`.
    pub why: String,
    /// Topics or producers for which it is otherwise; the first that fits counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exceptions: Vec<Exception>,
}

impl Expected {
    /// Whether nothing is stated: neither a guarantee nor why there is none.
    pub fn is_unstated(&self) -> bool {
        *self == Self::default()
    }

    /// What these settings of producers and topics guarantee, in Kafka's own terms. Whether the faults were too many is
    /// counted from the timeline, where there is one.
    pub fn of_settings(acks_all: bool, min_insync_replicas: u32, unclean_election: bool) -> Self {
        let acks = if acks_all { "acks=all" } else { "acks other than all" };
        let unclean = if unclean_election { "unclean election allowed" } else { "no unclean election" };
        Self {
            durable: acks_all && !unclean_election,
            committed_durable: Some(!unclean_election),
            offsets_durable: Some(!unclean_election),
            max_unclean: Some(min_insync_replicas.saturating_sub(1)),
            why: format!("{acks}, min.insync.replicas={min_insync_replicas}, {unclean}"),
            exceptions: Vec::new(),
        }
    }
}

/// A topic or producer whose acknowledged messages have another guarantee.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// Only this topic; absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Only this producer incarnation; absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<u32>,
    /// Whether its acknowledged messages must survive.
    pub durable: bool,
    /// Tolerated unclean nodes, as in [`Expected::max_unclean`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unclean: Option<u32>,
    /// Why, for people.
    pub why: String,
}

/// A header or record that contradicts itself or the header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The history is of another version.
    #[error("history schema {found}; this build reads {HISTORY_SCHEMA}: use the version of metricstream that wrote it")]
    Schema {
        /// Version found.
        found: u32,
    },
    /// Too many names, or a partition count that is none.
    #[error("header: {what}")]
    Header {
        /// What is wrong.
        what: String,
    },
    /// A topic index or partition that the header does not name.
    #[error("topic {topic}, partition {partition} is not in the header")]
    Partition {
        /// Topic index.
        topic: u16,
        /// Partition.
        partition: i32,
    },
    /// A group index that the header does not name.
    #[error("group {group} is not in the header")]
    Group {
        /// Group index.
        group: u16,
    },
    /// A sequence, offset or count out of range.
    #[error("{field} {value} is out of range")]
    Range {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: i128,
    },
    /// More lanes than a ledger holds.
    #[error("more than {max} lanes")]
    Lanes {
        /// The limit.
        max: usize,
    },
}

impl Header {
    /// A header with these topics (name, partitions) and groups and guarantee; the rest empty.
    pub fn new(run_id: u64, topics: &[(&str, i32)], groups: &[&str], guarantee: Expected) -> Self {
        Self {
            schema: HISTORY_SCHEMA,
            run_id,
            topics: topics
                .iter()
                .map(|(name, partitions)| TopicInfo {
                    name: (*name).to_owned(),
                    partitions: *partitions,
                    compacted: false,
                    shared: false,
                })
                .collect(),
            groups: groups.iter().map(|name| (*name).to_owned()).collect(),
            producers: Vec::new(),
            members: Vec::new(),
            guarantee,
            started_at: String::new(),
            scenario: String::new(),
            seed: 0,
        }
    }

    /// Whether the header can be worked with.
    ///
    /// # Errors
    /// [`Invalid`] with what is wrong.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.schema != HISTORY_SCHEMA {
            return Err(Invalid::Schema { found: self.schema });
        }
        let header = |what: String| Err(Invalid::Header { what });
        if self.topics.len() > NAMES_MAX || self.groups.len() > NAMES_MAX {
            return header(format!("more than {NAMES_MAX} topics or groups"));
        }
        let mut partitions = 0_i64;
        for topic in &self.topics {
            if topic.partitions < 1 {
                return header(format!("topic {} has {} partitions", topic.name, topic.partitions));
            }
            partitions += i64::from(topic.partitions);
        }
        if partitions > i64::from(PARTITIONS_MAX) {
            return header(format!("{partitions} partitions, at most {PARTITIONS_MAX}"));
        }
        Ok(())
    }

    /// `topic-partition`, as Kafka's tools write it.
    pub fn name_of(&self, tp: Tp) -> String {
        match self.topics.get(usize::from(tp.topic)) {
            Some(topic) => format!("{}-{}", topic.name, tp.partition),
            None => format!("topic#{}-{}", tp.topic, tp.partition),
        }
    }

    /// The member's name, or `member N`.
    pub fn member_name(&self, incarnation: u32) -> String {
        let named = self.members.iter().find(|member| member.incarnation == incarnation);
        named.map_or_else(|| format!("member {incarnation}"), |member| member.name.clone())
    }

    /// Whether every index, sequence and offset of the record is one that this header allows.
    ///
    /// # Errors
    /// [`Invalid`] with the field that is not.
    pub fn validate_record(&self, record: &Record) -> Result<(), Invalid> {
        match record {
            Record::Lane { topic, partition, .. } => self.tp(Tp { topic: *topic, partition: partition.unwrap_or(0) }),
            Record::Sent { up_to_seq, .. } => position("sequence", *up_to_seq, 0),
            Record::Outcome { first_seq, count, outcome, .. } => {
                run(*first_seq, *count)?;
                match outcome {
                    crate::history::Outcome::Ok { tp, base_offset } => {
                        self.tp(*tp)?;
                        offset(*base_offset, -1)
                    }
                    _ => Ok(()),
                }
            }
            Record::Logged { tp, base_offset, first_seq, count, .. } => {
                self.tp(*tp)?;
                offset(*base_offset, 0)?;
                run(*first_seq, *count)
            }
            Record::Delivered { group, tp, base_offset, first_seq, count, .. } => {
                self.group(*group)?;
                self.tp(*tp)?;
                offset(*base_offset, 0)?;
                run(*first_seq, *count)
            }
            Record::Committed { group, tp, offset: at, .. } | Record::Seek { group, tp, offset: at, .. } => {
                self.group(*group)?;
                self.tp(*tp)?;
                offset(*at, 0)
            }
            Record::Assigned { group, partitions, .. } => {
                self.group(*group)?;
                partitions.iter().try_for_each(|(tp, at)| self.tp(*tp).and_then(|()| offset(*at, -1)))
            }
            Record::Revoked { group, partitions, .. } => {
                self.group(*group)?;
                partitions.iter().try_for_each(|tp| self.tp(*tp))
            }
            Record::Alien { group, tp, offset: at, .. } => {
                group.map_or(Ok(()), |group| self.group(group))?;
                self.tp(*tp)?;
                offset(*at, 0)
            }
            Record::HighWatermark { tp, offset: at, .. } => {
                self.tp(*tp)?;
                offset(*at, 0)
            }
            Record::Bounds { tp, bounds } => {
                self.tp(*tp)?;
                bounds.map_or(Ok(()), |(start, end)| offset(start, 0).and_then(|()| offset(end, start)))
            }
            // −1 is Kafka's "nothing committed".
            Record::FinalCommit { group, tp, offset: at } => {
                self.group(*group)?;
                self.tp(*tp)?;
                offset(*at, -1)
            }
            Record::AuditDone { .. } => Ok(()),
        }
    }

    fn tp(&self, tp: Tp) -> Result<(), Invalid> {
        match self.topics.get(usize::from(tp.topic)) {
            Some(topic) if (0..topic.partitions).contains(&tp.partition) => Ok(()),
            _ => Err(Invalid::Partition { topic: tp.topic, partition: tp.partition }),
        }
    }

    fn group(&self, group: u16) -> Result<(), Invalid> {
        if usize::from(group) < self.groups.len() { Ok(()) } else { Err(Invalid::Group { group }) }
    }
}

fn run(first_seq: u64, count: u32) -> Result<(), Invalid> {
    if count == 0 {
        return Err(Invalid::Range { field: "count", value: 0 });
    }
    position("sequence", first_seq, u64::from(count))
}

fn position(field: &'static str, value: u64, count: u64) -> Result<(), Invalid> {
    let fits = value <= POSITION_MAX && value + count <= POSITION_MAX;
    if fits { Ok(()) } else { Err(Invalid::Range { field, value: i128::from(value) }) }
}

fn offset(value: i64, least: i64) -> Result<(), Invalid> {
    let fits = value >= least && value <= POSITION_MAX as i64;
    if fits { Ok(()) } else { Err(Invalid::Range { field: "offset", value: i128::from(value) }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_survives_json_and_refuses_what_it_cannot_hold() {
        let mut header = Header::new(u64::MAX, &[("metrics", 6)], &["g"], Expected::default());
        header.guarantee.exceptions.push(Exception {
            topic: None,
            incarnation: Some(3),
            durable: true,
            max_unclean: Some(1),
            why: "acks=all".into(),
        });
        let json = serde_json::to_string(&header).expect("json");
        assert_eq!(serde_json::from_str::<Header>(&json).expect("back"), header);
        assert_eq!(header.validate(), Ok(()));
        header.schema = 9;
        assert_eq!(header.validate(), Err(Invalid::Schema { found: 9 }));
        header.schema = HISTORY_SCHEMA;
        header.topics[0].partitions = 0;
        assert!(header.validate().is_err());
    }

    #[test]
    fn records_outside_the_header_are_named() {
        let header = Header::new(1, &[("metrics", 2)], &["g"], Expected::default());
        let tp = Tp { topic: 0, partition: 2 };
        let bad = Record::Bounds { tp, bounds: None };
        assert_eq!(header.validate_record(&bad), Err(Invalid::Partition { topic: 0, partition: 2 }));
        let bad = Record::FinalCommit { group: 1, tp: Tp { topic: 0, partition: 0 }, offset: 4 };
        assert_eq!(header.validate_record(&bad), Err(Invalid::Group { group: 1 }));
        let bad = Record::Bounds { tp: Tp { topic: 0, partition: 0 }, bounds: Some((5, 4)) };
        assert!(matches!(header.validate_record(&bad), Err(Invalid::Range { field: "offset", value: 4 })));
    }
}
