//! Stories of outages: which fault began each, what stood in its way, and which reason is given. Each has a near twin of
//! which the reason that would be false here is true.

use metricstream_scenario::model::{Claim, ClaimValue, Profile};

use crate::claims::{Facts, answer};
use crate::measure::stories::{MS, S, event, fault, feed, healed, load, partition, scenario};
use crate::measure::{Measured, Measurements};
use crate::result::{Hindrance, Unavailability};
use crate::sample::{DeliverySample, SendSample};
use crate::timeline::{TimelineEvent, What};

const KILL: i64 = 10 * S;

struct Story {
    scenario: metricstream_scenario::Scenario,
    events: Vec<TimelineEvent>,
    sends: Vec<SendSample>,
    deliveries: Vec<DeliverySample>,
}

/// Broker 2, which leads metrics-1 of three, is killed at 10 s and out of the way `gone_us` later.
fn killed(gone_us: i64) -> Vec<TimelineEvent> {
    let full = [[1, 2, 3], [2, 3, 1], [3, 1, 2]];
    let mut events: Vec<TimelineEvent> =
        (0..3).map(|p| partition(-3 * S, p, full[p as usize][0], &full[p as usize], 0, 0)).collect();
    events.push(fault(KILL, "kill-2", "kill", &[2]));
    events.push(event(KILL + gone_us, What::BrokerFenced { broker: 2, broker_epoch: 7 }));
    events.push(partition(KILL + gone_us, 0, 1, &[1, 3], 0, 1));
    events.push(partition(KILL + gone_us, 1, 3, &[3, 1], 1, 1));
    events.push(partition(KILL + gone_us, 2, 3, &[3, 1], 0, 1));
    events
}

impl Story {
    /// A load that stands still in each of these stretches.
    fn new(events: Vec<TimelineEvent>, stalls: &[(i64, i64)]) -> Self {
        let (mut sends, mut deliveries) = load(30 * S, (0, 0));
        for stall in stalls {
            let stalled = |intended_us: &i64| (stall.0..stall.1).contains(intended_us);
            sends.iter_mut().filter(|sample| stalled(&sample.intended_us)).for_each(|sample| {
                sample.done_us = stall.1 + 2 * MS;
            });
            deliveries.iter_mut().filter(|sample| stalled(&sample.intended_us)).for_each(|sample| {
                sample.delivered_us = stall.1 + 3 * MS;
            });
        }
        Self { scenario: scenario(), events, sends, deliveries }
    }

    /// As on the embedded cluster in `fast`: a closed connection is enough, after this long.
    fn fast(mut self, after_ms: i64) -> Self {
        self.scenario.topology.profile = Profile::Fast;
        let setting = ("metricstream.fence.after.disconnect.ms".to_owned(), after_ms.to_string());
        self.scenario.topology.broker_config.extend([setting]);
        self
    }

    /// The generator itself stood still in the stalls: it handed over only at their ends.
    fn generator_late(mut self) -> Self {
        self.sends.iter_mut().for_each(|sample| sample.sent_us = sample.done_us - 2 * MS);
        self
    }

    fn acks(mut self, acks: &str) -> Self {
        self.scenario.workload.producers[0].config.insert("acks".into(), acks.into());
        self
    }

    fn measured(&self) -> Measured {
        let mut measurements = Measurements::new(&self.scenario);
        let mut events = self.events.clone();
        events.sort_by_key(|event| event.at_us);
        feed(&mut measurements, &events, &self.sends, &self.deliveries);
        measurements.finish(40 * S)
    }

    fn with<T>(&self, ask: impl Fn(&Facts<'_>) -> T) -> T {
        let measured = self.measured();
        ask(&Facts {
            left_out: &[],
            polled: None,
            scenario: &self.scenario,
            measured: &measured,
            messages: None,
            anomalies: &[],
            losses: &[],
            timeline: &self.events,
        })
    }

    /// The windows of writes to a partition.
    fn windows(&self, partition: i32) -> Vec<Unavailability> {
        let mut rows = self.with(super::with_timers);
        rows.retain(|row| row.op == "write" && row.partition == partition);
        rows
    }

    /// Why a measure of a step is as it is.
    fn reason(mut self, measure: &str, step: &str, of: Option<&str>) -> String {
        self.scenario.claims = vec![Claim {
            id: "c".into(),
            text: "c".into(),
            measure: measure.into(),
            step: Some(step.into()),
            of: of.map(str::to_owned),
            after_s: None,
            op: "<=".into(),
            value: ClaimValue::Number(1.0),
        }];
        self.with(|facts| answer(facts).remove(0).reason)
    }

    fn why(self, partition: &str) -> String {
        self.reason("write_unavailable_s", "kill-2", Some(partition))
    }
}

#[test]
fn a_stall_that_begins_after_the_dead_broker_was_fenced_is_not_its_doing() {
    let story = || Story::new(killed(2 * MS), &[(11_700 * MS, 12_600 * MS)]).fast(0);
    for partition in 0..3 {
        let rows = story().windows(partition);
        let [row] = rows.as_slice() else { panic!("one window: {rows:?}") };
        assert_eq!((row.fault.clone(), row.cause, row.held_s, row.timer.clone()), (None, None, None, None), "{row:?}");
    }
    let why = story().why("metrics-0");
    let wanted = "it began 1.7 s after kill-2, when nothing stood in its way: no fault of this run explains it";
    assert!(why.contains(wanted), "{why}");
    assert!(!why.contains("broker 2") && !why.contains(".ms"), "{why}");
}

#[test]
fn a_stall_through_which_the_dead_follower_was_in_the_isr_is_and_the_timer_is_the_one_that_decided() {
    for (after_ms, timer) in [(700, "metricstream.fence.after.disconnect.ms = 700"), (0, "")] {
        // Without closed connections as evidence the session decides.
        let (gone_us, story) = match after_ms {
            0 => (8_600 * MS, Story::new(killed(8_600 * MS), &[(KILL, KILL + 8_600 * MS)])),
            _ => (700 * MS, Story::new(killed(700 * MS), &[(KILL, KILL + 700 * MS)]).fast(after_ms)),
        };
        let timer = if timer.is_empty() { "broker.session.timeout.ms = 9000" } else { timer };
        for (partition, cause) in [(0, Hindrance::Isr), (1, Hindrance::Leader), (2, Hindrance::Isr)] {
            let rows = story.windows(partition);
            let [row] = rows.as_slice() else { panic!("one window: {rows:?}") };
            assert_eq!((row.fault.as_deref(), row.cause), (Some("kill-2"), Some(cause)));
            assert_eq!(row.timer.as_deref(), Some(timer));
            let held_us = row.held_s.map_or(0, |held_s| (held_s * 1e6).round() as i64);
            assert_eq!(held_us, gone_us + 8 * MS, "{row:?}");
        }
        let why = story.why("metrics-0");
        assert!(why.contains("acknowledgements waited for broker 2") && why.contains(timer), "{why}");
        assert_eq!(why.contains("session.timeout"), timer.contains("session.timeout"), "{why}");
    }
}

#[test]
fn what_lasts_on_after_the_dead_follower_has_left_the_isr_is_not_explained_by_it() {
    let story = || Story::new(killed(2 * MS), &[(KILL, KILL + 900 * MS)]).fast(0);
    let row = &story().windows(0)[0];
    assert_eq!((row.fault.as_deref(), row.cause, row.timer.clone()), (Some("kill-2"), Some(Hindrance::Isr), None));
    assert!(row.held_s.is_some_and(|held_s| held_s < 0.02), "{row:?}");
    let why = story().why("metrics-0");
    assert!(why.contains("it stood still for 0.9 s after that, which nothing in the cluster explains"), "{why}");
    assert!(!why.contains("overloaded"), "{why}");
    let late = story().generator_late().why("metrics-0");
    assert!(
        late.contains("the load generator itself was up to 0.9 s late then: this machine was overloaded"),
        "{late}"
    );
    // Of the partition that it led clients had to learn of the new leader: the same time has a reason there.
    let why = story().why("metrics-1");
    assert!(why.contains("clients went on 0.9 s after that") && !why.contains("nothing in the cluster"), "{why}");
    assert_eq!(story().windows(1)[0].timer, None, "it decided 2 ms of them");
}

#[test]
fn a_dead_follower_holds_up_nobody_who_does_not_wait_for_the_isr() {
    let stalled = || Story::new(killed(8_600 * MS), &[(KILL, KILL + 8_600 * MS)]);
    let why = stalled().acks("1").why("metrics-0");
    assert!(!why.contains("waited for broker 2") && !why.contains(".ms"), "{why}");
    assert!(why.contains("it began with kill-2, and yet nothing is known to have stood in its way"), "{why}");
    assert!(stalled().acks("all").why("metrics-0").contains("acknowledgements waited for broker 2"));
    let row = stalled().acks("1").windows(0).remove(0);
    assert_eq!(
        (row.fault.as_deref(), row.cause),
        (Some("kill-2"), None),
        "it began with the kill, and that is all: {row:?}"
    );
}

#[test]
fn what_came_before_any_fault_is_no_faults_and_an_overloaded_machine_shows_in_the_generator() {
    // In the warm-up: later it would be part of the baseline too, and a gap like it no outage.
    let stalls = [(S, 1_900 * MS), (KILL, KILL + 8_600 * MS)];
    let story = Story::new(killed(8_600 * MS), &stalls);
    let rows = story.windows(0);
    let told: Vec<_> = rows.iter().map(|row| (row.fault.as_deref(), row.cause, row.delay_ms)).collect();
    assert_eq!(told, [(None, None, 0.0), (Some("kill-2"), Some(Hindrance::Isr), 0.0)]);
    let late = story.generator_late();
    assert_eq!(late.windows(0)[0].delay_ms, 900.0);
    assert_eq!(late.windows(0)[0].fault, None);
}

#[test]
fn a_stall_into_which_the_fault_falls_was_not_begun_by_it() {
    let why = |begin_us| {
        let story = Story::new(killed(600 * MS), &[(begin_us, KILL + 900 * MS)]).fast(600);
        let fault = story.windows(0)[0].fault.clone();
        (fault, story.why("metrics-0"))
    };
    let (fault, reason) = why(KILL - 500 * MS);
    assert_eq!(fault, None);
    assert!(reason.contains("it began 0.5 s before kill-2, which did not begin it"), "{reason}");
    let (fault, reason) = why(KILL);
    assert_eq!(fault.as_deref(), Some("kill-2"));
    assert!(!reason.contains("did not begin it"), "{reason}");
}

#[test]
fn reads_share_the_fault_of_the_writes_that_were_missing_and_of_no_others() {
    // A stall of everything begins 90 ms after the outage is over.
    let stalls = [(KILL, KILL + 700 * MS), (KILL + 790 * MS, KILL + 1_700 * MS)];
    let rows = Story::new(killed(700 * MS), &stalls).fast(700).measured().unavailability;
    for op in ["write", "read"] {
        let faults = rows.iter().filter(|row| row.op == op && row.partition == 0).map(|row| row.fault.as_deref());
        assert_eq!(faults.collect::<Vec<_>>(), [Some("kill-2"), Some("kill-2")], "near enough to be heard late: {op}");
    }
    let stalls = [(KILL, KILL + 700 * MS), (KILL + 990 * MS, KILL + 1_900 * MS)];
    let rows = Story::new(killed(700 * MS), &stalls).fast(700).measured().unavailability;
    for op in ["write", "read"] {
        let faults = rows.iter().filter(|row| row.op == op && row.partition == 0).map(|row| row.fault.as_deref());
        assert_eq!(faults.collect::<Vec<_>>(), [Some("kill-2"), None], "{op}");
    }
}

#[test]
fn leadership_that_is_given_back_stops_writes_without_being_the_faults_doing() {
    let mut events = killed(8_600 * MS);
    events.push(healed(20 * S, "kill-2", "start-2", &[2]));
    events.push(event(22 * S, What::BrokerUnfenced { broker: 2, broker_epoch: 9 }));
    events.push(partition(22_100 * MS, 1, 3, &[3, 1, 2], 1, 2));
    events.push(partition(25 * S, 1, 2, &[3, 1, 2], 2, 3));
    let rows = Story::new(events, &[(24_990 * MS, 25_400 * MS)]).windows(1);
    let [row] = rows.as_slice() else { panic!("one window: {rows:?}") };
    assert_eq!((row.fault.clone(), row.cause, row.timer.clone()), (None, Some(Hindrance::Leader), None));
}

#[test]
fn reads_that_stand_still_while_their_group_moves_partitions_need_no_other_reason() {
    let windows = |events: Vec<TimelineEvent>| {
        let mut story = Story::new(events, &[]);
        for sample in story.deliveries.iter_mut().filter(|sample| (10 * S..11 * S).contains(&sample.intended_us)) {
            sample.delivered_us = 11 * S + 3 * MS;
        }
        story.measured().unavailability
    };
    let owns = |at_us, member: &str, generation, partitions: &[i32]| {
        let partitions = partitions.iter().map(|index| format!("metrics-{index}")).collect();
        event(at_us, What::Assignment { group: "group-1".into(), member: member.into(), generation, partitions })
    };
    let join = What::Member { group: "group-1".into(), member: "B".into(), change: "join".into() };
    let joined = vec![
        owns(S, "A", 1, &[0, 1, 2]),
        TimelineEvent { cause: Some("join-b".into()), ..event(10 * S, join) },
        owns(10 * S + MS, "A", 1, &[]),
        owns(11 * S, "A", 2, &[0, 2]),
        owns(11 * S, "B", 2, &[1]),
    ];
    for row in windows(joined) {
        assert_eq!(
            (row.op.as_str(), row.fault.as_deref(), row.cause),
            ("read", Some("join-b"), Some(Hindrance::Rebalance))
        );
    }
    let unexplained = windows(vec![owns(S, "A", 1, &[0, 1, 2])]);
    assert_eq!(unexplained.len(), 3);
    assert!(unexplained.iter().all(|row| row.fault.is_none() && row.cause.is_none()), "{unexplained:?}");
}

/// Broker 2 is hit at 10 s and brought back at 13 s.
fn came_back(hit: &str, back: &str, more: Vec<TimelineEvent>) -> String {
    let mut events = vec![partition(-3 * S, 0, 1, &[1, 2, 3], 0, 0), fault(KILL, "hit", hit, &[2])];
    events.push(event(-4 * S, What::BrokerUnfenced { broker: 2, broker_epoch: 7 }));
    let What::Healed { id, by, nodes, .. } = healed(13 * S, "hit", "back", &[2]).what else {
        unreachable!("it is what it was made as")
    };
    events.push(event(13 * S, What::Healed { id, by, kind: back.into(), nodes }));
    events.extend(more);
    Story::new(events, &[]).fast(0).reason("caught_up_s", "back", None)
}

#[test]
fn a_broker_that_was_fenced_and_back_in_milliseconds_is_not_said_to_have_never_been_fenced() {
    let quick = vec![
        event(KILL + 2 * MS, What::BrokerFenced { broker: 2, broker_epoch: 7 }),
        partition(KILL + 2 * MS, 0, 1, &[1, 3], 0, 1),
        event(13 * S + 3 * MS, What::BrokerRegistered { broker: 2, broker_epoch: 9 }),
        event(13 * S + 4 * MS, What::BrokerUnfenced { broker: 2, broker_epoch: 9 }),
        partition(13 * S + 9 * MS, 0, 1, &[1, 3, 2], 0, 2),
    ];
    let why = came_back("kill", "start", quick.clone());
    let wanted = "start-up, registration and unfencing took 4 ms, which no setting decides; its replicas were in sync 5 ms later";
    assert_eq!(why, wanted);
    // Who is resumed starts nothing up.
    assert!(came_back("pause", "resume", quick).starts_with("unfencing took 4 ms"));
    // The twin: resumed before its session was over.
    let never = came_back("pause", "resume", Vec::new());
    assert!(never.starts_with("node 2 was never fenced"), "{never}");
}
