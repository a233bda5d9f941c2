//! Kafka's clock table as data, what the profiles set, and what the clocks predict.
//! Nothing here measures: a prediction stands beside a measurement.

use std::collections::BTreeMap;

use crate::librdkafka;
use crate::model::{Action, Controllers, Group, GroupProtocol, Producer, Profile, Scenario, Target, Topology};
use crate::text::FIRST_CONTROLLER_ID;

/// Who reads a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Brokers and controllers; defaults of [`crate::kafka_config::VERSION`].
    Server,
    /// librdkafka; defaults of [`crate::librdkafka::VERSION`].
    Client,
}

/// One clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// The setting's name; its unit is the last part.
    pub name: &'static str,
    /// Its default.
    pub default: i64,
    /// Who reads it.
    pub side: Side,
    /// What it governs.
    pub area: &'static str,
    /// What it does, in one line.
    pub doc: &'static str,
}

const fn server(name: &'static str, default: i64, area: &'static str, doc: &'static str) -> Clock {
    Clock { name, default, side: Side::Server, area, doc }
}

const fn client(name: &'static str, default: i64, area: &'static str, doc: &'static str) -> Clock {
    Clock { name, default, side: Side::Client, area, doc }
}

const LIVENESS: &str = "broker liveness";
const QUORUM: &str = "quorum";
const REPLICATION: &str = "replication";
const CLASSIC: &str = "groups, classic";
const CONSUMER: &str = "groups, KIP-848";
const BALANCE: &str = "leader balancing";
const PRODUCING: &str = "client";

/// Every clock, with the default of its version.
pub const CLOCKS: &[Clock] = &[
    server("broker.heartbeat.interval.ms", 2_000, LIVENESS, "A broker's heartbeat to the controller, after the last."),
    server(
        "broker.session.timeout.ms",
        9_000,
        LIVENESS,
        "Silence that gets a broker fenced; looked at every 1/8 of it.",
    ),
    server(
        "controller.quorum.fetch.timeout.ms",
        2_000,
        QUORUM,
        "A voter without an answer for this long starts an election.",
    ),
    server("controller.quorum.election.timeout.ms", 1_000, QUORUM, "An election without a winner starts again."),
    server("controller.quorum.election.backoff.max.ms", 1_000, QUORUM, "Longest random wait before that."),
    server("controller.quorum.request.timeout.ms", 2_000, QUORUM, "A request between voters is given up."),
    server("controller.quorum.append.linger.ms", 25, QUORUM, "The controller gathers records before it appends."),
    server("metadata.max.idle.interval.ms", 500, QUORUM, "An idle controller writes a record this often."),
    server("replica.lag.time.max.ms", 30_000, REPLICATION, "A follower this far behind leaves the ISR."),
    server("replica.fetch.wait.max.ms", 500, REPLICATION, "A follower's fetch is parked this long."),
    server("replica.fetch.backoff.ms", 1_000, REPLICATION, "A follower waits this long after an error."),
    server("replica.socket.timeout.ms", 30_000, REPLICATION, "A follower gives a silent leader up."),
    server(
        "unclean.leader.election.interval.ms",
        300_000,
        REPLICATION,
        "Leaderless partitions that allow it are looked at this often.",
    ),
    server("group.initial.rebalance.delay.ms", 3_000, CLASSIC, "An empty group waits for more members."),
    server("group.min.session.timeout.ms", 6_000, CLASSIC, "Shortest session that a member may ask for."),
    client("session.timeout.ms", 45_000, CLASSIC, "A member silent for this long is removed."),
    client("heartbeat.interval.ms", 3_000, CLASSIC, "A member's heartbeat; it learns of a rebalance by one."),
    client("max.poll.interval.ms", 300_000, CLASSIC, "A member that does not poll for this long leaves."),
    server("group.consumer.heartbeat.interval.ms", 5_000, CONSUMER, "A member's heartbeat; it carries the assignment."),
    server("group.consumer.session.timeout.ms", 45_000, CONSUMER, "A member silent for this long is fenced."),
    server(
        "group.consumer.assignment.interval.ms",
        1_000,
        CONSUMER,
        "Since 4.3: assignments are computed no more often.",
    ),
    server("leader.imbalance.check.interval.seconds", 300, BALANCE, "Preferred leaders are restored this often."),
    client("socket.timeout.ms", 60_000, PRODUCING, "A silent broker's connection is given up."),
    client("request.timeout.ms", 30_000, PRODUCING, "How long a broker may wait for acks=all."),
    client("message.timeout.ms", 300_000, PRODUCING, "A message not acknowledged by then has failed."),
    client("retry.backoff.ms", 100, PRODUCING, "First wait before a retry."),
    client("retry.backoff.max.ms", 1_000, PRODUCING, "Longest wait before a retry."),
    client("reconnect.backoff.max.ms", 10_000, PRODUCING, "Longest wait before a new connection."),
    client("topic.metadata.refresh.interval.ms", 300_000, PRODUCING, "Metadata is asked for again."),
    client("linger.ms", 5, PRODUCING, "A batch waits for more messages."),
    client("fetch.wait.max.ms", 500, PRODUCING, "A consumer's fetch is parked this long."),
];

/// The clock with this name.
pub fn clock(name: &str) -> Option<&'static Clock> {
    CLOCKS.iter().find(|clock| clock.name == name)
}

const FAST_BROKER: &[(&str, &str)] = &[
    ("broker.heartbeat.interval.ms", "500"),
    ("broker.session.timeout.ms", "3000"),
    ("controller.quorum.election.backoff.max.ms", "500"),
    ("controller.quorum.election.timeout.ms", "500"),
    ("controller.quorum.fetch.timeout.ms", "1000"),
    ("controller.quorum.request.timeout.ms", "1000"),
    ("group.consumer.heartbeat.interval.ms", "500"),
    ("group.consumer.min.heartbeat.interval.ms", "500"),
    ("group.consumer.min.session.timeout.ms", "6000"),
    ("group.consumer.session.timeout.ms", "6000"),
    ("group.initial.rebalance.delay.ms", "500"),
    ("group.min.session.timeout.ms", "3000"),
    ("replica.fetch.backoff.ms", "200"),
];

const FAST_CLIENT: &[(&str, &str)] = &[
    ("reconnect.backoff.max.ms", "500"),
    ("retry.backoff.max.ms", "200"),
    ("socket.connection.setup.timeout.ms", "1000"),
    ("socket.timeout.ms", "5000"),
];

const FAST_CLASSIC_MEMBER: &[(&str, &str)] = &[("heartbeat.interval.ms", "500"), ("session.timeout.ms", "6000")];

fn owned(settings: &[(&str, &str)]) -> BTreeMap<String, String> {
    settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// What a profile sets on Apache Kafka's brokers; nothing for [`Profile::Apache`].
pub fn profile_broker_config(profile: Profile) -> BTreeMap<String, String> {
    match profile {
        Profile::Apache => BTreeMap::new(),
        Profile::Fast => owned(FAST_BROKER),
    }
}

/// What a profile sets for producers.
pub fn profile_producer_config(profile: Profile) -> BTreeMap<String, String> {
    match profile {
        Profile::Apache => BTreeMap::new(),
        Profile::Fast => owned(FAST_CLIENT),
    }
}

/// What a profile sets for group members.
pub fn profile_group_config(profile: Profile, protocol: GroupProtocol) -> BTreeMap<String, String> {
    let mut settings = profile_producer_config(profile);
    if profile == Profile::Fast && protocol == GroupProtocol::Classic {
        settings.extend(owned(FAST_CLASSIC_MEMBER));
    }
    settings
}

/// Every broker setting that is not Kafka's default: MetricStream's own for a small cluster, the profile's, and the
/// scenario's over both. Who a node is and where it listens is added by the engine.
pub fn effective_broker_config(topology: &Topology) -> BTreeMap<String, String> {
    let replication = topology.brokers.min(3);
    let min_insync = replication.saturating_sub(1).max(1);
    let mut config = owned(&[("auto.create.topics.enable", "false"), ("offsets.topic.num.partitions", "4")]);
    for name in ["offsets.topic.replication.factor", "transaction.state.log.replication.factor"] {
        config.insert(name.to_owned(), replication.to_string());
    }
    for name in ["min.insync.replicas", "transaction.state.log.min.isr"] {
        config.insert(name.to_owned(), min_insync.to_string());
    }
    config.extend(profile_broker_config(topology.profile));
    config.extend(topology.broker_config.clone());
    config
}

impl Scenario {
    /// The effective settings of one of the scenario's producers, its profile included.
    pub fn producer_config(&self, producer: &Producer) -> BTreeMap<String, String> {
        let mut config = profile_producer_config(self.topology.profile);
        config.extend(librdkafka::effective_producer_config(producer));
        config
    }

    /// The effective settings of one of the scenario's groups, its profile included.
    pub fn group_config(&self, group: &Group) -> BTreeMap<String, String> {
        let mut config = profile_group_config(self.topology.profile, group.protocol);
        config.extend(librdkafka::effective_group_config(group));
        config
    }
}

/// What can be predicted from clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// A broker that is not the active controller dies: until its partitions have other leaders.
    BrokerKilled,
    /// A broker stands still or is cut off: for the cluster the same.
    BrokerPaused,
    /// A broker is asked to stop: until its leaderships have moved.
    ControlledShutdown,
    /// A controller-only node that is active dies: until another is active.
    ActiveControllerKilled,
    /// A combined node that is the active controller dies: until its partitions have other leaders.
    CombinedActiveKilled,
    /// A broker dies whose closed connections count as evidence of it, as on the embedded cluster in `fast`.
    ConnectionsClosed,
    /// The same of the active controller: until another is active and its partitions have other leaders.
    ActiveConnectionsClosed,
    /// A controller becomes active while a broker is silent: from then until that broker's partitions have other leaders.
    SessionCountedAnew,
    /// A member of a classic group dies: until its partitions are owned again.
    ClassicCrash,
    /// A member joins a classic group or leaves it: until the others have noticed.
    ClassicChange,
    /// A classic group's first member joins: until it owns partitions.
    ClassicNewGroup,
    /// A member of a classic group does not poll: until it leaves.
    ClassicStall,
    /// A member of a KIP-848 group dies.
    ConsumerCrash,
    /// A member joins a KIP-848 group or leaves it, with partitions to be given up first.
    ConsumerChange,
    /// A broker is silent: how long a producer may wait for an answer that does not come.
    ClientOfSilentBroker,
}

/// Settings of the embedded cluster alone.
const FENCE_AFTER_DISCONNECT: &str = "metricstream.fence.after.disconnect.ms";
const ELECT_AFTER_DISCONNECT: &str = "metricstream.elect.after.disconnect.ms";

/// A predicted time.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    /// At least.
    pub min_s: f64,
    /// On average.
    pub mean_s: f64,
    /// At most, machine time apart.
    pub max_s: f64,
    /// The setting that decides, as `broker.session.timeout.ms = 9000`.
    pub timer: String,
    /// Why, in one line.
    pub text: String,
}

/// A setting's effective value: what is set, else the default of the clock table, else 0.
pub fn effective_ms(name: &str, config: &BTreeMap<String, String>) -> i64 {
    let set = config.get(name).and_then(|value| value.parse().ok());
    set.or_else(|| clock(name).map(|clock| clock.default)).unwrap_or(0)
}

/// What the clocks predict. `broker` is [`effective_broker_config`], `client` the affected client's effective settings
/// (empty: librdkafka's defaults).
pub fn predict(event: Event, broker: &BTreeMap<String, String>, client: &BTreeMap<String, String>) -> Bound {
    let server = |name: &str| effective_ms(name, broker) as f64 / 1_000.0;
    let member = |name: &str| effective_ms(name, client) as f64 / 1_000.0;
    let estimate = match event {
        Event::BrokerKilled
        | Event::BrokerPaused
        | Event::ControlledShutdown
        | Event::ActiveControllerKilled
        | Event::CombinedActiveKilled
        | Event::ConnectionsClosed
        | Event::ActiveConnectionsClosed
        | Event::SessionCountedAnew => of_nodes(event, server),
        _ => of_clients(event, server, member),
    };
    let Estimate { min_s, mean_s, max_s, timer, text } = estimate;
    let server_side =
        timer.starts_with("metricstream.") || clock(timer).is_some_and(|clock| clock.side == Side::Server);
    let value = effective_ms(timer, if server_side { broker } else { client });
    Bound { min_s: min_s.max(0.0), mean_s, max_s, timer: format!("{timer} = {value}"), text: text.to_owned() }
}

/// A prediction before its timer is given its value.
struct Estimate {
    min_s: f64,
    mean_s: f64,
    max_s: f64,
    timer: &'static str,
    text: &'static str,
}

fn estimate(min_s: f64, mean_s: f64, max_s: f64, timer: &'static str, text: &'static str) -> Estimate {
    Estimate { min_s, mean_s, max_s, timer, text }
}

/// `server` gives a server setting in seconds.
fn of_nodes(event: Event, server: impl Fn(&str) -> f64) -> Estimate {
    let session = server("broker.session.timeout.ms");
    let heartbeat = server("broker.heartbeat.interval.ms");
    let fetch = server("controller.quorum.fetch.timeout.ms");
    // A voter's last answer is at most one parked fetch old.
    let quorum_min = (fetch - 0.5).max(0.0);
    let quorum_max =
        fetch + server("controller.quorum.election.timeout.ms") + server("controller.quorum.election.backoff.max.ms");
    match event {
        Event::ControlledShutdown => estimate(
            0.0,
            0.3,
            heartbeat,
            "broker.heartbeat.interval.ms",
            "the broker asks to stop in a heartbeat and leads until the controller has moved its partitions",
        ),
        Event::ConnectionsClosed => {
            let after = server(FENCE_AFTER_DISCONNECT);
            let text = "a connection that a broker of the same program closed is evidence of its death";
            estimate(after, after + 0.02, after + 0.1, FENCE_AFTER_DISCONNECT, text)
        }
        Event::ActiveConnectionsClosed => {
            let after = server(ELECT_AFTER_DISCONNECT);
            let split = server("controller.quorum.election.timeout.ms");
            let max_s = after * 2.0 + split + server(FENCE_AFTER_DISCONNECT) + 0.1;
            let text =
                "a voter whose leader closed its connection starts an election; a split vote adds an election timeout";
            estimate(after, after * 1.5 + 0.03, max_s, ELECT_AFTER_DISCONNECT, text)
        }
        Event::ActiveControllerKilled => estimate(
            quorum_min,
            fetch - 0.25,
            quorum_max,
            "controller.quorum.fetch.timeout.ms",
            "a voter whose fetch is not answered starts an election; a split vote adds an election timeout",
        ),
        Event::CombinedActiveKilled => estimate(
            quorum_min + session,
            fetch - 0.25 + session * 1.0625,
            quorum_max + session * 1.125,
            "broker.session.timeout.ms",
            "first a new active controller, which then gives every broker a whole session again",
        ),
        Event::SessionCountedAnew => estimate(
            session,
            session * 1.0625,
            session * 1.125,
            "broker.session.timeout.ms",
            "a new active controller has heard nobody's heartbeat yet and gives every broker a whole session",
        ),
        _ => estimate(
            session - heartbeat,
            session - heartbeat / 2.0 + session / 16.0,
            session * 1.125,
            "broker.session.timeout.ms",
            "fenced when its last heartbeat is older than the session; looked at every 1/8 session",
        ),
    }
}

/// `server` gives a server setting in seconds, `member` a client's.
fn of_clients(event: Event, server: impl Fn(&str) -> f64, member: impl Fn(&str) -> f64) -> Estimate {
    let (session, heartbeat) = (member("session.timeout.ms"), member("heartbeat.interval.ms"));
    let consumer_session = server("group.consumer.session.timeout.ms");
    let consumer_heartbeat = server("group.consumer.heartbeat.interval.ms");
    match event {
        Event::ClassicCrash => {
            let text = "removed when its session ends; the others notice at their next heartbeat";
            estimate(session - heartbeat, session, session + heartbeat, "session.timeout.ms", text)
        }
        Event::ClassicChange => {
            let text = "the other members notice at their next heartbeat";
            estimate(0.0, heartbeat / 2.0, heartbeat, "heartbeat.interval.ms", text)
        }
        Event::ClassicNewGroup => {
            let delay = server("group.initial.rebalance.delay.ms");
            let text = "an empty group waits for more members; each that comes makes it wait again";
            estimate(delay, delay, delay * 2.0, "group.initial.rebalance.delay.ms", text)
        }
        Event::ClassicStall => {
            let poll = member("max.poll.interval.ms");
            let text = "the client itself leaves the group when it is not polled; the others notice at a heartbeat";
            estimate(poll, poll + heartbeat / 2.0, poll + heartbeat + 1.0, "max.poll.interval.ms", text)
        }
        Event::ConsumerCrash => {
            let (from, to) = (consumer_session - consumer_heartbeat, consumer_session + consumer_heartbeat);
            let text = "fenced when its session ends; the others are told at their next heartbeat";
            estimate(from, consumer_session, to, "group.consumer.session.timeout.ms", text)
        }
        Event::ConsumerChange => {
            let text = "one heartbeat to be told to give up, another to be given";
            let timer = "group.consumer.heartbeat.interval.ms";
            let max_s = consumer_heartbeat * 2.0 + server("group.consumer.assignment.interval.ms");
            estimate(0.0, consumer_heartbeat, max_s, timer, text)
        }
        _ => {
            let socket = member("socket.timeout.ms");
            let text = "requests on a connection that stays open are only given up by the client's own timeout";
            estimate(0.0, socket, socket, "socket.timeout.ms", text)
        }
    }
}

/// Whether closed connections count as evidence of a node's death under these settings.
pub fn closed_connections_count(broker: &BTreeMap<String, String>) -> bool {
    broker.get(FENCE_AFTER_DISCONNECT).and_then(|value| value.parse::<i64>().ok()).is_some_and(|ms| ms >= 0)
}

/// Which event a node fault is. `active_controller`: whether it hit the active controller.
pub fn event_of_fault(action: &Action, topology: &Topology, active_controller: bool) -> Option<Event> {
    let combined = topology.controllers == Controllers::Combined;
    let controller_only = |target: &Target| match target {
        Target::Node(id) => *id >= FIRST_CONTROLLER_ID,
        Target::ActiveController => !combined,
        _ => false,
    };
    match action {
        Action::Kill(target) | Action::Pause(target) | Action::Isolate { target, .. } if controller_only(target) => {
            active_controller.then_some(Event::ActiveControllerKilled)
        }
        Action::Stop(target) if controller_only(target) => None,
        Action::Kill(_) | Action::Pause(_) | Action::Partition { .. } | Action::Isolate { .. } if active_controller => {
            Some(Event::CombinedActiveKilled)
        }
        Action::Kill(_) => Some(Event::BrokerKilled),
        Action::Pause(_) | Action::Partition { .. } | Action::Isolate { .. } => Some(Event::BrokerPaused),
        Action::Stop(_) => Some(Event::ControlledShutdown),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn predicted(event: Event, settings: &[(&str, &str)]) -> Bound {
        predict(event, &owned(settings), &owned(settings))
    }

    #[test]
    fn the_defaults_predict_what_is_known_of_kafka() {
        let killed = predicted(Event::BrokerKilled, &[]);
        assert_eq!((killed.min_s, killed.mean_s, killed.max_s), (7.0, 8.5625, 10.125));
        assert_eq!(killed.timer, "broker.session.timeout.ms = 9000");
        let combined = predicted(Event::CombinedActiveKilled, &[]);
        assert!((11.0..11.6).contains(&combined.mean_s), "{combined:?}");
        // Who begins to count anew has missed no heartbeat: never before the session is over.
        let anew = predicted(Event::SessionCountedAnew, &[]);
        assert_eq!((anew.min_s, anew.max_s, anew.timer), (9.0, 10.125, killed.timer));
        let crash = predicted(Event::ClassicCrash, &[]);
        assert_eq!((crash.min_s, crash.max_s), (42.0, 48.0));
    }

    #[test]
    fn a_changed_timer_changes_prediction_and_reason() {
        let settings = [("broker.session.timeout.ms", "6000"), ("broker.heartbeat.interval.ms", "1000")];
        let killed = predicted(Event::BrokerKilled, &settings);
        assert_eq!((killed.min_s, killed.max_s), (5.0, 6.75));
        assert_eq!(killed.timer, "broker.session.timeout.ms = 6000");
    }

    #[test]
    fn the_fast_profile_fails_over_in_three_to_four_seconds() {
        let fast = predict(Event::BrokerKilled, &profile_broker_config(Profile::Fast), &BTreeMap::new());
        assert!(fast.mean_s > 2.5 && fast.max_s < 4.0, "{fast:?}");
        assert!(profile_broker_config(Profile::Apache).is_empty());
        for name in profile_broker_config(Profile::Fast).keys() {
            assert!(crate::kafka_config::is_broker_setting(name), "{name}");
        }
        let client = profile_group_config(Profile::Fast, GroupProtocol::Classic);
        for (name, value) in &client {
            let property = librdkafka::property(name).expect("librdkafka knows it");
            assert_eq!(librdkafka::check_value(property, value), Ok(()), "{name}");
        }
    }

    #[test]
    fn where_closed_connections_count_a_kill_is_noticed_before_any_session_ends() {
        let settings = [
            (FENCE_AFTER_DISCONNECT, "0"),
            (ELECT_AFTER_DISCONNECT, "10"),
            ("broker.session.timeout.ms", "300"),
            ("broker.heartbeat.interval.ms", "50"),
        ];
        assert!(closed_connections_count(&owned(&settings)) && !closed_connections_count(&BTreeMap::new()));
        assert!(!closed_connections_count(&owned(&[(FENCE_AFTER_DISCONNECT, "-1")])));
        let killed = predicted(Event::ConnectionsClosed, &settings);
        assert_eq!((killed.min_s, killed.timer.as_str()), (0.0, "metricstream.fence.after.disconnect.ms = 0"));
        assert!(killed.max_s < predicted(Event::BrokerKilled, &settings).min_s, "{killed:?}");
        let active = predicted(Event::ActiveConnectionsClosed, &settings);
        assert_eq!((active.min_s, active.timer.as_str()), (0.01, "metricstream.elect.after.disconnect.ms = 10"));
    }

    #[test]
    fn every_clock_is_a_setting_of_its_side() {
        for clock in CLOCKS {
            match clock.side {
                Side::Client => assert!(librdkafka::property(clock.name).is_some(), "{}", clock.name),
                // Kafka keeps this one out of its public documentation, and it counts all the same.
                Side::Server if clock.name == "unclean.leader.election.interval.ms" => {}
                Side::Server => assert!(crate::kafka_config::is_broker_setting(clock.name), "{}", clock.name),
            }
        }
    }
}
