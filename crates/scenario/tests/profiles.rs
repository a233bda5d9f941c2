//! `[profiles.fast]`: what a file changes in a profile, and what it says of what is wrong there.

use metricstream_scenario::overrides::{apply, split};
use metricstream_scenario::{Origin, Profile, Scenario, ScenarioErrors, When, parse, to_toml};

const FILE: &str = "name = 'x'\n\
    [[timeline]]\nid = 'kill-2'\nat_s = 10\ndo = 'kill'\ntarget = 'broker 2'\n\
    [[timeline]]\nid = 'start-2'\nat_s = 20\ndo = 'start'\ntarget = 'victim of kill-2'\n\
    [profiles.fast]\n";
const SHORT: &str = "timeline.kill-2.at_s = 3\n'timeline.start-2.at_s' = 6\nworkload.settle_s = 2\n\
    topology.broker_config = { 'broker.session.timeout.ms' = 4000 }\n";

fn with(text: &str, set: &[&str]) -> Result<Scenario, ScenarioErrors> {
    let pairs: Vec<(String, String)> = set.iter().map(|text| split(text).expect("has a =")).collect();
    apply(text, &pairs)
}

fn times(scenario: &Scenario) -> Vec<f64> {
    let at_s = |when: &When| if let When::At { at_s } = when { *at_s } else { f64::NAN };
    scenario.timeline.iter().map(|step| at_s(&step.when)).collect()
}

#[test]
fn the_entries_hold_in_their_profile_only_however_it_was_chosen() {
    let file = format!("{FILE}{SHORT}");
    let plain = parse(&file).expect("sound");
    assert_eq!((times(&plain), plain.workload.settle_s), (vec![10.0, 20.0], 5.0));
    assert_eq!(plain, parse(FILE).expect("sound"), "apache knows nothing of it");
    let fast = with(&file, &["topology.profile=fast"]).expect("sound");
    assert_eq!((times(&fast), fast.workload.settle_s), (vec![3.0, 6.0], 2.0));
    assert_eq!(fast.topology.broker_config["broker.session.timeout.ms"], "4000");
    assert_eq!(fast.topology.profile, Profile::Fast);
    let in_file = file.replace("[profiles.fast]", "[topology]\nprofile = 'fast'\n[profiles.fast]");
    assert_eq!(parse(&in_file).as_ref(), Ok(&fast));
    assert_eq!(with(&in_file, &["topology.profile=apache"]).map(|s| times(&s)), Ok(vec![10.0, 20.0]));
    // What is written down is what is run.
    assert_eq!(parse(&to_toml(&fast)).as_ref(), Ok(&fast));
}

#[test]
fn the_command_line_goes_over_it() {
    let file = format!("{FILE}{SHORT}");
    let set = ["timeline.start-2.at_s=7", "topology.profile=fast", "workload.duration_s=30"];
    let fast = with(&file, &set).expect("sound");
    assert_eq!((times(&fast), fast.workload.duration_s), (vec![3.0, 7.0], Some(30.0)));
    let errors = with(&file, &["topology.profile=fast", "timeline.start-2.at_s=2"]).expect_err("before the kill");
    assert_eq!(errors.errors[0].origin, Origin::Override(1), "{errors}");
}

#[test]
fn mistakes_are_reported_at_their_line_whatever_the_profile() {
    for (entry, message) in [
        ("timeline.kill-3.at_s = 3", "an index, or one of: kill-2, start-2; did you mean `kill-2`?"),
        ("topologie.brokers = 5", "did you mean `topology`?"),
        ("timeline.kill-2.at_s = 'soon'", "wanted: a number (with [profiles.fast]; the file without it is sound)"),
        ("'timeline..at_s' = 1", "a part of the path is empty"),
        ("topology.profile = 'apache'", "`topology.profile` cannot differ from profile to profile"),
        ("name = 'y'", "`name` cannot differ"),
    ] {
        let errors = parse(&format!("{FILE}{entry}\n")).expect_err(entry);
        assert_eq!((errors.errors.len(), errors.errors[0].line), (1, 13), "{errors}");
        assert_eq!(errors.errors[0].origin, Origin::File);
        assert!(errors.to_string().contains(message), "{errors}");
    }
    // Another line of the file than the entry's.
    let errors = parse(&format!("{FILE}topology.brokers = 1\n")).expect_err("broker 2 is killed");
    assert_eq!(errors.errors[0].line, 6, "{errors}");
    assert!(errors.to_string().contains("there is no node 2; the brokers are 1 to 1 and are"), "{errors}");
    let errors = parse("name='x'\n[profiles.quick]\nworkload.settle_s = 2\n").expect_err("no such profile");
    assert!(errors.to_string().contains("there is no profile `quick`; allowed: apache, fast"), "{errors}");
    assert!(parse("name='x'\nprofiles=3").expect_err("no table").to_string().contains("[profiles.fast]"));
    let errors = with(FILE, &["profiles.fast.name=y"]).expect_err("not from the command line");
    assert!(errors.to_string().contains("set the value itself"), "{errors}");
}
