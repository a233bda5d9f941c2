//! From what a scenario names ("leader of metrics-0") to nodes, at the moment when the step is due.

use metricstream_scenario::Target;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::view::{NodeState, View};

/// Whether something can be done to a node in this state.
pub(super) type Fits<'a> = &'a dyn Fn(NodeState) -> bool;

/// Why a target names no nodes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Unresolved {
    /// A node that it names is in the middle of another fault; ask again when that is answered.
    Busy,
    /// It cannot be done.
    Never(String),
}

/// Resolves `target` to nodes whose state `fits`. `victims` says which nodes an earlier step hit.
pub(super) fn resolve(
    view: &View,
    target: &Target,
    fits: Fits<'_>,
    rng: &mut ChaCha8Rng,
    victims: impl Fn(&str) -> Option<Vec<i32>>,
) -> Result<Vec<i32>, Unresolved> {
    let never = |why: String| Err(Unresolved::Never(why));
    let unknown = |topic: &str, partition: i32| format!("nothing is known of {topic}-{partition}");
    match target {
        Target::Node(id) => one(view, *id, fits),
        Target::ActiveController => match view.controller() {
            Some(id) => one(view, id, fits),
            None => never("the active controller is not known".to_owned()),
        },
        Target::Leader { topic, partition } => match view.partition(topic, *partition) {
            None => never(unknown(topic, *partition)),
            Some(state) if state.leader < 0 => never(format!("{topic}-{partition} has no leader")),
            Some(state) => one(view, state.leader, fits),
        },
        Target::Followers { topic, partition } => match view.partition(topic, *partition) {
            None => never(unknown(topic, *partition)),
            Some(state) => {
                let mut followers: Vec<i32> = state.isr.iter().copied().filter(|id| *id != state.leader).collect();
                followers.sort_unstable();
                if followers.is_empty() {
                    return never(format!("{topic}-{partition} has no in-sync follower"));
                }
                several(view, &followers, fits)
            }
        },
        Target::EveryBroker => several(view, &view.brokers().iter().copied().collect::<Vec<_>>(), fits),
        Target::VictimOf(step) => match victims(step) {
            None => never(format!("step {step} was not carried out")),
            Some(ids) => several(view, &ids, fits),
        },
        Target::RandomBroker => {
            let brokers: Vec<i32> = view.brokers().iter().copied().collect();
            let candidates = several(view, &brokers, fits)?;
            Ok(pick(rng, &candidates).into_iter().collect())
        }
    }
}

fn one(view: &View, id: i32, fits: Fits<'_>) -> Result<Vec<i32>, Unresolved> {
    let Some(node) = view.nodes.get(&id) else {
        return Err(Unresolved::Never(format!("there is no node {id}")));
    };
    if node.busy {
        return Err(Unresolved::Busy);
    }
    if !fits(node.state) {
        return Err(Unresolved::Never(format!("{} is {}", view.name(id), node.state.as_str())));
    }
    Ok(vec![id])
}

/// Those of several nodes whose state fits.
fn several(view: &View, ids: &[i32], fits: Fits<'_>) -> Result<Vec<i32>, Unresolved> {
    let mut allowed = Vec::new();
    let mut why = Vec::new();
    for id in ids {
        match one(view, *id, fits) {
            Ok(id) => allowed.extend(id),
            Err(Unresolved::Busy) => return Err(Unresolved::Busy),
            Err(Unresolved::Never(reason)) => why.push(reason),
        }
    }
    if allowed.is_empty() { Err(Unresolved::Never(why.join(", "))) } else { Ok(allowed) }
}

/// `leader of metrics-0 = broker 2`; a node named by its id resolves to itself.
pub(super) fn target_text(view: &View, target: &Target, ids: &[i32]) -> String {
    match target {
        Target::Node(_) => view.names(ids),
        _ => format!("{} = {}", target, view.names(ids)),
    }
}

/// The generator of one step: its draws depend on the seed and the step, not on what other steps drew.
pub(super) fn step_rng(seed: u64, step: &str) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    // FNV-1a; step ids are short and few, and a collision would only make two steps draw alike.
    let hash = step
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3));
    key[8..16].copy_from_slice(&hash.to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

/// One of them, evenly.
pub(super) fn pick<T: Copy>(rng: &mut ChaCha8Rng, candidates: &[T]) -> Option<T> {
    let at = (u128::from(rng.next_u64()) * candidates.len() as u128) >> 64;
    candidates.get(at as usize).copied()
}

/// A number from 0 to 1, 1 excluded.
pub(super) fn unit(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}
