//! Every built-in scenario, run on the embedded cluster in both profiles; the stories are those that are told of Apache Kafka
//! too, and those of links, which can be slowed and cut here only.
#![allow(missing_docs)]

mod common;

use std::time::Duration;

use common::stories::{
    On, Story, a_leader_that_is_cut_off_is_replaced_and_loses_nothing_that_was_acknowledged, tell_together,
    three_zones_are_slow_and_one_of_them_is_lost_and_comes_back,
};
use common::{finish, free_ports, metricstream};

static APACHE: On = On::EMBEDDED;
static FAST: On = On::EMBEDDED_FAST;

/// One test for all, so that as many run at once as the machine bears and not as it has processors.
#[test]
fn every_story_holds_in_both_profiles() {
    let of_links = |on| {
        let cut: Story =
            ("a_leader_is_cut_off", a_leader_that_is_cut_off_is_replaced_and_loses_nothing_that_was_acknowledged);
        let zones: Story = ("three_zones", three_zones_are_slow_and_one_of_them_is_lost_and_comes_back);
        [(on, cut), (on, zones)]
    };
    let mut stories = every_story!(story_list APACHE).to_vec();
    stories.extend(of_links(&APACHE));
    stories.extend(every_story!(story_list FAST));
    stories.extend(of_links(&FAST));
    tell_together(stories);
}

#[test]
fn links_are_refused_before_anything_starts_where_the_engine_has_no_say_over_them() {
    let said = |args: &[&str]| finish(&mut metricstream(args), Duration::from_secs(30)).expect(2).stderr;
    let kafka = said(&["run", "network-partition", "--engine", "kafka"]);
    for part in ["engine kafka cannot slow or cut links", "cut: isolate", "mend: mend", "--engine embedded"] {
        assert!(kafka.contains(part), "`{part}` is not in {kafka}");
    }
    let remote = said(&["run", "three-zones", "--engine", "remote", "--bootstrap", "127.0.0.1:1"]);
    assert!(remote.contains("zone-3-lost: partition") && remote.contains("--without-faults"), "{remote}");
    let flaw = said(&["run", "broker-failure", "--engine", "kafka", "--flaw", "no-pre-vote"]);
    assert!(flaw.contains("--flaw") && flaw.contains("--engine embedded"), "{flaw}");
    let version = said(&["run", "broker-failure", "--engine", "embedded", "--kafka-version", "4.1.1"]);
    assert!(version.contains("--engine kafka"), "{version}");
}

#[test]
fn a_setting_or_flaw_that_the_embedded_cluster_cannot_have_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let said = |args: &[&str]| {
        let mut all = vec!["run", "broker-failure", "--engine", "embedded"];
        all.extend(args);
        finish(metricstream(&all).current_dir(dir.path()), Duration::from_secs(30)).expect(2).stderr
    };
    let set = "topology.broker_config.\"leader.replication.throttled.rate\"=1000";
    let throttled = said(&["--set", set]);
    assert!(
        throttled.contains("leader.replication.throttled.rate") && throttled.contains("--engine kafka"),
        "{throttled}"
    );
    let flaw = said(&["--flaw", "none-such"]);
    assert!(flaw.contains("none-such") && flaw.contains("acknowledge-before-replication"), "{flaw}");
}

#[test]
fn a_cluster_by_hand_says_which_flaws_are_on() {
    let name = format!("flawed-{}", std::process::id());
    let ask = |args: &[&str]| {
        let mut all = args.to_vec();
        all.extend(["--name", &name]);
        finish(&mut metricstream(&all), Duration::from_secs(60))
    };
    let port = free_ports(1).to_string();
    let up = ["cluster", "up", "--engine", "embedded", "--detach", "--brokers", "1", "--port", &port];
    ask(&[&up[..], &["--flaw", "no-pre-vote"]].concat()).expect(0);
    let status = ask(&["cluster", "status"]).expect(0).stdout;
    ask(&["cluster", "down"]).expect(0);
    assert!(status.contains("embedded") && status.contains("flaws that are switched on: no-pre-vote"), "{status}");
}
