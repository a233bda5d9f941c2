//! Producers, members and the audit reader against librdkafka's own mock cluster. What the mock cannot do (replication,
//! elections) is tested on real Apache Kafka elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metricstream_ledger::history::{Alien, Outcome, Record, Tp};
use metricstream_ledger::sample::{ClientSample, DeliverySample, SendEnd, SendSample};
use metricstream_load::clock::RunTime;
use metricstream_load::{FIRST_MEMBER_INCARNATION, Load, LoadError, LoadEvent, LoadPlan};
use metricstream_scenario::Scenario;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use tokio::sync::mpsc::{Receiver, channel};

const RUN_ID: u64 = 0xC0FFEE;
const DEADLINE: Duration = Duration::from_secs(60);

type Mock = MockCluster<'static, DefaultProducerContext>;

/// Everything that the load told, sorted by kind, in order.
#[derive(Default)]
struct Told {
    records: Vec<Record>,
    sends: Vec<SendSample>,
    deliveries: Vec<DeliverySample>,
    clients: Vec<ClientSample>,
    assignments: Vec<(String, i32, Vec<Tp>)>,
    troubles: Vec<String>,
    ended: Vec<String>,
    sending_ended: bool,
}

impl Told {
    fn take(&mut self, event: LoadEvent) {
        match event {
            LoadEvent::Records(records) => self.records.extend(records),
            LoadEvent::Sends(sends) => self.sends.extend(sends),
            LoadEvent::Deliveries(deliveries) => self.deliveries.extend(deliveries),
            LoadEvent::Client(sample) => self.clients.push(sample),
            LoadEvent::Assignment { member, generation, owned, .. } => {
                self.assignments.push((member, generation, owned))
            }
            LoadEvent::Trouble { error, .. } => self.troubles.push(error),
            LoadEvent::MemberEnded { member, why, .. } => self.ended.push(format!("{member}: {why}")),
            LoadEvent::SendingEnded => self.sending_ended = true,
        }
    }

    fn sent(&self) -> u64 {
        let mut up_to = BTreeMap::new();
        for record in &self.records {
            if let Record::Sent { lane, up_to_seq, .. } = record {
                let highest = up_to.entry(*lane).or_insert(0);
                assert!(*up_to_seq > *highest, "{lane:?}: told twice");
                *highest = *up_to_seq;
            }
        }
        up_to.values().sum()
    }

    fn outcomes(&self) -> (u64, u64, u64) {
        let mut counts = (0, 0, 0);
        for record in &self.records {
            if let Record::Outcome { count, outcome, .. } = record {
                match outcome {
                    Outcome::Ok { .. } => counts.0 += u64::from(*count),
                    Outcome::Fail => counts.1 += u64::from(*count),
                    Outcome::Unknown => counts.2 += u64::from(*count),
                }
            }
        }
        counts
    }

    fn logged(&self) -> u64 {
        let of = |record: &Record| {
            if let Record::Logged { count, .. } = record { u64::from(*count) } else { 0 }
        };
        self.records.iter().map(of).sum()
    }

    fn owned_by(&self, member: &str) -> Option<&Vec<Tp>> {
        self.assignments.iter().rev().find(|(name, ..)| name == member).map(|(.., owned)| owned)
    }

    /// What the records of commits say that is done, per partition.
    fn committed(&self) -> BTreeMap<Tp, i64> {
        let of = |record: &Record| match record {
            Record::Committed { tp, offset, .. } => Some((*tp, *offset)),
            _ => None,
        };
        self.records.iter().filter_map(of).collect()
    }
}

struct Story {
    /// Dropped last: the clients must not outlive it.
    load: Load,
    told: Told,
    rx: Receiver<LoadEvent>,
    mock: Mock,
}

fn scenario(text: &str) -> Arc<Scenario> {
    let text = format!(
        "name = 'x'\n[topology]\nbrokers = 1\n[[topology.topics]]\nname = 'metrics'\npartitions = 3\n\
         replication_factor = 1\nmin_insync_replicas = 1\n[workload]\n{}{text}",
        if text.contains("[[workload.groups]]") { "" } else { "groups = []\n" }
    );
    Arc::new(metricstream_scenario::parse(&text).unwrap_or_else(|errors| panic!("{errors}\n{text}")))
}

fn plan(scenario: &Arc<Scenario>, bootstrap: &str) -> LoadPlan {
    LoadPlan {
        scenario: Arc::clone(scenario),
        run_id: RUN_ID,
        bootstrap: bootstrap.to_owned(),
        properties: BTreeMap::new(),
        starts: BTreeMap::new(),
        origin_ns: RunTime::starting_now().origin_ns(),
        member_program: PathBuf::from(env!("CARGO_BIN_EXE_metricstream-member")),
    }
}

fn mock() -> Mock {
    let mock = MockCluster::new(1).expect("a mock cluster");
    mock.create_topic("metrics", 3, 1).expect("a topic");
    mock
}

impl Story {
    fn start(text: &str) -> Self {
        Self::start_on(mock(), text)
    }

    fn start_on(mock: Mock, text: &str) -> Self {
        let scenario = scenario(text);
        let (tx, rx) = channel(64);
        let load = Load::start(plan(&scenario, &mock.bootstrap_servers()), tx).expect("the load starts");
        Self { load, told: Told::default(), rx, mock }
    }

    /// Takes events until `done`.
    async fn until(&mut self, what: &str, done: impl Fn(&Told) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !done(&self.told) {
            let left = deadline.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, self.rx.recv()).await {
                Ok(Some(event)) => self.told.take(event),
                _ => panic!("{what}: not within {DEADLINE:?}; {:?} {:?}", self.told.troubles, self.told.assignments),
            }
        }
    }

    /// Awaits something of the load while its events are taken.
    async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                value = &mut work => {
                    while let Ok(event) = self.rx.try_recv() {
                        self.told.take(event);
                    }
                    return value;
                }
                Some(event) = self.rx.recv() => self.told.take(event),
            }
        }
    }

    async fn drain(&mut self, within: Duration) -> u64 {
        let load = self.load.clone();
        self.during(async move { load.drain(Instant::now() + within).await }).await
    }

    async fn audit(&mut self) {
        let load = self.load.clone();
        let audited = self.during(async move { load.audit(Instant::now() + DEADLINE).await }).await;
        audited.expect("the audit ends");
    }

    async fn finish(&mut self) {
        let load = self.load.clone();
        self.during(async move { load.finish().await }).await;
    }
}

const STEADY: &str = "duration_s = 3\n[[workload.producers]]\nname = 'p'\ntopic = 'metrics'\nrate_per_s = 1000\nmessage_size_bytes = 100\n";

#[tokio::test(flavor = "multi_thread")]
async fn every_send_has_an_outcome_and_the_audit_reads_them_all() {
    let mut story = Story::start(STEADY);
    story.until("sending ends", |told| told.sending_ended).await;
    assert_eq!(story.drain(DEADLINE).await, 0);
    assert_eq!((story.told.sent(), story.told.outcomes()), (3000, (3000, 0, 0)));
    assert_eq!(story.told.sends.len(), 3000);
    let progress = story.load.progress();
    assert_eq!((progress.sent(), progress.acked(), progress.in_flight()), (3000, 3000, 0));
    assert!(story.told.sends.iter().all(|s| s.intended_us <= s.sent_us && s.sent_us <= s.done_us));
    let lanes = story.told.records.iter().filter(|r| matches!(r, Record::Lane { partition: Some(_), .. })).count();
    assert_eq!(lanes, 3);
    assert!(matches!(story.told.records[0], Record::Lane { idempotent: true, .. }), "lanes come first");
    assert!(story.told.clients.iter().any(|sample| sample.leaders.len() == 3 && sample.queue_limit > 0));

    story.audit().await;
    assert_eq!(story.told.logged(), 3000);
    let bounds = story.told.records.iter().filter_map(|r| match r {
        Record::Bounds { bounds, .. } => *bounds,
        _ => None,
    });
    assert_eq!(bounds.collect::<Vec<_>>(), [(0, 1000); 3]);
    assert!(matches!(story.told.records.last(), Some(Record::AuditDone { .. })));
    let acked: BTreeSet<_> = story.told.records.iter().filter_map(acknowledged).flatten().collect();
    let logged: BTreeSet<_> = story.told.records.iter().filter_map(found_in_log).flatten().collect();
    assert_eq!(acked, logged, "acknowledged offsets are those of the log");
    let records = story.told.records.len();
    assert!(records < 3000, "outcomes are merged: {records} records for 3000 messages");
}

type Found = (Tp, i64, u32, u64);

fn acknowledged(record: &Record) -> Option<Vec<Found>> {
    let Record::Outcome { lane, first_seq, count, outcome: Outcome::Ok { tp, base_offset }, .. } = record else {
        return None;
    };
    Some((0..u64::from(*count)).map(|n| (*tp, base_offset + n as i64, lane.lane, first_seq + n)).collect())
}

fn found_in_log(record: &Record) -> Option<Vec<Found>> {
    let Record::Logged { tp, base_offset, lane, first_seq, count } = record else {
        return None;
    };
    Some((0..u64::from(*count)).map(|n| (*tp, base_offset + n as i64, lane.lane, first_seq + n)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_stalls_for_two_seconds_hides_nothing() {
    // A queue of 200 messages is full after 0.2 s of the stall: from then on the client takes nothing.
    let text = format!("{STEADY}config = {{ \"queue.buffering.max.messages\" = 200 }}\n")
        .replace("duration_s = 3", "duration_s = 6");
    let mut story = Story::start(&text);
    story.until("it goes well", |told| told.sends.len() > 1500).await;
    story.mock.broker_down(-1).expect("down");
    let down = Instant::now();
    let mut owed = 0;
    while down.elapsed() < Duration::from_secs(2) {
        if let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(20), story.rx.recv()).await {
            story.told.take(event);
        }
        owed = owed.max(story.load.progress().owed());
    }
    story.mock.broker_up(-1).expect("up");
    assert!(owed > 1000, "what the client does not take stays due: {owed}");
    story.until("sending ends", |told| told.sending_ended).await;
    assert_eq!(story.drain(DEADLINE).await, 0);
    assert_eq!(story.told.sent(), 6000, "rate × duration, whatever happened");
    assert_eq!(story.told.sends.len(), 6000);
    let intended: BTreeSet<i64> = story.told.sends.iter().map(|s| s.intended_us).collect();
    assert_eq!(intended, (0..6000).map(|n| n * 1000).collect(), "every intended time is as if nothing had happened");
    let response = story.told.sends.iter().map(|s| s.done_us - s.intended_us).max().expect("sends");
    let delay = story.told.sends.iter().map(|s| s.sent_us - s.intended_us).max().expect("sends");
    assert!(response >= 2_000_000, "the longest response is {response} µs");
    assert!(delay >= 1_000_000, "those that the client did not take were delayed: {delay} µs");
    assert!(!story.told.troubles.is_empty(), "the client notices");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_and_not_answered_is_unknown_and_what_never_left_is_failed() {
    // Load for longer than this takes, on any machine: it is ended when enough is open.
    let mut story = Story::start(&STEADY.replace("duration_s = 3", "duration_s = 600"));
    story.until("it goes well", |told| told.sends.len() > 100).await;
    // Answers take longer than anybody waits, so the first batches are on the wire; the others queue behind them.
    story.mock.broker_round_trip_time(-1, Duration::from_secs(300)).expect("slow");
    let load = story.load.clone();
    let progress = load.progress();
    story.until("much is unanswered", |_| progress.in_flight() > 500).await;
    load.stop_sending();
    story.until("sending ends", |told| told.sending_ended).await;
    let open = story.drain(Duration::from_millis(200)).await;
    let (acked, failed, unknown) = story.told.outcomes();
    assert!(open > 500, "{open}");
    assert_eq!(story.told.sent(), acked + failed + unknown, "{acked} {failed} {unknown}");
    assert_eq!(failed + unknown, open);
    assert!(unknown > 0, "some were on the wire");
    let given_up = story.told.sends.iter().filter(|s| s.end == SendEnd::Open).count() as u64;
    assert_eq!(given_up, open, "for timing they are open");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_cluster_nothing_was_ever_sent_so_everything_failed() {
    let mock = mock();
    mock.broker_down(-1).expect("down");
    let text = STEADY.replace("duration_s = 3", "duration_s = 1");
    let mut story = Story::start_on(mock, &text);
    story.until("sending ends", |told| told.sending_ended).await;
    assert_eq!(story.drain(Duration::from_millis(100)).await, 1000);
    assert_eq!(story.told.outcomes(), (0, 1000, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_acknowledgements_nothing_is_known() {
    let text = format!("{STEADY}config = {{ acks = 0 }}\n").replace("duration_s = 3", "duration_s = 1");
    let mut story = Story::start(&text);
    story.until("sending ends", |told| told.sending_ended).await;
    story.drain(DEADLINE).await;
    assert_eq!(story.told.outcomes(), (0, 0, 1000));
    assert!(matches!(story.told.records[0], Record::Lane { idempotent: false, .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn keyed_lanes_keep_their_partition_and_are_acknowledged_where_they_went() {
    let text = format!("{STEADY}keys = 16\n").replace("duration_s = 3", "duration_s = 1");
    let mut story = Story::start(&text);
    story.until("sending ends", |told| told.sending_ended).await;
    assert_eq!(story.drain(DEADLINE).await, 0);
    story.audit().await;
    assert_eq!((story.told.outcomes().0, story.told.logged()), (1000, 1000));
    let acked: BTreeSet<_> = story.told.records.iter().filter_map(acknowledged).flatten().collect();
    let logged: BTreeSet<_> = story.told.records.iter().filter_map(found_in_log).flatten().collect();
    assert_eq!(acked, logged);
    let places: BTreeSet<(u32, i32)> = logged.iter().map(|(tp, _, lane, _)| (*lane, tp.partition)).collect();
    assert_eq!(places.len(), 16, "one partition a key");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_in_the_log_are_told_apart() {
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    let mut story = Story::start(&STEADY.replace("duration_s = 3", "duration_s = 1"));
    let stranger: BaseProducer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", story.mock.bootstrap_servers())
        .create()
        .expect("a client");
    stranger.send(BaseRecord::<(), str>::to("metrics").partition(0).payload("not ours")).expect("taken");
    stranger.flush(DEADLINE).expect("sent");
    story.until("sending ends", |told| told.sending_ended).await;
    assert_eq!(story.drain(DEADLINE).await, 0);
    story.audit().await;
    let alien =
        |r: &&Record| matches!(r, Record::Alien { group: None, tp: Tp { partition: 0, .. }, why: Alien::BadCrc, .. });
    assert_eq!(story.told.records.iter().filter(alien).count(), 1);
    assert_eq!(story.told.logged(), 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_that_cannot_read_says_what_it_waited_for() {
    let mut story = Story::start(&STEADY.replace("duration_s = 3", "duration_s = 1"));
    story.until("sending ends", |told| told.sending_ended).await;
    story.drain(DEADLINE).await;
    story.mock.broker_down(-1).expect("down");
    let load = story.load.clone();
    let from = Instant::now();
    let failed = story.during(async move { load.audit(Instant::now() + Duration::from_secs(1)).await }).await;
    let why = failed.expect_err("nothing answers");
    assert!(why.contains("waited") && why.contains("metrics-0"), "{why}");
    assert!(from.elapsed() < Duration::from_secs(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_before_anything_starts() {
    let wrong = |change: &dyn Fn(&mut Scenario)| {
        let mut scenario = (*scenario(STEADY)).clone();
        change(&mut scenario);
        let (tx, mut rx) = channel(4);
        let error = Load::start(plan(&Arc::new(scenario), "127.0.0.1:1"), tx).err().expect("must be refused");
        assert!(rx.try_recv().is_err(), "nothing was told");
        error
    };
    let config = |key: &'static str, value: &'static str| {
        move |s: &mut Scenario| drop(s.workload.producers[0].config.insert(key.into(), value.into()))
    };
    let unknown = wrong(&config("no.such.thing", "1")).to_string();
    assert!(unknown.contains("producer p") && unknown.contains("no.such.thing"), "{unknown}");
    assert!(matches!(wrong(&|s| s.workload.producers[0].topic = "other".into()), LoadError::Topic { .. }));
    assert!(matches!(wrong(&|s| s.workload.producers[0].message_size_bytes = 1), LoadError::Schedule(_)));
}

const WITH_GROUP: &str = "[[workload.groups]]\nname = 'g'\ntopics = ['metrics']\nprotocol = 'classic'\n\
     assignor = 'roundrobin'\nmembers = ['A']\nconfig = { \"session.timeout.ms\" = 6000, \"heartbeat.interval.ms\" = 200 }\n";

#[tokio::test(flavor = "multi_thread")]
async fn members_read_share_leave_and_commit_what_was_recorded() {
    let text = format!("{}{WITH_GROUP}", STEADY.replace("duration_s = 3", "duration_s = 6"));
    let mut story = Story::start(&text);
    story.until("A owns all", |told| told.owned_by("A").is_some_and(|owned| owned.len() == 3)).await;
    story.until("A reads", |told| told.deliveries.len() > 100).await;
    let load = story.load.clone();
    story.during(async { load.member_join("g", "B").await }).await.expect("B starts");
    let again = story.during(async { load.member_join("g", "B").await }).await;
    assert!(matches!(again, Err(LoadError::NoMember { what, .. }) if what.contains("already")));
    let shares = |told: &Told| {
        let (a, b) = (told.owned_by("A").map_or(0, Vec::len), told.owned_by("B").map_or(0, Vec::len));
        a + b == 3 && a > 0 && b > 0
    };
    story.until("they share", shares).await;
    story.until("B reads", |told| told.deliveries.iter().any(|d| d.member == FIRST_MEMBER_INCARNATION + 1)).await;
    story.during(async { load.member_leave("g", "B").await }).await.expect("B leaves");
    assert_eq!(story.told.owned_by("B"), Some(&Vec::new()));
    story.until("A has all again", |told| told.owned_by("A").is_some_and(|owned| owned.len() == 3)).await;
    story.until("sending ends", |told| told.sending_ended).await;
    assert_eq!(story.drain(DEADLINE).await, 0);
    let behind = story.during(async { load.wait_caught_up(Instant::now() + DEADLINE).await }).await;
    assert_eq!(behind, Vec::<String>::new());
    story.during(async { load.end_members().await }).await;
    story.audit().await;
    let told = &story.told;
    assert_eq!(told.ended, Vec::<String>::new(), "nobody ended unasked");
    let delivered: BTreeSet<_> = told.deliveries.iter().map(|d| (d.tp, d.offset)).collect();
    assert_eq!(delivered.len(), 6000, "every message was delivered");
    let commits: BTreeMap<Tp, i64> = told
        .records
        .iter()
        .filter_map(|r| if let Record::FinalCommit { tp, offset, .. } = r { Some((*tp, *offset)) } else { None })
        .collect();
    assert_eq!(commits.values().copied().collect::<Vec<_>>(), [2000; 3], "{:?} {:?}", told.troubles, told.committed());
    let members: BTreeSet<u32> = told.deliveries.iter().map(|d| d.member).collect();
    assert_eq!(load.member_names().len(), 2);
    assert_eq!(members, load.member_names().into_iter().map(|(incarnation, _)| incarnation).collect());
    assert!(told.assignments.iter().any(|(_, generation, _)| *generation > 0), "{:?}", told.assignments);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_killed_committed_nothing_that_is_not_recorded() {
    let text = format!("{}{WITH_GROUP}", STEADY.replace("duration_s = 3", "duration_s = 5"));
    let mut story = Story::start(&text);
    story.until("A commits", |told| told.committed().len() == 3 && told.deliveries.len() > 1000).await;
    let load = story.load.clone();
    story.during(async { load.member_crash("g", "A").await }).await.expect("A is killed");
    let lost = |r: &Record| matches!(r, Record::Revoked { lost: true, partitions, .. } if partitions.len() == 3);
    assert!(story.told.records.iter().any(lost), "its partitions are lost");
    assert_eq!(story.told.ended, Vec::<String>::new(), "it was asked for");
    assert_eq!(story.load.progress().members(0), 0);
    let gone = story.during(async { load.member_crash("g", "A").await }).await;
    assert!(matches!(gone, Err(LoadError::NoMember { .. })));
    story.until("sending ends", |told| told.sending_ended).await;
    story.drain(DEADLINE).await;
    let from = Instant::now();
    let behind = story.during(async { load.wait_caught_up(Instant::now() + DEADLINE).await }).await;
    assert!(behind.len() == 1 && behind[0].contains("has no member"), "{behind:?}");
    assert!(from.elapsed() < DEADLINE / 2, "nobody waits for a group without members");
    story.audit().await;
    let up_to = |told: &Told, tp: Tp| told.deliveries.iter().filter(|d| d.tp == tp).map(|d| d.offset + 1).max();
    for record in &story.told.records {
        if let Record::FinalCommit { tp, offset, .. } = record {
            assert!(*offset > 0 && Some(*offset) <= up_to(&story.told, *tp), "{tp:?}: {offset} committed");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_stalls_reads_nothing_meanwhile_and_goes_on_after() {
    let text = format!("{}{WITH_GROUP}", STEADY.replace("duration_s = 3", "duration_s = 5"));
    let mut story = Story::start(&text);
    story.until("A reads", |told| told.deliveries.len() > 500).await;
    let load = story.load.clone();
    load.member_stall("g", "A", 1_500_000).expect("A stalls");
    story.until("sending ends", |told| told.sending_ended).await;
    story.drain(DEADLINE).await;
    let behind = story.during(async { load.wait_caught_up(Instant::now() + DEADLINE).await }).await;
    assert_eq!(behind, Vec::<String>::new());
    let mut at: Vec<i64> = story.told.deliveries.iter().map(|d| d.delivered_us).collect();
    at.sort_unstable();
    let longest = at.windows(2).map(|pair| pair[1] - pair[0]).max().expect("deliveries");
    assert!((1_450_000..4_000_000).contains(&longest), "the longest pause is {longest} µs");
    story.finish().await;
    assert_eq!(story.load.progress().members(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_cannot_start_says_why() {
    let mock = mock();
    let text = format!("{STEADY}{WITH_GROUP}");
    let mut with_wrong = (*scenario(&text)).clone();
    with_wrong.workload.groups[0].config.insert("no.such.thing".into(), "1".into());
    let (tx, rx) = channel(64);
    let load = Load::start(plan(&Arc::new(with_wrong), &mock.bootstrap_servers()), tx).expect("the process starts");
    let mut story = Story { load, told: Told::default(), rx, mock };
    story.until("A ends", |told| !told.ended.is_empty()).await;
    assert!(story.told.ended[0].contains("no.such.thing"), "{:?}", story.told.ended);
    let (tx, _rx) = channel(64);
    let nowhere = LoadPlan { member_program: "/no/such/program".into(), ..plan(&scenario(&text), "127.0.0.1:1") };
    let error = Load::start(nowhere, tx).err().expect("no program").to_string();
    assert!(error.contains("g/A") && error.contains("/no/such/program"), "{error}");
}
