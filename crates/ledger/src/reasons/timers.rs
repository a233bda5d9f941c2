//! Which timer fits a measured time: the clock table's predictions under the effective settings, tried in turn.

use std::collections::BTreeMap;

use metricstream_scenario::timers::{self, Bound, Event};

use crate::claims::Facts;
use crate::claims::cluster::taken_out;
use crate::measure::failover::{BrokerChange, BrokerEvent, CountedFrom, bound_of, counted_from};
use crate::measure::steps::StepSeen;

use super::{TOGETHER_US, at};

/// What a machine, an observer's clock and a commit may add to a timer, s.
const LATE_S: f64 = 1.5;
/// What an observer's clock may take from it, s.
const EARLY_S: f64 = 0.3;

/// Whether a time is what a prediction allows.
fn fits(after_s: f64, bound: &Bound) -> bool {
    (bound.min_s - EARLY_S..=bound.max_s + LATE_S).contains(&after_s)
}

/// What each of the events is predicted to take.
fn bounds(facts: &Facts<'_>, events: &[Event], client: &BTreeMap<String, String>) -> Vec<Bound> {
    let broker = timers::effective_broker_config(&facts.scenario.topology);
    events.iter().map(|event| timers::predict(*event, &broker, client)).collect()
}

/// The first of the events whose prediction allows the time; else that none does.
pub(super) fn named(facts: &Facts<'_>, after_s: f64, events: &[Event], client: &BTreeMap<String, String>) -> String {
    let bounds = bounds(facts, events, client);
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

/// How long after `from_us` the controller took the node out, s.
fn since_s(from_us: i64, event: &BrokerEvent) -> f64 {
    (event.at_us - from_us).max(0) as f64 / 1e6
}

/// What a fault is predicted to end in, the likeliest first.
fn predicted(facts: &Facts<'_>, step: &StepSeen) -> [Event; 2] {
    [bound_of(step, facts.scenario).unwrap_or(Event::BrokerKilled), Event::BrokerKilled]
}

/// From when on the clocks ran that took the node out; the term of a new controller only if its session fits.
fn counted(facts: &Facts<'_>, step: &StepSeen, event: &BrokerEvent) -> CountedFrom {
    let counted = counted_from(step, event.at_us, &facts.controllers(), facts.scenario, &facts.measured.steps);
    match counted {
        CountedFrom::Term { active_us, .. } => {
            let anew = bounds(facts, &[Event::SessionCountedAnew], &BTreeMap::new());
            if anew.iter().any(|bound| fits(since_s(active_us, event), bound)) { counted } else { CountedFrom::Fault }
        }
        CountedFrom::Able(_) | CountedFrom::Fault => counted,
    }
}

/// How the controller came to take a node out after a fault; `None` if it did not.
pub(super) fn taken_out_why(facts: &Facts<'_>, step: &StepSeen, node: i32) -> Option<String> {
    let event = taken_out(facts, step, node)?;
    let after_s = since_s(step.at_us, event);
    if event.change == BrokerChange::ShuttingDown {
        return Some(format!(
            "broker {node} asked for a controlled shutdown, seen at +{after_s:.1} s: no timer decides"
        ));
    }
    let fenced = format!("broker {node} fenced at +{after_s:.1} s");
    let timer = |after_s: f64| named(facts, after_s, &predicted(facts, step), &BTreeMap::new());
    Some(match counted(facts, step, event) {
        CountedFrom::Term { active_us, node: active, .. } => format!(
            "{fenced}: node {active} became the active controller at {} and gave it a whole session, {}",
            at(active_us),
            broker_setting(facts, "broker.session.timeout.ms")
        ),
        CountedFrom::Able(able_us) => format!(
            "{fenced}, before {} no controller could act: from then on {}",
            at(able_us),
            timer(since_s(able_us, event))
        ),
        CountedFrom::Fault => format!("{fenced}: {}", timer(after_s)),
    })
}

/// The setting that decided when the node was out of the way, which was at `at_us`: `name = value`; `None` if none fits.
pub(super) fn decided(facts: &Facts<'_>, step: &StepSeen, node: i32, at_us: i64) -> Option<String> {
    let together = |event: &&BrokerEvent| (event.at_us - at_us).abs() <= TOGETHER_US;
    match taken_out(facts, step, node).filter(together) {
        Some(event) if event.change == BrokerChange::ShuttingDown => None,
        Some(event) => {
            let from_us = match counted(facts, step, event) {
                CountedFrom::Term { .. } => return Some(broker_setting(facts, "broker.session.timeout.ms")),
                CountedFrom::Able(able_us) => able_us,
                CountedFrom::Fault => step.at_us,
            };
            let bounds = bounds(facts, &predicted(facts, step), &BTreeMap::new());
            bounds.into_iter().find(|bound| fits(since_s(from_us, event), bound)).map(|bound| bound.timer)
        }
        None => fell_behind(facts, (at_us - step.at_us) as f64 / 1e6)
            .then(|| broker_setting(facts, "replica.lag.time.max.ms")),
    }
}

/// Whether a replica that is out leaves the ISR after this long because it is so far behind. The leader looks every half of it.
pub(super) fn fell_behind(facts: &Facts<'_>, after_s: f64) -> bool {
    let lag_s = broker_s(facts, "replica.lag.time.max.ms");
    (lag_s * 0.9..=lag_s * 1.5 + 1.5).contains(&after_s)
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
