//! The scenarios of the repository's `scenarios` folder, compiled in. What each exists to show is said in its file.

use crate::error::did_you_mean;

/// A scenario that comes with the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Builtin {
    /// Its name, also that of its file.
    pub name: &'static str,
    /// Its file.
    pub text: &'static str,
}

#[rustfmt::skip]
const ALL: &[Builtin] = &[
    Builtin { name: "broker-failure", text: include_str!("../../../scenarios/broker-failure.toml") },
    Builtin { name: "cascading-failure", text: include_str!("../../../scenarios/cascading-failure.toml") },
    Builtin { name: "cascading-failure-min-isr-1", text: include_str!("../../../scenarios/cascading-failure-min-isr-1.toml") },
    Builtin { name: "cascading-failure-combined", text: include_str!("../../../scenarios/cascading-failure-combined.toml") },
    Builtin { name: "cascading-failure-rf-2", text: include_str!("../../../scenarios/cascading-failure-rf-2.toml") },
    Builtin { name: "group-rebalance", text: include_str!("../../../scenarios/group-rebalance.toml") },
    Builtin { name: "group-rebalance-roundrobin", text: include_str!("../../../scenarios/group-rebalance-roundrobin.toml") },
    Builtin { name: "group-rebalance-cooperative-sticky", text: include_str!("../../../scenarios/group-rebalance-cooperative-sticky.toml") },
    Builtin { name: "group-rebalance-consumer", text: include_str!("../../../scenarios/group-rebalance-consumer.toml") },
    Builtin { name: "group-rebalance-six", text: include_str!("../../../scenarios/group-rebalance-six.toml") },
    Builtin { name: "group-rebalance-crash", text: include_str!("../../../scenarios/group-rebalance-crash.toml") },
    Builtin { name: "group-rebalance-stall", text: include_str!("../../../scenarios/group-rebalance-stall.toml") },
    Builtin { name: "single-broker", text: include_str!("../../../scenarios/single-broker.toml") },
    Builtin { name: "acks-1", text: include_str!("../../../scenarios/acks-1.toml") },
    Builtin { name: "controller-failure", text: include_str!("../../../scenarios/controller-failure.toml") },
    Builtin { name: "rolling-restart", text: include_str!("../../../scenarios/rolling-restart.toml") },
    Builtin { name: "paused-broker", text: include_str!("../../../scenarios/paused-broker.toml") },
    Builtin { name: "network-partition", text: include_str!("../../../scenarios/network-partition.toml") },
    Builtin { name: "three-zones", text: include_str!("../../../scenarios/three-zones.toml") },
    Builtin { name: "unclean-election", text: include_str!("../../../scenarios/unclean-election.toml") },
    Builtin { name: "chaos", text: include_str!("../../../scenarios/chaos.toml") },
];

/// Every built-in scenario, in the order in which they are worth reading.
pub fn all() -> &'static [Builtin] {
    ALL
}

/// "; did you mean `x`?" where a built-in scenario has nearly this name, else nothing.
pub fn nearest(name: &str) -> String {
    did_you_mean(name, ALL.iter().map(|builtin| builtin.name))
}

/// The built-in scenario with this name.
pub fn find(name: &str) -> Option<&'static Builtin> {
    ALL.iter().find(|builtin| builtin.name == name)
}
