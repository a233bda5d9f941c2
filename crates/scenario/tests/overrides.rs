//! `--set PATH=VALUE`: what it reaches, and what it says when it does not.

use metricstream_scenario::overrides::{apply, split};
use metricstream_scenario::{Origin, Scenario, ScenarioErrors, Target, When, parse};

const FILE: &str = "name = 'x'\n\
    [[workload.producers]]\nname = 'fast'\n\
    [[workload.groups]]\n\
    [[timeline]]\nid = 'kill-2'\nat_s = 10\ndo = 'kill'\ntarget = 'broker 2'\n\
    [[timeline]]\nid = 'start-2'\nat_s = 20\ndo = 'start'\ntarget = 'victim of kill-2'\n";

fn set(overrides: &[&str]) -> Result<Scenario, ScenarioErrors> {
    let pairs: Vec<(String, String)> = overrides.iter().map(|text| split(text).expect("has a =")).collect();
    apply(FILE, &pairs)
}

fn refused(text: &str) -> String {
    let errors = set(&[text]).expect_err(text);
    assert_eq!(errors.errors.len(), 1, "{errors}");
    assert_eq!(errors.errors[0].origin, Origin::Override(0), "{errors}");
    errors.to_string()
}

#[test]
fn values_are_reached_by_key_index_name_and_id() {
    let scenario = set(&[
        "topology.brokers=5",
        "topology.broker_config.\"broker.session.timeout.ms\"=6000",
        "topology.broker_config.broker.heartbeat.interval.ms=1000",
        "workload.producers.0.config.acks=1",
        "workload.producers.fast.rate_per_s=unthrottled",
        "workload.groups.group-1.members=[\"A\", \"B\"]",
        "timeline.kill-2.at_s=5",
        "timeline.kill-2.target=leader of metrics-0",
        "settle.heal=false",
    ])
    .expect("each is sound");
    assert_eq!(scenario.topology.brokers, 5);
    assert_eq!(scenario.topology.broker_config["broker.session.timeout.ms"], "6000");
    assert_eq!(scenario.topology.broker_config["broker.heartbeat.interval.ms"], "1000");
    assert_eq!(scenario.workload.producers[0].config["acks"], "1");
    assert_eq!(scenario.workload.producers[0].rate_per_s, None);
    assert_eq!(scenario.workload.groups[0].members, ["A", "B"]);
    assert_eq!(scenario.timeline[0].when, When::At { at_s: 5.0 });
    assert_eq!(scenario.timeline[0].action.target(), Some(&Target::Leader { topic: "metrics".into(), partition: 0 }));
    assert!(!scenario.settle.heal);
}

#[test]
fn what_the_file_leaves_to_defaults_can_be_set_too() {
    let scenario = set(&["topology.topics.metrics.partitions=12", "workload.groups.0.assignor=roundrobin"]);
    let scenario = scenario.expect("the default topic is there");
    assert_eq!(scenario.topology.topics[0].partitions, 12);
    assert_eq!(scenario.workload.groups[0].assignor, "roundrobin");
    assert_eq!(set(&[]).expect("nothing set"), parse(FILE).expect("sound"));
}

#[test]
fn the_last_of_two_overrides_holds_and_however_a_setting_was_written() {
    let text = "name='x'\n[topology.broker_config]\nbroker.session.timeout.ms = 7000\n";
    let path = || "topology.broker_config.\"broker.session.timeout.ms\"".to_owned();
    let scenario = apply(text, &[(path(), "5000".into()), (path(), "6000".into())]).expect("sound");
    assert_eq!(scenario.topology.broker_config["broker.session.timeout.ms"], "6000");
}

#[test]
fn a_wrong_path_names_what_is_allowed() {
    assert!(refused("topologie.brokers=5").contains("did you mean `topology`?"));
    assert!(refused("topology.brokerz=5").contains("allowed: brokers, controllers"));
    assert!(refused("timeline.kill-3.at_s=5").contains("an index, or one of: kill-2, start-2; did you mean `kill-2`?"));
    assert!(refused("timeline.7.at_s=5").contains("has no entry `7`"));
    assert!(refused("timeline.kill-2=5").contains("name a key of [[timeline]]"));
    assert!(refused("name.first=x").contains("nothing can stand below it"));
    assert!(refused("topology..brokers=5").contains("is empty"));
}

#[test]
fn a_wrong_value_is_shown_as_it_was_given() {
    let shown = refused("topology.brokers=many");
    assert_eq!(
        shown,
        "override `topology.brokers=many`: `brokers` is the text \"many\"; wanted: a whole number\n  \
         --set | topology.brokers=many\n        |                  ^^^^"
    );
    assert!(refused("workload.producers.0.config.lingr.ms=1").contains("did you mean `linger.ms`?"));
}

#[test]
fn an_override_that_breaks_the_rest_of_the_file_is_named() {
    let errors = set(&["topology.brokers=1"]).expect_err("broker 2 is killed");
    assert!(errors.to_string().contains("there is no node 2"), "{errors}");
    assert!(errors.to_string().contains("(with topology.brokers=1; the file alone is sound)"), "{errors}");
    assert_eq!(errors.errors[0].origin, Origin::File);
}

#[test]
fn what_follows_from_a_wrong_step_is_no_error_of_its_own() {
    let errors = set(&["timeline.kill-2.target=\"broker 9\""]).expect_err("there is no broker 9");
    assert_eq!(errors.errors.len(), 1, "{errors}");
    assert!(errors.to_string().contains("there is no node 9"), "{errors}");
    // Both steps come too late, and that is all that is wrong with either.
    let errors = set(&["workload.duration_s=5"]).expect_err("the kill comes after the load");
    assert_eq!(errors.to_string().matches("after load has ended").count(), errors.errors.len(), "{errors}");
}

#[test]
fn what_is_no_override_says_what_one_looks_like() {
    let errors = split("topology.brokers").expect_err("no =");
    assert!(errors.to_string().contains("PATH=VALUE, such as topology.brokers=5"), "{errors}");
    assert_eq!(split("a.\"b=c\"= d=e ").expect("has a ="), ("a.\"b=c\"".into(), "d=e".into()));
}
