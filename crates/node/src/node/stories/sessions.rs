//! Fetch sessions (KIP-227): what readers and followers are told in them, and how they end.

use metricstream_wire::api::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic, ForgottenTopic};
use metricstream_wire::records::Records;
use metricstream_wire::{ErrorCode, Uuid};

use super::{formed, isr};
use crate::io::ConnId;
use crate::testing::world::{Party, Setup, World};

/// Topics by id.
const BY_IDS: i16 = 17;
/// And by name.
const BY_NAMES: i16 = 12;
const LONG_MS: i32 = 30_000;

/// A request: its session and epoch, partitions with the offsets to read from, and those that are wanted no more.
#[derive(Default)]
struct Ask<'a> {
    session: (i32, i32),
    from: &'a [(i32, i64)],
    forget: &'a [i32],
    wait_ms: i32,
}

/// A cluster, a broker that leads two partitions of a topic and which they are, and the topic's id.
struct Scene {
    world: World,
    leader: Party,
    mine: [i32; 2],
    topic: Uuid,
}

impl Scene {
    fn new(seed: u64) -> Self {
        let mut world = formed(seed);
        assert_eq!(world.create_topic(1, "metrics", 4, 3, &[]), Some(ErrorCode::NONE));
        assert!(world.run_until(1_000, |w| (0..4).all(|p| w.leader("metrics", p).is_some())));
        let led = |id: &Party| (0..4).filter(|p| world.leader("metrics", *p) == Some(*id)).collect::<Vec<i32>>();
        let (leader, mine) = (1..=3).map(|id| (id, led(&id))).find(|(_, mine)| mine.len() >= 2).expect("four of three");
        let mine = [mine[0], mine[1]];
        for partition in mine {
            world.produce_for_sure("metrics", partition, b"first", 5_000);
        }
        let topic = world.node(leader).expect("it runs").image().names["metrics"];
        Self { world, leader, mine, topic }
    }

    fn connected(&mut self) -> ConnId {
        self.world.connected(self.leader).expect("a connection")
    }

    fn send(&mut self, conn: ConnId, version: i16, topic: &str, ask: &Ask<'_>) {
        let by_ids = version >= 13;
        let (topic, topic_id) = if by_ids { (String::new(), self.topic) } else { (topic.to_owned(), [0; 16]) };
        let partition = |(partition, fetch_offset): &(i32, i64)| FetchPartition {
            partition: *partition,
            fetch_offset: *fetch_offset,
            partition_max_bytes: 1 << 20,
            ..FetchPartition::default()
        };
        let partitions: Vec<_> = ask.from.iter().map(partition).collect();
        let forgotten = ForgottenTopic { topic: topic.clone(), topic_id, partitions: ask.forget.to_vec() };
        let body = FetchRequest {
            session_id: ask.session.0,
            session_epoch: ask.session.1,
            max_wait_ms: ask.wait_ms,
            min_bytes: 1,
            max_bytes: 1 << 20,
            topics: vec![FetchTopic { topic, topic_id, partitions }],
            forgotten_topics_data: if ask.forget.is_empty() { Vec::new() } else { vec![forgotten] },
            ..FetchRequest::default()
        };
        self.world.ask(conn, version, &body);
    }

    fn receive(&mut self, conn: ConnId, version: i16) -> Told {
        let limit_ms = u64::from(LONG_MS.unsigned_abs()) / 2;
        Told::of(self.world.answer::<FetchRequest>(conn, version, limit_ms).expect("an answer"))
    }

    fn fetch(&mut self, conn: ConnId, ask: &Ask<'_>) -> Told {
        self.send(conn, BY_IDS, "metrics", ask);
        self.receive(conn, BY_IDS)
    }

    /// A session that has read both partitions.
    fn session(&mut self, conn: ConnId) -> i32 {
        let from = self.mine.map(|p| (p, 1));
        let told = self.fetch(conn, &Ask { from: &from, ..Ask::default() });
        assert!(told.session > 0 && told.partitions == self.mine.map(|p| (p, ErrorCode::NONE, false)), "{told:?}");
        told.session
    }
}

/// An answer: its code and session, and each partition with its code and whether it has records.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    error: ErrorCode,
    session: i32,
    partitions: Vec<(i32, ErrorCode, bool)>,
}

impl Told {
    fn of(answer: FetchResponse) -> Self {
        let (error, session) = (ErrorCode(answer.error_code), answer.session_id);
        let partitions = answer.responses.into_iter().flat_map(|topic| topic.partitions).map(|p| {
            let records = p.records.as_ref().is_some_and(|records| Records::len(records) > 0);
            (p.partition_index, ErrorCode(p.error_code), records)
        });
        Self { error, session, partitions: partitions.collect() }
    }

    fn refused(error: ErrorCode) -> Self {
        Self { error, session: 0, partitions: Vec::new() }
    }
}

#[test]
fn in_a_session_only_what_is_new_is_told_and_what_is_not_said_again_stays() {
    let mut scene = Scene::new(61);
    let [one, other] = scene.mine;
    let conn = scene.connected();
    let from = [(one, 0), (other, 1)];
    let first = scene.fetch(conn, &Ask { from: &from, ..Ask::default() });
    assert_eq!(first.partitions, [(one, ErrorCode::NONE, true), (other, ErrorCode::NONE, false)]);
    let id = first.session;
    assert!(id > 0);
    let nothing = Told { error: ErrorCode::NONE, session: id, partitions: Vec::new() };
    let told = scene.fetch(conn, &Ask { session: (id, 1), from: &[(one, 1)], ..Ask::default() });
    assert_eq!(told, nothing);
    scene.world.produce_for_sure("metrics", other, b"second", 5_000);
    for epoch in [2, 3] {
        let told = scene.fetch(conn, &Ask { session: (id, epoch), ..Ask::default() });
        assert_eq!(told.partitions, [(other, ErrorCode::NONE, true)], "epoch {epoch}: its position has not been moved");
    }
    // The session is not the connection's.
    scene.world.hang_up(conn);
    let conn = scene.connected();
    let told = scene.fetch(conn, &Ask { session: (id, 4), from: &[(other, 2)], ..Ask::default() });
    assert_eq!(told, nothing);
    scene.send(conn, BY_IDS, "metrics", &Ask { session: (id, 5), wait_ms: LONG_MS, ..Ask::default() });
    scene.world.produce_for_sure("metrics", one, b"third", 5_000);
    let woken = scene.receive(conn, BY_IDS);
    assert_eq!((woken.session, woken.partitions), (id, vec![(one, ErrorCode::NONE, true)]));
    let told = scene.fetch(conn, &Ask { session: (id, 6), forget: &[one], ..Ask::default() });
    assert_eq!(told, nothing, "what is forgotten is not read any more");
}

#[test]
fn a_session_that_is_not_as_the_request_believes_is_refused() {
    let mut scene = Scene::new(62);
    let conn = scene.connected();
    let id = scene.session(conn);
    let told = scene.fetch(conn, &Ask { session: (id ^ 1, 1), ..Ask::default() });
    assert_eq!(told, Told::refused(ErrorCode::FETCH_SESSION_ID_NOT_FOUND));
    let told = scene.fetch(conn, &Ask { session: (id, 2), ..Ask::default() });
    assert_eq!(told, Told::refused(ErrorCode::INVALID_FETCH_SESSION_EPOCH));
    scene.send(conn, BY_NAMES, "metrics", &Ask { session: (id, 1), ..Ask::default() });
    assert_eq!(scene.receive(conn, BY_NAMES), Told::refused(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR));
    let told = scene.fetch(conn, &Ask { session: (id, 1), ..Ask::default() });
    assert_eq!((told.error, told.session), (ErrorCode::NONE, id), "no refusal moved its epoch");
}

#[test]
fn a_session_ends_with_a_full_fetch_in_its_name_and_with_its_last_partition() {
    let mut scene = Scene::new(63);
    let conn = scene.connected();
    let gone = |scene: &mut Scene, id: i32, epoch: i32| {
        let told = scene.fetch(conn, &Ask { session: (id, epoch), ..Ask::default() });
        assert_eq!(told, Told::refused(ErrorCode::FETCH_SESSION_ID_NOT_FOUND));
    };
    let from = scene.mine.map(|p| (p, 1));
    let first = scene.session(conn);
    let anew = scene.fetch(conn, &Ask { session: (first, 0), from: &from, ..Ask::default() });
    assert!(anew.session > 0 && anew.session != first && anew.partitions.len() == 2, "{anew:?}");
    gone(&mut scene, first, 1);
    let last = scene.fetch(conn, &Ask { session: (anew.session, -1), from: &from, ..Ask::default() });
    assert_eq!((last.session, last.partitions.len()), (0, 2));
    gone(&mut scene, anew.session, 1);
    let third = scene.session(conn);
    let mine = scene.mine;
    let emptied = scene.fetch(conn, &Ask { session: (third, 1), forget: &mine, wait_ms: LONG_MS, ..Ask::default() });
    assert_eq!(emptied, Told { error: ErrorCode::NONE, session: 0, partitions: Vec::new() });
    gone(&mut scene, third, 2);
}

#[test]
fn an_error_is_told_every_time_and_its_end_once() {
    let mut scene = Scene::new(64);
    let conn = scene.connected();
    let all = [(0, 0), (1, 0), (2, 0)];
    scene.send(conn, BY_NAMES, "later", &Ask { from: &all, ..Ask::default() });
    let first = scene.receive(conn, BY_NAMES);
    let unknown = [0, 1, 2].map(|p| (p, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, false));
    assert_eq!(first.partitions, unknown);
    let ask = |epoch: i32| Ask { session: (first.session, epoch), ..Ask::default() };
    scene.send(conn, BY_NAMES, "later", &ask(1));
    assert_eq!(scene.receive(conn, BY_NAMES).partitions, unknown);
    assert_eq!(scene.world.create_topic(1, "later", 3, 3, &[]), Some(ErrorCode::NONE));
    let leader = scene.leader;
    assert!(scene.world.run_until(1_000, |w| w.node(leader).unwrap().image().topic("later").is_some()));
    let mine = (0..3).find(|p| scene.world.leader("later", *p) == Some(leader)).expect("one of three");
    let others = |told: &Told| {
        let of_others = told.partitions.iter().filter(|(p, ..)| *p != mine);
        of_others.filter(|(_, error, _)| *error == ErrorCode::NOT_LEADER_OR_FOLLOWER).count()
    };
    scene.send(conn, BY_NAMES, "later", &ask(2));
    let told = scene.receive(conn, BY_NAMES);
    assert!(told.partitions.contains(&(mine, ErrorCode::NONE, false)) && others(&told) == 2, "{told:?}");
    scene.send(conn, BY_NAMES, "later", &ask(3));
    let told = scene.receive(conn, BY_NAMES);
    assert!(told.partitions.len() == 2 && others(&told) == 2, "{told:?}");
}

#[test]
fn a_request_that_is_overtaken_is_refused_unless_it_waits_before_the_other_on_one_connection() {
    let mut scene = Scene::new(65);
    let (conn, other) = (scene.connected(), scene.connected());
    let id = scene.session(conn);
    scene.send(conn, BY_IDS, "metrics", &Ask { session: (id, 1), wait_ms: LONG_MS, ..Ask::default() });
    scene.world.run_ms(10);
    let nothing = Told { error: ErrorCode::NONE, session: id, partitions: Vec::new() };
    assert_eq!(scene.fetch(other, &Ask { session: (id, 2), ..Ask::default() }), nothing);
    let partition = scene.mine[0];
    scene.world.produce_for_sure("metrics", partition, b"second", 5_000);
    let overtaken = scene.receive(conn, BY_IDS);
    assert_eq!((overtaken.error, overtaken.session), (ErrorCode::INVALID_FETCH_SESSION_EPOCH, id));

    let at_end = [(partition, 2)];
    let told = scene.fetch(conn, &Ask { session: (id, 3), from: &at_end, ..Ask::default() });
    assert_eq!(told.partitions, [(partition, ErrorCode::NONE, false)], "the high watermark was not told yet");
    scene.send(conn, BY_IDS, "metrics", &Ask { session: (id, 4), wait_ms: LONG_MS, ..Ask::default() });
    scene.send(conn, BY_IDS, "metrics", &Ask { session: (id, 5), ..Ask::default() });
    assert_eq!(
        [scene.receive(conn, BY_IDS), scene.receive(conn, BY_IDS)],
        [nothing, Told::of(FetchResponse { session_id: id, ..FetchResponse::default() })]
    );
}

#[test]
fn whoever_finds_no_slot_is_served_without_a_session() {
    let mut setup = Setup::fast();
    setup.settings.push(("max.incremental.fetch.session.cache.slots", "2"));
    let mut world = World::new(66, &setup);
    assert!(world.wait_formed(5_000));
    assert_eq!(world.create_topic(1, "metrics", 1, 3, &[]), Some(ErrorCode::NONE));
    world.produce_for_sure("metrics", 0, b"first", 5_000);
    let leader = world.leader("metrics", 0).expect("somebody leads");
    let topic = world.node(leader).expect("it runs").image().names["metrics"];
    let asked = FetchPartition { partition_max_bytes: 1 << 20, ..FetchPartition::default() };
    let topics = vec![FetchTopic { topic_id: topic, partitions: vec![asked], ..FetchTopic::default() }];
    let body = FetchRequest { session_epoch: 0, max_bytes: 1 << 20, topics, ..FetchRequest::default() };
    let told = Told::of(world.query(leader, BY_IDS, &body, 1_000).expect("an answer"));
    assert_eq!((told.session, told.partitions), (0, vec![(0, ErrorCode::NONE, true)]), "both slots are the followers'");
}

#[test]
fn a_follower_stays_in_one_session_with_each_leader_and_begins_another_when_it_restarts() {
    const PARTITIONS: i32 = 30;
    let mut world = formed(67);
    assert_eq!(world.create_topic(1, "metrics", PARTITIONS, 3, &[]), Some(ErrorCode::NONE));
    assert!(world.run_until(2_000, |w| isr(w, 0).len() == 3));
    world.run_ms(1_000);
    let followed = |w: &World, follower: Party, leader: Party| {
        w.node(follower).and_then(|n| n.broker()?.fetchers.session(leader)).expect("it follows it")
    };
    let cached = |w: &World, leader: Party| {
        let sessions = &w.node(leader).and_then(|n| n.broker()).expect("it runs").sessions;
        (sessions.len(), sessions.partitions())
    };
    let led = |w: &World, leader: Party| (0..PARTITIONS).filter(|p| w.leader("metrics", *p) == Some(leader)).count();
    let before = followed(&world, 2, 1);
    assert_eq!(cached(&world, 1), (2, 2 * led(&world, 1)), "each follower's partitions");
    world.run_ms(5_000);
    let after = followed(&world, 2, 1);
    assert!(before.0 == after.0 && after.1 >= before.1 + 5, "{before:?} and then {after:?}");
    let former = followed(&world, 1, 2);
    world.kill(1);
    assert!(world.run_until(3_000, |w| led(w, 1) == 0), "others lead");
    world.start(1);
    assert!(world.run_until(20_000, |w| (0..PARTITIONS).all(|p| isr(w, p).len() == 3)), "in sync again");
    assert_eq!(world.produce_for_sure("metrics", 0, b"first", 5_000), 0);
    // A session begins with the first answer.
    world.run_ms(1_000);
    let now = followed(&world, 1, 2);
    assert!(now.0 > 0 && now.0 != former.0, "{former:?} and then {now:?}");
    let of_its_former_life = cached(&world, 2).1 - 2 * led(&world, 2);
    assert!(cached(&world, 2).0 == 3 && of_its_former_life == 10, "it lies there until its slot is wanted");
}
