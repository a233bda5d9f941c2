//! A scenario written as TOML reads back as the same scenario, and never panics on anything else.

use std::collections::BTreeMap;

use metricstream_scenario::*;
use proptest::prelude::*;

fn name() -> impl Strategy<Value = String> {
    "[A-Za-z0-9][A-Za-z0-9._-]{0,12}"
}

fn names(range: std::ops::Range<usize>) -> impl Strategy<Value = Vec<String>> {
    prop::collection::btree_set(name(), range).prop_map(|set| set.into_iter().collect())
}

fn topics(brokers: u32) -> impl Strategy<Value = Vec<Topic>> {
    let one = (1..20_i32, 1..=brokers as i16, any::<bool>(), any::<bool>()).prop_flat_map(
        move |(partitions, factor, explicit, compact)| {
            (1..=factor).prop_map(move |min_insync_replicas| {
                let list = |p: i32| (0..i32::from(factor)).map(|r| (p + r) % brokers as i32 + 1).collect();
                let config = if compact { &[("retention.ms", "60000")][..] } else { &[] };
                Topic {
                    name: String::new(),
                    partitions,
                    replication_factor: factor,
                    min_insync_replicas,
                    replicas: if explicit { (0..partitions).map(list).collect() } else { Vec::new() },
                    config: config.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
                }
            })
        },
    );
    prop::collection::vec(one, 1..4).prop_map(|mut topics| {
        for (nth, topic) in topics.iter_mut().enumerate() {
            topic.name = format!("topic.{nth}_x");
        }
        topics
    })
}

fn settings(pairs: &'static [(&'static str, &'static str)]) -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::sample::subsequence(pairs, 0..=pairs.len())
        .prop_map(|chosen| chosen.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect())
}

fn producers() -> impl Strategy<Value = Vec<Producer>> {
    let one = (
        prop::option::of(0.001..100_000.0_f64),
        48..10_000_usize,
        prop::option::of(1..1000_u32),
        settings(&[("acks", "1"), ("linger.ms", "7"), ("sasl.password", "a\"b\\c\u{1}é'")]),
    );
    (names(0..4), prop::collection::vec(one, 4)).prop_map(|(names, all)| {
        let build = |(name, (rate_per_s, message_size_bytes, keys, config))| Producer {
            name,
            topic: "topic.0_x".to_owned(),
            rate_per_s,
            message_size_bytes,
            keys,
            config,
        };
        names.into_iter().zip(all).map(build).collect()
    })
}

fn groups() -> impl Strategy<Value = Vec<Group>> {
    let one = (any::<bool>(), names(0..4), settings(&[("fetch.min.bytes", "2"), ("auto.offset.reset", "latest")]));
    prop::collection::vec(one, 0..3).prop_map(|all| {
        let build = |(nth, (classic, members, config))| Group {
            name: format!("group-{nth}"),
            topics: vec!["topic.0_x".to_owned()],
            protocol: if classic { GroupProtocol::Classic } else { GroupProtocol::Consumer },
            assignor: if classic { "cooperative-sticky" } else { "uniform" }.to_owned(),
            members,
            config,
        };
        all.into_iter().enumerate().map(build).collect()
    })
}

fn timeline(duration_s: f64) -> impl Strategy<Value = Vec<Step>> {
    let target = prop_oneof![
        Just(Target::Node(1)),
        Just(Target::Leader { topic: "topic.0_x".into(), partition: 0 }),
        Just(Target::Followers { topic: "topic.0_x".into(), partition: 0 }),
        Just(Target::ActiveController),
        Just(Target::RandomBroker),
        Just(Target::EveryBroker),
    ];
    let action = prop_oneof![
        target.clone().prop_map(Action::Kill),
        target.clone().prop_map(Action::Stop),
        target.clone().prop_map(Action::Pause),
        target.clone().prop_map(|target| Action::Isolate { target, from: IsolatedFrom::Nodes }),
        target.clone().prop_map(|target| Action::Partition {
            groups: vec![vec![Side::Nodes(target), Side::Clients], vec![Side::Others]],
        }),
        (target, 0.0..1000.0_f64, prop::option::of(1.0..1000.0_f64)).prop_map(|(target, delay_ms, kb_per_s)| {
            Action::SlowLink { between: vec![Side::Nodes(target), Side::Clients], delay_ms, jitter_ms: 0.5, kb_per_s }
        }),
        (0.001..100.0_f64, 1.0..50.0_f64).prop_map(|(for_s, every_s)| Action::Chaos {
            for_s,
            every_s,
            kinds: vec!["pause".into(), "kill".into()],
        }),
    ];
    prop::collection::vec((action, prop::option::of((0.0..50.0_f64, 0.0..=1.0_f64)), 0.0..=1.0_f64), 0..6).prop_map(
        move |all| {
            let mut steps: Vec<Step> = Vec::new();
            let mut at_s = 0.0_f64;
            for (nth, (action, on, share)) in all.into_iter().enumerate() {
                at_s += (duration_s - at_s) * share;
                let earlier = steps.last().map(|step| step.id.clone());
                let when = match (on, earlier) {
                    (Some((after_s, share)), Some(step)) => When::On {
                        condition: if share < 0.5 {
                            Condition::IsrFull
                        } else {
                            Condition::StepDone { step: step.clone() }
                        },
                        after_s,
                        not_before_s: duration_s * share,
                        after_step: Some(step),
                    },
                    _ => When::At { at_s: at_s.min(duration_s) },
                };
                steps.push(Step { id: format!("step-{nth}"), when, action });
            }
            steps
        },
    )
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let parts = (1_u32..=15, 1.0..1000.0_f64).prop_flat_map(|(brokers, duration_s)| {
        (Just(brokers), topics(brokers), Just(duration_s), timeline(duration_s))
    });
    let controllers = prop_oneof![Just(Controllers::Combined), (1_u32..=9).prop_map(Controllers::Separate)];
    let broker = settings(&[("broker.session.timeout.ms", "6000"), ("log.roll.ms", "1")]);
    (parts, controllers, broker, producers(), groups(), ("\\PC{0,40}", any::<bool>(), 0.0..3600.0_f64)).prop_map(
        |(
            (brokers, topics, duration_s, timeline),
            controllers,
            broker_config,
            producers,
            groups,
            (words, heal, wait),
        )| {
            let claims = vec![Claim {
                id: "c".into(),
                text: words.clone(),
                measure: "lost".into(),
                step: None,
                of: None,
                after_s: None,
                op: "==".into(),
                value: ClaimValue::Number(wait),
            }];
            Scenario {
                schema: SCHEMA,
                name: "generated".into(),
                description: words.trim().to_owned(),
                topology: Topology {
                    brokers,
                    controllers,
                    profile: if heal { Profile::Apache } else { Profile::Fast },
                    broker_config,
                    topics,
                },
                workload: Workload {
                    duration_s: (heal || timeline.is_empty()).then_some(duration_s),
                    settle_s: wait,
                    max_duration_s: (brokers % 2 == 0).then_some(duration_s),
                    producers,
                    groups,
                },
                timeline,
                settle: Settle { isr_full_s: wait, drain_s: 0.0, group_catch_up_s: 1e-3, heal },
                baseline: Baseline {
                    tolerance: f64::from(brokers) / 100.0,
                    thresholds: [("latency.*".to_owned(), 0.5), ("isr \"x\"".to_owned(), 0.07)].into(),
                },
                claims,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_written_scenario_reads_back_as_itself(scenario in scenario()) {
        let text = to_toml(&scenario);
        match parse(&text) {
            Ok(read) => prop_assert_eq!(&read, &scenario, "{}", text),
            Err(errors) => prop_assert!(false, "{}\n{}", errors, text),
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_damage_to_a_sound_file_makes_the_parser_panic(scenario in scenario(), at in 0.0..1.0_f64, put in "\\PC{0,3}") {
        let mut text = to_toml(&scenario);
        let mut from = (text.len() as f64 * at) as usize;
        while !text.is_char_boundary(from) {
            from -= 1;
        }
        let to = text[from..].char_indices().nth(2).map_or(text.len(), |(offset, _)| from + offset);
        text.replace_range(from..to, &put);
        if let Err(errors) = parse(&text) {
            prop_assert!(!errors.to_string().is_empty());
        }
    }
}

#[test]
fn secrets_are_redacted_and_nothing_else() {
    let text =
        "name='x'\n[[workload.producers]]\nconfig={'sasl.password'='hunter2','ssl.key.pem'='-----','linger.ms'=1}";
    let scenario = parse(text).expect("sound");
    let shown = to_toml(&redacted(&scenario));
    assert!(!shown.contains("hunter2") && !shown.contains("-----") && shown.contains("linger.ms"), "{shown}");
    assert!(to_toml(&scenario).contains("hunter2"));
}

#[test]
fn a_description_is_written_in_lines_that_fit_a_terminal_and_reads_back_the_same() {
    let base = parse(builtin::find("broker-failure").expect("built in").text).expect("it parses");
    for words in [
        "word ".repeat(60).trim().to_owned(),
        format!("{} end", "x".repeat(200)),
        "two  spaces, which a break would lose, and enough words to need one or perhaps two".to_owned(),
        "a \"quote\" and a back\\slash, and enough words behind them to need a second line".to_owned(),
        "ISR [1,2,3] → [1,3] überall, und genug Wörter, dass eine zweite Zeile nötig wird".to_owned(),
        "short".to_owned(),
    ] {
        let scenario = Scenario { description: words.clone(), ..base.clone() };
        let written = to_toml(&scenario);
        assert_eq!(parse(&written).expect("it parses").description, words, "{written}");
    }
    let written = to_toml(&base);
    let longest = written.lines().take_while(|line| !line.starts_with("[topology]")).map(|line| line.chars().count());
    assert!(longest.max().is_some_and(|columns| columns <= 80), "{written}");
}
