//! Server-side assignors (KIP-848): pure functions from members, their subscriptions and what they have, to what they are
//! to have.

use std::collections::{BTreeMap, BTreeSet};

use metricstream_wire::Uuid;

use crate::config::Settings;

mod range;
mod uniform;

/// Partitions by topic.
pub(super) type Parts = BTreeMap<Uuid, BTreeSet<i32>>;

/// Balanced and sticky; the default.
pub(super) const UNIFORM: &str = "uniform";
/// The same partitions of different topics to the same member.
const RANGE: &str = "range";

/// A member as an assignor sees it.
#[derive(Debug, Clone, Default)]
pub(super) struct Subscriber {
    pub(super) instance_id: Option<String>,
    pub(super) wants: BTreeSet<Uuid>,
    /// Its target so far.
    pub(super) has: Parts,
}

/// What is to be assigned: every topic that anyone wants, with its partition count, and who wants.
#[derive(Debug, Clone, Default)]
pub(super) struct Spec {
    pub(super) topics: BTreeMap<Uuid, i32>,
    pub(super) members: BTreeMap<String, Subscriber>,
}

/// Those that `group.consumer.assignors` names and that are there.
pub(super) fn configured(settings: &Settings) -> Vec<&str> {
    let named = settings.group_consumer_assignors.split(',').map(str::trim);
    named.filter(|name| [UNIFORM, RANGE].contains(name)).collect()
}

/// Every partition of every topic to exactly one member that wants it.
pub(super) fn assign(name: &str, spec: &Spec) -> BTreeMap<String, Parts> {
    if name == RANGE { range::assign(spec) } else { uniform::assign(spec) }
}

#[cfg(test)]
mod tests;
