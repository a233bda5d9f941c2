//! Bad files: each mistake is reported at its place, with what is allowed.

use metricstream_scenario::{ScenarioError, parse};

/// Parses a file that has exactly one mistake.
fn only_error(text: &str) -> ScenarioError {
    let errors = parse(text).expect_err(text);
    assert_eq!((errors.errors.len(), errors.omitted), (1, 0), "{text}\n{errors}");
    errors.errors.into_iter().next().expect("counted above")
}

const TWO_STEPS: &str = "name='x'\n[[timeline]]\nid='k'\nat_s=5\ndo='kill'\ntarget='broker 2'\n";

fn step(lines: &str) -> String {
    format!("{TWO_STEPS}[[timeline]]\n{lines}\n")
}

fn claim(lines: &str) -> String {
    format!("{TWO_STEPS}[[claims]]\n{lines}\n")
}

fn check(cases: &[(&str, usize, &str)], text_of: impl Fn(&str) -> String) {
    for (lines, line, message) in cases {
        let error = only_error(&text_of(lines));
        assert!(error.message.contains(message), "{lines}\n{error}");
        assert_eq!(error.line, *line, "{lines}\n{error}");
    }
}

#[test]
fn mistakes_of_the_topology() {
    let cases = [
        ("[topology]\nbrokerz=3", 3, "unknown key `brokerz` in [topology]; allowed: brokers, controllers, profile"),
        ("[topology]\nbrokerz=3", 3, "did you mean `brokers`?"),
        ("[topology]\nbrokers=0", 3, "allowed: 1 to 15"),
        ("[topology]\nbrokers='three'", 3, "wanted: a whole number"),
        ("[topology]\ncontrollers='apart'", 3, "allowed: \"combined\", or a number from 1 to 9"),
        ("[topology]\nprofile='quick'", 3, "allowed: \"apache\", \"fast\""),
        ("[topology]\nbroker_config={'broker.sesion.timeout.ms'=1}", 3, "did you mean `broker.session.timeout.ms`?"),
        ("[topology]\nbroker_config={'node.id'=1}", 3, "is set by the engine"),
        ("[topology]\nbroker_config={'broker.session.timeout.ms'='long'}", 3, "wanted: a whole number"),
        ("[[topology.topics]]\nreplication_factor=4", 3, "there are 3 brokers; allowed: 1 to 3"),
        ("[[topology.topics]]\nmin_insync_replicas=4", 3, "allowed: 1 to 3"),
        ("[[topology.topics]]\npartitions=1001", 3, "allowed: 1 to 1000"),
        ("[[topology.topics]]\npartitions=0", 3, "allowed: 1 to 1000"),
        ("[[topology.topics]]\nname='a b'", 3, "is no topic name"),
        ("[[topology.topics]]\nname='__consumer_offsets'", 3, "Kafka's own"),
        ("[[topology.topics]]\n[[topology.topics]]\n[[workload.producers]]\ntopic='metrics'", 3, "already a topic"),
        ("[[topology.topics]]\nreplicas=[[1,2,4]]", 3, "there is no broker 4; the brokers are 1 to 3"),
        ("[[topology.topics]]\nreplicas=[[1,2,2]]\nreplication_factor=2", 3, "broker 2 stands twice"),
        (
            "[[topology.topics]]\nreplicas=[[1,2],[2]]",
            3,
            "partition 1 lists 1 replicas, but the replication factor is 2",
        ),
        ("[[topology.topics]]\nreplicas=[[1]]\npartitions=2", 3, "lists 1 partitions, but the topic has 2"),
        ("[[topology.topics]]\nconfig={'min.insync.replicas'=1}", 3, "set `min_insync_replicas`"),
        ("[[topology.topics]]\nconfig={'retention'=1}", 3, "no topic setting `retention`"),
        ("topology=3", 2, "wanted: a table"),
    ];
    check(&cases, |lines| format!("name='x'\n{lines}"));
}

#[test]
fn mistakes_of_the_workload() {
    let cases = [
        ("[workload]\nduration_s=-1", 3, "allowed: 1 to 86400"),
        ("[workload]\nsettle_s=-1", 3, "allowed: 0 to 3600"),
        ("[workload]\nmax_duration_s=0", 3, "allowed: 1 to 86400"),
        ("[workload]\nduration_s=2000\nproducers=[{rate_per_s=1000000}]", 4, "2000000000 messages in up to 2000 s"),
        ("[[workload.producers]]\nrate_per_s=0", 3, "above 0"),
        ("[[workload.producers]]\nrate_per_s=nan", 3, "above 0"),
        ("[[workload.producers]]\nrate_per_s='fast'", 3, "\"unthrottled\""),
        ("[[workload.producers]]\nmessage_size_bytes=47", 3, "allowed: 48 to 999000"),
        ("[[workload.producers]]\ntopic='metric'", 3, "there is no topic `metric`; the topics are: metrics"),
        ("[[workload.producers]]\nname='a'\n[[workload.producers]]\nname='a'", 5, "already a producer `a`"),
        ("[[workload.producers]]\nconfig={'group.id'='g'}", 3, "`group.id` is set by MetricStream"),
        ("[[workload.producers]]\nconfig={'bootstrap.servers'='h:1'}", 3, "the engine gives the addresses"),
        ("[[workload.producers]]\nconfig={'session.timeout.ms'=1}", 3, "a setting of groups, not of producers"),
        ("[[workload.producers]]\nconfig={'lingr.ms'=1}", 3, "did you mean `linger.ms`?"),
        ("[[workload.producers]]\nconfig={acks='most'}", 3, "allowed: all, 1, 0"),
        ("[[workload.producers]]\nconfig={acks=1,'request.required.acks'=1}", 3, "are the same setting"),
        ("[[workload.producers]]\nconfig={acks=1,'enable.idempotence'=true}", 3, "needs acks=all"),
        ("[[workload.producers]]\nconfig={acks=[1]}", 3, "a setting is text, a number, true or false"),
        ("[[workload.producers]]\nmessage_size_bytes=5000\nconfig={'message.max.bytes'=5000}", 3, "do not fit"),
        (
            "[[workload.groups]]\nassignor='uniform'",
            3,
            "`classic` has no assignor `uniform`; allowed: range, roundrobin",
        ),
        ("[[workload.groups]]\nprotocol='consumer'\nassignor='sticky'", 4, "allowed: uniform, range"),
        ("[[workload.groups]]\nmembers=['A','A']", 3, "`A` stands twice"),
        ("[[workload.groups]]\nmembers=['a b']", 3, "is no name"),
        ("[[workload.groups]]\ntopics=['logs']", 3, "there is no topic `logs`"),
        ("[[workload.groups]]\nconfig={'enable.auto.commit'=true}", 3, "set by MetricStream"),
        ("[[workload.groups]]\nprotocol='consumer'\nconfig={'session.timeout.ms'=6000}", 4, "group.consumer.session"),
        ("[[workload.groups]]\nconfig={'max.poll.interval.ms'=6000}", 3, "must not be below `session.timeout.ms`"),
    ];
    check(&cases, |lines| format!("name='x'\n{lines}"));
}

#[test]
fn mistakes_of_the_timeline() {
    let cases = [
        ("at_s=6\ndo='start'\ntarget='broker 2'", 7, "no `id`"),
        ("id='k'\nat_s=6\ndo='start'\ntarget='broker 2'", 8, "already a step `k`"),
        ("id='b'\ndo='start'\ntarget='broker 2'", 7, "neither `at_s` nor `on`"),
        ("id='b'\nat_s=6\non='isr-full'\ndo='start'\ntarget='broker 2'", 10, "beside `at_s`"),
        ("id='b'\nat_s=6\nafter_s=6\ndo='start'\ntarget='broker 2'", 10, "belongs to `on`"),
        ("id='b'\nat_s=-1\ndo='start'\ntarget='broker 2'", 9, "allowed: 0 to"),
        ("id='b'\nat_s=86401\ndo='start'\ntarget='broker 2'", 9, "allowed: 0 to 86400"),
        ("id='b'\nat_s=4\ndo='start'\ntarget='broker 2'", 9, "steps stand in the order"),
        ("id='b'\nat_s=6\ndo='boil'\ntarget='broker 2'", 10, "allowed: \"kill\", \"stop\""),
        ("id='b'\nat_s=6\ndo='kill'", 7, "no `target`"),
        ("id='b'\nat_s=6\ndo='kill'\ntarget='broker 9'", 11, "there is no node 9; the brokers are 1 to 3 and are"),
        ("id='b'\nat_s=6\ndo='kill'\ntarget='controller 101'", 11, "there is no node 101"),
        ("id='b'\nat_s=6\ndo='kill'\ntarget='leader of metrics-6'", 11, "its partitions are 0 to 5"),
        ("id='b'\nat_s=6\ndo='kill'\ntarget='leader of logs-0'", 11, "there is no topic `logs`"),
        ("id='b'\nat_s=6\ndo='kill'\ntarget='the big one'", 11, "is no target; allowed: \"broker 2\""),
        ("id='b'\nat_s=6\ndo='start'\ntarget='victim of q'", 11, "no step `q` above this one; steps above: k"),
        ("id='b'\nat_s=6\ndo='start'\ntarget='broker 1'", 11, "no step above has killed or stopped node 1"),
        ("id='b'\nat_s=6\ndo='resume'\ntarget='victim of k'", 11, "`k` has not paused anything"),
        ("id='b'\nat_s=6\ndo='start'\ntarget='random broker'", 11, "a node that is down leads"),
        ("id='b'\nat_s=6\ndo='kill'\ntarget='broker 1'\nmember='A'", 12, "`member` does not belong to do = \"kill\""),
        ("id='b'\nat_s=6\ndo='member-join'\nmember='A'", 11, "is a member of `group-1` already"),
        ("id='b'\nat_s=6\ndo='member-leave'\nmember='B'", 11, "`group-1/B` is not there"),
        ("id='b'\nat_s=6\ndo='member-leave'", 7, "no `member`"),
        ("id='b'\nat_s=6\ndo='member-leave'\ngroup='g'\nmember='A'", 11, "there is no group `g`"),
        ("id='b'\nat_s=6\ndo='member-stall'\nmember='A'", 7, "no `for_s`"),
        ("id='b'\nat_s=6\ndo='chaos'\nfor_s=5\nkinds=['burn']", 12, "allowed, each once: kill, stop, pause"),
        ("id='b'\nat_s=6\ndo='partition'", 7, "no `groups`"),
        ("id='b'\nat_s=6\ndo='partition'\ngroups=['broker 1']", 11, "a link has two ends"),
        ("id='b'\nat_s=6\ndo='partition'\ngroups=['broker 1, broker 2', 'broker 1']", 11, "names \"broker 1\" twice"),
        (
            "id='b'\nat_s=6\ndo='partition'\ngroups=['broker 1', 'rest']",
            11,
            "is no end of a link; allowed: \"clients\"",
        ),
        ("id='b'\nat_s=6\ndo='partition'\ngroups=['broker 9', 'others']", 11, "there is no node 9"),
        ("id='b'\nat_s=6\ndo='partition'\ntarget='broker 1'\ngroups=['broker 1','others']", 11, "does not belong"),
        ("id='b'\nat_s=6\ndo='isolate'\ntarget='broker 1'\nfrom='clients'", 12, "allowed: \"all\", \"nodes\""),
        ("id='b'\nat_s=6\ndo='slow-link'\nbetween=['broker 1','clients']", 7, "the link is not slow"),
        ("id='b'\nat_s=6\ndo='slow-link'\nbetween=['broker 1','broker 2']\ndelay_ms=-1", 12, "allowed: 0 to 60000"),
        ("id='b'\nat_s=6\ndo='mend'\nstep='k'", 11, "`k` does nothing to links"),
        ("id='b'\nat_s=6\ndo='mend'", 10, "no step above does anything to links"),
        ("id='b'\non='isr full'\ndo='kill'\ntarget='broker 1'", 9, "is no condition; allowed: \"isr-full\""),
        ("id='b'\non='isr-full'\ndo='kill'\ntarget='broker 1'", 9, "holds as soon as load starts"),
        ("id='b'\non='fenced b'\ndo='kill'\ntarget='broker 1'", 9, "there is no step `b` above"),
        ("id='b'\non='group-stable g'\ndo='kill'\ntarget='broker 1'", 9, "there is no group `g`"),
    ];
    check(&cases, step);
}

#[test]
fn mistakes_of_the_claims() {
    let cases = [
        ("id='c'\nmeasure='loss'\nvalue=0", 9, "there is no measure `loss`; allowed: producers_notice_s"),
        ("id='c'\nmeasure='los'\nvalue=0", 9, "did you mean `lost`?"),
        ("id='c'\nmeasure='lost'\nvalue='none'", 10, "`lost` wants a number"),
        ("id='c'\nmeasure='lost'", 7, "no `value`"),
        ("id='c'\nmeasure='lost'\nvalue=0\nstep='k'", 11, "does not belong to the measure `lost`"),
        ("id='c'\nmeasure='new_leaders_s'\nvalue=3", 7, "`new_leaders_s` needs `step`"),
        ("id='c'\nmeasure='new_leaders_s'\nvalue=3\nstep='kk'", 11, "there is no step `kk`; the steps are: k"),
        ("id='c'\nmeasure='isr_before'\nvalue='[1]'\nstep='k'", 7, "needs `of`: a partition"),
        ("id='c'\nmeasure='isr_before'\nvalue='1,2'\nstep='k'\nof='metrics-0'", 10, "wants broker ids as text"),
        ("id='c'\nmeasure='isr_before'\nvalue='[1]'\nstep='k'\nof='metrics-9'", 12, "its partitions are 0 to 5"),
        ("id='c'\nmeasure='assignment'\nvalue='[P0]'\nstep='k'\nof='group-1/Z'", 12, "no member `Z`; its members: A"),
        ("id='c'\nmeasure='leaders_distinct'\nvalue=1\nstep='k'", 7, "needs `after_s`"),
        ("id='c'\nmeasure='quorum_available'\nvalue=true\nstep='k'\nop='<='", 12, "allowed: \"==\""),
        ("id='c'\nmeasure='caught_up_s'\nvalue=1\nstep='k'", 11, "is about a start, resume or mend"),
        ("measure='lost'\nvalue=0", 7, "no `id`"),
    ];
    check(&cases, claim);
}

#[test]
fn mistakes_at_the_top_and_of_toml_itself() {
    assert!(only_error("description='d'").message.contains("`name` is missing"));
    assert!(only_error("name='x'\nschema=2").message.contains("allowed: 1 to 1"));
    assert!(only_error("name='x'\n[settle]\ndrain_s=-1").message.contains("0 to 3600"));
    let broken = only_error("name = 'x'\n[topology\nbrokers = 3");
    assert!(broken.message.starts_with("not TOML: ") && broken.line == 2, "{broken}");
    let twice = only_error("name='x'\nname='y'");
    assert!(twice.message.contains("duplicate key") && twice.line == 2, "{twice}");
    assert!(only_error(&format!("name='x'\n#{}", "y".repeat(600_000))).message.contains("at most"));
}

#[test]
fn everything_is_reported_at_once_in_the_order_of_the_file_and_capped() {
    let text = include_str!("many-mistakes.toml");
    insta::assert_snapshot!(parse(text).expect_err("it has mistakes").to_string());
    let many = (0..50).fold("name='x'\n".to_owned(), |text, nth| format!("{text}bad{nth}=1\n"));
    let errors = parse(&many).expect_err("fifty unknown keys");
    assert_eq!((errors.errors.len(), errors.omitted), (20, 30));
    assert!(errors.to_string().ends_with("and 30 more"));
}

#[test]
fn nothing_given_means_the_defaults() {
    let scenario = parse("name='x'").expect("a name is enough");
    let topic = &scenario.topology.topics[0];
    assert_eq!((scenario.topology.brokers, topic.name.as_str(), topic.partitions), (3, "metrics", 6));
    assert_eq!((topic.replication_factor, topic.min_insync_replicas), (3, 2));
    assert_eq!(scenario.workload.producers[0].rate_per_s, Some(1000.0));
    assert_eq!(scenario.workload.groups[0].members, ["A"]);
    let single = parse("name='x'\ntopology.brokers=1").expect("one broker is a cluster");
    assert_eq!((single.topology.topics[0].replication_factor, single.topology.topics[0].min_insync_replicas), (1, 1));
    let unthrottled = parse("name='x'\n[[workload.producers]]\nrate_per_s='unthrottled'").expect("sound");
    assert_eq!(unthrottled.workload.producers[0].rate_per_s, None);
}

#[test]
fn settings_may_be_numbers_and_need_no_quotes() {
    let text = "name='x'\ntopology.broker_config.broker.session.timeout.ms=6000\n\
                [[workload.producers]]\nconfig={acks=1,linger.ms='7','enable.idempotence'=false}";
    let scenario = parse(text).expect("sound");
    assert_eq!(scenario.topology.broker_config["broker.session.timeout.ms"], "6000");
    let config = &scenario.workload.producers[0].config;
    assert_eq!((config["acks"].as_str(), config["linger.ms"].as_str()), ("1", "7"));
}

#[test]
fn a_step_after_the_end_of_load_is_a_mistake_where_the_end_is_known() {
    for (workload, limit) in [("duration_s=30", "duration_s = 30"), ("max_duration_s=20", "max_duration_s = 20")] {
        let text = |at_s: u32| {
            format!("name='x'\nworkload.{workload}\n[[timeline]]\nid='k'\nat_s={at_s}\ndo='kill'\ntarget='broker 2'\n")
        };
        assert!(parse(&text(5)).is_ok());
        let error = only_error(&text(31));
        let wanted = format!("after load has ended; allowed: 0 to {limit}");
        assert!(error.message.contains(&wanted) && error.line == 5, "{error}");
    }
    assert_eq!(parse(&TWO_STEPS.replace("at_s=5", "at_s=3000")).map(|s| s.workload.duration_s), Ok(None));
}
