//! Stories of groups in virtual time, without any I/O: a coordinator, a log that commits when it is told to, and members
//! that say what clients say.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use metricstream_wire::batch_builder::{BatchBuilder, NewRecord};
use metricstream_wire::{ErrorCode, Uuid};

use super::*;
use crate::time::MS;

mod classic;
mod classic_schedules;
mod consumer;
mod failures;
mod offsets;
mod schedules;

/// The topics of a story.
#[derive(Debug, Clone, Default)]
struct Topics {
    version: i64,
    topics: BTreeMap<String, (Uuid, i32)>,
}

impl Topics {
    fn with(topics: &[(&str, i32)]) -> Self {
        let mut this = Self::default();
        topics.iter().for_each(|(name, partitions)| this.set(name, *partitions));
        this
    }

    /// Makes a topic, or makes it larger.
    fn set(&mut self, name: &str, partitions: i32) {
        self.version += 1;
        let id = [u8::try_from(self.topics.len() + 1).expect("few topics"); 16];
        self.topics.entry(name.to_owned()).or_insert((id, 0)).1 = partitions;
    }

    fn id(&self, name: &str) -> Uuid {
        self.topics[name].0
    }
}

impl TopicsView for Topics {
    fn version(&self) -> i64 {
        self.version
    }
    fn id_of(&self, name: &str) -> Option<Uuid> {
        self.topics.get(name).map(|(id, _)| *id)
    }
    fn name_of(&self, id: Uuid) -> Option<&str> {
        self.topics.iter().find(|(_, (of, _))| *of == id).map(|(name, _)| name.as_str())
    }
    fn partition_count(&self, id: Uuid) -> i32 {
        self.topics.values().find(|(of, _)| *of == id).map_or(0, |(_, count)| *count)
    }
}

/// The log of one partition of `__consumer_offsets`.
#[derive(Debug, Default, Clone)]
struct Log {
    batches: Vec<(i64, Bytes)>,
    end: i64,
    high_watermark: i64,
}

/// A coordinator, its logs and its clock.
struct World {
    groups: Groups,
    settings: Settings,
    flaws: Flaws,
    topics: Topics,
    now: Now,
    logs: BTreeMap<i32, Log>,
    /// The replicas do not answer: nothing is committed.
    holds_commits: bool,
    /// Every append is refused so.
    refuses: Option<ErrorCode>,
    answers: BTreeMap<Token, GroupAnswer>,
    tokens: u64,
    epoch: i32,
}

const OFFSETS_PARTITIONS: i32 = 2;

impl World {
    fn new() -> Self {
        Self::with(Settings::default(), Flaws::default())
    }

    /// Leads every partition of `__consumer_offsets`, all of them empty.
    fn with(settings: Settings, flaws: Flaws) -> Self {
        let mut world = Self {
            groups: Groups::new(settings.clone(), flaws, 1),
            settings,
            flaws,
            topics: Topics::with(&[(OFFSETS_TOPIC, OFFSETS_PARTITIONS), ("orders", 4), ("clicks", 3)]),
            now: Now { monotonic_ns: 1_000 * MS, wall_ms: 1_700_000_000_000 },
            logs: (0..OFFSETS_PARTITIONS).map(|p| (p, Log::default())).collect(),
            holds_commits: false,
            refuses: None,
            answers: BTreeMap::new(),
            tokens: 0,
            epoch: 0,
        };
        world.take_office();
        world
    }

    /// Everything is loaded from the logs.
    fn take_office(&mut self) {
        self.epoch += 1;
        for (partition, log) in &self.logs {
            assert!(self.groups.elected(*partition, self.epoch));
            for (_, batch) in &log.batches {
                self.groups.load(*partition, batch.clone()).expect("batches of ours");
            }
            let at = At { now: self.now, topics: &self.topics };
            self.groups.loaded(*partition, log.high_watermark, at);
        }
    }

    /// Another broker takes over with what was committed.
    fn fail_over(&mut self) {
        for partition in 0..OFFSETS_PARTITIONS {
            self.groups.resigned(partition);
        }
        self.settle();
        for log in self.logs.values_mut() {
            let high_watermark = log.high_watermark;
            log.batches.retain(|(last, _)| *last < high_watermark);
            log.end = high_watermark;
        }
        self.groups = Groups::new(self.settings.clone(), self.flaws, u64::try_from(self.epoch).expect("positive") + 1);
        self.take_office();
    }

    fn ask(&mut self, request: GroupRequest) -> Token {
        self.tokens += 1;
        let token = Token(self.tokens);
        self.groups.handle(token, request, At { now: self.now, topics: &self.topics });
        self.settle();
        token
    }

    /// Asks and has the answer at once.
    fn get(&mut self, request: GroupRequest) -> GroupAnswer {
        let token = self.ask(request);
        self.answer(token)
    }

    fn answer(&mut self, token: Token) -> GroupAnswer {
        self.answers.remove(&token).expect("answered")
    }

    fn is_answered(&self, token: Token) -> bool {
        self.answers.contains_key(&token)
    }

    /// Carries out what the coordinator wants, until it wants nothing more.
    fn settle(&mut self) {
        loop {
            let outputs = self.groups.take();
            if outputs.is_empty() {
                return;
            }
            for output in outputs {
                match output {
                    GroupOutput::Answer { token, answer } => {
                        assert!(self.answers.insert(token, answer).is_none(), "answered twice");
                    }
                    GroupOutput::Append { partition, records, ticket } => self.append(partition, &records, ticket),
                }
            }
        }
    }

    fn append(&mut self, partition: i32, records: &[(Bytes, Option<Bytes>)], ticket: Ticket) {
        let log = self.logs.get_mut(&partition).expect("led");
        let result = match self.refuses {
            Some(error) => Err(error),
            None => {
                let mut batch = BatchBuilder::new();
                for (key, value) in records {
                    let (key, value) = (Some(&key[..]), value.as_deref());
                    batch.push(NewRecord { timestamp_ms: self.now.wall_ms, key, value, headers: &[] });
                }
                let last = log.end + i64::try_from(records.len()).expect("few") - 1;
                log.batches.push((last, batch.build(log.end, self.epoch)));
                log.end = last + 1;
                Ok(last)
            }
        };
        self.groups.appended(ticket, result, At { now: self.now, topics: &self.topics });
        if !self.holds_commits {
            self.commit();
        }
    }

    /// The replicas have everything.
    fn commit(&mut self) {
        for (partition, log) in &mut self.logs {
            log.high_watermark = log.end;
            let at = At { now: self.now, topics: &self.topics };
            self.groups.committed(*partition, log.high_watermark, at);
        }
    }

    fn commit_and_settle(&mut self) {
        self.commit();
        self.settle();
    }

    /// Time passes, and every timer fires when it is due.
    fn pass_ms(&mut self, ms: i64) {
        let end = self.now.after_ms(ms);
        let mut steps = 0;
        while let Some(next) = self.groups.next_timer().filter(|next| *next <= end) {
            steps += 1;
            assert!(steps < 10_000, "timers that never come to an end");
            self.set_time(next.max(self.now.monotonic_ns));
            self.groups.on_timer(At { now: self.now, topics: &self.topics });
            self.settle();
        }
        self.set_time(end);
    }

    fn set_time(&mut self, monotonic_ns: Ns) {
        let passed_ms = (monotonic_ns - self.now.monotonic_ns) / MS;
        self.now = Now { monotonic_ns, wall_ms: self.now.wall_ms + i64::try_from(passed_ms).expect("short") };
    }

    fn state_of(&mut self, group: &str) -> String {
        match self.get(GroupRequest::ListGroups(ListGroups::default())) {
            GroupAnswer::ListGroups(list) => list.groups.iter().find(|g| g.group_id == group).map_or("", |g| g.state),
            other => panic!("{other:?}"),
        }
        .to_owned()
    }
}

macro_rules! answer_of {
    ($world:expr, $token:expr, $kind:ident) => {
        match $world.answer($token) {
            GroupAnswer::$kind(answer) => answer,
            other => panic!("{other:?}"),
        }
    };
}
use answer_of;

fn bytes(text: &str) -> Bytes {
    BytesMut::from(text.as_bytes()).freeze()
}

fn commit_of(group: &str, member: &str, generation: i32, offset: i64) -> OffsetCommit {
    let new = NewOffset { partition: 0, offset, leader_epoch: 3, metadata: "m".to_owned() };
    OffsetCommit {
        group_id: group.to_owned(),
        generation_or_member_epoch: generation,
        member_id: member.to_owned(),
        knows_member_epochs: true,
        topics: vec![("orders".to_owned(), vec![new])],
        ..OffsetCommit::default()
    }
}

impl World {
    fn commit_offset(&mut self, commit: OffsetCommit) -> ErrorCode {
        match self.get(GroupRequest::OffsetCommit(commit)) {
            GroupAnswer::OffsetCommit(answer) => answer.topics[0].1[0].1,
            other => panic!("{other:?}"),
        }
    }

    /// The committed offset of partition 0 of `orders`.
    fn offset_of(&mut self, group: &str) -> i64 {
        let topics = Some(vec![("orders".to_owned(), vec![0])]);
        let one = OffsetFetchGroup { group_id: group.to_owned(), member_id: None, member_epoch: -1, topics };
        let fetch = OffsetFetch { groups: vec![one], require_stable: true };
        match self.get(GroupRequest::OffsetFetch(fetch)) {
            GroupAnswer::OffsetFetch(groups) => {
                assert_eq!(groups[0].error, ErrorCode::NONE);
                groups[0].topics[0].1[0].offset
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_group_hashes_as_javas_strings_do() {
    // "console-consumer-1".hashCode() and friends, modulo 50.
    assert_eq!(partition_for("", 50), Some(0));
    assert_eq!(partition_for("a", 50), Some(97 % 50));
    assert_eq!(partition_for("polygenelubricants", 50), Some(0), "i32::MIN has no absolute value");
    assert_eq!(partition_for("any", 0), None);
}
