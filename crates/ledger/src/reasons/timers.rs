//! Which timer fits a measured time: the clock table's predictions under the effective settings, tried in turn.

use std::collections::BTreeMap;

use metricstream_scenario::timers::{self, Bound, Event};

use crate::claims::Facts;
use crate::claims::cluster::taken_out;
use crate::measure::failover::{BrokerChange, CountedFrom, bound_of, counted_from};
use crate::measure::steps::StepSeen;

use super::at;

/// What a machine, an observer's clock and a commit may add to a timer, s.
const LATE_S: f64 = 1.5;
/// What an observer's clock may take from it, s.
const EARLY_S: f64 = 0.3;

/// Whether a time is what a prediction allows.
fn fits(after_s: f64, bound: &Bound) -> bool {
    (bound.min_s - EARLY_S..=bound.max_s + LATE_S).contains(&after_s)
}

/// The first of the events whose prediction allows the time; else that none does.
pub(super) fn named(facts: &Facts<'_>, after_s: f64, events: &[Event], client: &BTreeMap<String, String>) -> String {
    let broker = timers::effective_broker_config(&facts.scenario.topology);
    let bounds: Vec<Bound> = events.iter().map(|event| timers::predict(*event, &broker, client)).collect();
    let span = |bound: &Bound| format!("{} predicts {:.1}–{:.1} s", bound.timer, bound.min_s, bound.max_s);
    match (bounds.iter().find(|bound| fits(after_s, bound)), bounds.first()) {
        (Some(bound), _) => format!("{} ({:.1}–{:.1} s predicted)", bound.timer, bound.min_s, bound.max_s),
        (None, Some(first)) => format!("no timer fits {after_s:.1} s: {}", span(first)),
        (None, None) => format!("no timer is known that could explain {after_s:.1} s"),
    }
}

/// The effective value of a broker setting, in seconds.
pub(super) fn broker_s(facts: &Facts<'_>, name: &str) -> f64 {
    timers::effective_ms(name, &timers::effective_broker_config(&facts.scenario.topology)) as f64 / 1_000.0
}

/// `name = value` of a broker setting.
pub(super) fn broker_setting(facts: &Facts<'_>, name: &str) -> String {
    let broker = timers::effective_broker_config(&facts.scenario.topology);
    let value = broker.get(name).cloned().unwrap_or_else(|| timers::effective_ms(name, &broker).to_string());
    format!("{name} = {value}")
}

/// How the controller came to take a node out after a fault; `None` if it did not.
pub(super) fn taken_out_why(facts: &Facts<'_>, step: &StepSeen, node: i32) -> Option<String> {
    let event = taken_out(facts, step, node)?;
    let after_s = (event.at_us - step.at_us).max(0) as f64 / 1e6;
    if event.change == BrokerChange::ShuttingDown {
        return Some(format!(
            "broker {node} asked for a controlled shutdown, seen at +{after_s:.1} s: no timer decides"
        ));
    }
    let expected = bound_of(step, facts.scenario).unwrap_or(Event::BrokerKilled);
    let events = [expected, Event::BrokerKilled];
    let fenced = format!("broker {node} fenced at +{after_s:.1} s");
    let (controllers, steps) = (facts.controllers(), &facts.measured.steps);
    let since_s = |from_us: i64| (event.at_us - from_us).max(0) as f64 / 1e6;
    match counted_from(step, event.at_us, &controllers, facts.scenario, steps) {
        CountedFrom::Term { active_us, node: active, .. } => {
            let broker = timers::effective_broker_config(&facts.scenario.topology);
            let session = timers::predict(Event::SessionCountedAnew, &broker, &BTreeMap::new());
            if fits(since_s(active_us), &session) {
                return Some(format!(
                    "{fenced}: node {active} became the active controller at {} and gave it a whole session, {}",
                    at(active_us),
                    session.timer
                ));
            }
        }
        CountedFrom::Able(able_us) => {
            let timer = named(facts, since_s(able_us), &events, &BTreeMap::new());
            return Some(format!("{fenced}, before {} no controller could act: from then on {timer}", at(able_us)));
        }
        CountedFrom::Fault => {}
    }
    let timer = named(facts, after_s, &events, &BTreeMap::new());
    Some(format!("{fenced}: {timer}"))
}

/// The client's timer that lasts as long as this, of those given.
pub(super) fn client_timer(config: &BTreeMap<String, String>, length_s: f64, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| {
        let value = timers::effective_ms(name, config);
        let value_s = value as f64 / 1_000.0;
        // A short timer leaves a machine less room than a long one: else it would explain everything.
        let late_s = (value_s / 2.0).clamp(0.2, LATE_S);
        let near = value > 0 && (value_s * 0.9..=value_s + late_s).contains(&length_s);
        near.then(|| format!("{name} = {value}"))
    })
}
