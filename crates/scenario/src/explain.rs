//! What a scenario comes to: every setting that is not Kafka's default, and what its clocks predict. For people, as the
//! comments of a scenario file, so that a file with them stays one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::guarantee::derive;
use crate::model::{Controllers, GroupProtocol, Scenario};
use crate::timers::{self, Event};
use crate::write::redacted;

/// The comments, each line beginning with `#`.
pub fn explain(scenario: &Scenario) -> String {
    // Settings of clients may hold secrets.
    let scenario = &redacted(scenario);
    let mut out = String::new();
    let broker = timers::effective_broker_config(&scenario.topology);
    let profile = timers::profile_broker_config(scenario.topology.profile);
    let name = scenario.topology.profile.word();
    if profile.is_empty() {
        let _ = writeln!(out, "# The profile `{name}` sets nothing: every timer is Kafka's default.");
    } else {
        let _ = writeln!(out, "# The profile `{name}` sets on every broker:");
        settings(&mut out, &profile);
    }
    let beside = broker.iter().filter(|(key, _)| !profile.contains_key(*key));
    let beside: BTreeMap<String, String> = beside.map(|(key, value)| (key.clone(), value.clone())).collect();
    let _ = writeln!(out, "# Set on every broker beside that:");
    settings(&mut out, &beside);
    for producer in &scenario.workload.producers {
        let _ = writeln!(out, "# Producer {}:", producer.name);
        settings(&mut out, &scenario.producer_config(producer));
    }
    for group in &scenario.workload.groups {
        let _ = writeln!(out, "# Group {}:", group.name);
        settings(&mut out, &scenario.group_config(group));
    }
    predictions(&mut out, scenario, &broker);
    let _ = writeln!(out, "# Guaranteed by this configuration under the faults that are planned:");
    for guarantee in derive(scenario) {
        let (mark, word) = if guarantee.applies { ("yes", "") } else { ("no ", "not given: ") };
        let _ = writeln!(out, "#   {mark}  {}: {word}{}", guarantee.text, guarantee.why);
    }
    out
}

fn settings(out: &mut String, settings: &BTreeMap<String, String>) {
    for (key, value) in settings {
        let default = timers::clock(key).map(|clock| clock.default.to_string()).filter(|default| default != value);
        let default = default.map_or_else(String::new, |default| format!("   (Kafka's default: {default})"));
        let _ = writeln!(out, "#   {key} = {value}{default}");
    }
}

fn predictions(out: &mut String, scenario: &Scenario, broker: &BTreeMap<String, String>) {
    let none = BTreeMap::new();
    let mut events = vec![
        ("a broker killed, until others lead its partitions", Event::BrokerKilled, none.clone()),
        ("a broker stopped in order, the same", Event::ControlledShutdown, none.clone()),
    ];
    events.push(match scenario.topology.controllers {
        Controllers::Combined => ("the active controller killed, the same", Event::CombinedActiveKilled, none),
        Controllers::Separate(_) => {
            ("the active controller killed, until another is", Event::ActiveControllerKilled, none)
        }
    });
    for group in &scenario.workload.groups {
        let config = scenario.group_config(group);
        let (crash, change) = match group.protocol {
            GroupProtocol::Classic => (Event::ClassicCrash, Event::ClassicChange),
            GroupProtocol::Consumer => (Event::ConsumerCrash, Event::ConsumerChange),
        };
        events.push(("a member crashed, until its partitions are owned again", crash, config.clone()));
        events.push(("a member joining or leaving, until the group has settled", change, config));
    }
    let _ = writeln!(out, "# Predicted from the clocks, machine time apart:");
    let mut told = BTreeSet::new();
    for (text, event, client) in events {
        let bound = timers::predict(event, broker, &client);
        let line = format!("#   {text}: {:.1}–{:.1} s, {}", bound.min_s, bound.max_s, bound.timer);
        // Groups with the same clocks say the same.
        if told.insert(line.clone()) {
            let _ = writeln!(out, "{line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{parse, to_toml};

    fn explained(text: &str) -> String {
        let scenario = parse(text).expect("sound");
        let whole = format!("{}\n{}", to_toml(&scenario), explain(&scenario));
        assert_eq!(parse(&whole).as_ref(), Ok(&scenario), "a file with its comments is the same file");
        explain(&scenario)
    }

    #[test]
    fn the_profile_and_what_it_leads_to_are_told() {
        let apache = explained("name='x'");
        assert!(apache.contains("`apache` sets nothing"), "{apache}");
        assert!(apache.contains("a broker killed, until others lead its partitions: 7.0–10.1 s"), "{apache}");
        let fast = explained("name='x'\ntopology.profile='fast'");
        assert!(fast.contains("broker.session.timeout.ms = 3000   (Kafka's default: 9000)"), "{fast}");
        assert!(fast.contains("2.5–3.4 s, broker.session.timeout.ms = 3000"), "{fast}");
        assert!(fast.contains("session.timeout.ms = 6000   (Kafka's default: 45000)"), "clients too: {fast}");
        let mine = explained("name='x'\ntopology.broker_config={'broker.session.timeout.ms'=6000}");
        assert!(mine.contains("broker.session.timeout.ms = 6000   (Kafka's default: 9000)"), "{mine}");
    }

    #[test]
    fn what_is_not_guaranteed_is_said_and_secrets_are_not() {
        let text = "name='x'\n[[workload.producers]]\nconfig={acks=1,'sasl.password'='hunter2'}";
        let weak = explained(text);
        assert!(
            weak.contains("no   nothing acknowledged in metrics is lost: not given: producer-1 sends with acks=1"),
            "{weak}"
        );
        assert!(!weak.contains("hunter2") && weak.contains("sasl.password = [redacted]"), "{weak}");
    }
}
