//! Random schedules of whole nodes: kills, losses of power, pauses, cuts, controlled shutdowns, while clients work. The
//! oracle looks after every step; once all is healed, everything that was acknowledged must be there, soon.
//!
//! A schedule follows from its seed alone. `METRICSTREAM_SCHEDULES=10000` runs so many instead of the usual number.

use std::collections::BTreeMap;

use bytes::Bytes;
use metricstream_wire::ErrorCode;
use metricstream_wire::api::init_producer_id::InitProducerIdRequest;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::flaws::Flaws;
use crate::image::PartitionId;
use crate::testing::load::{Consumer, Producer};
use crate::testing::oracle::{Oracle, Violation};
use crate::testing::world::{Party, Setup, World};
use crate::time::MS;

/// How many schedules the ordinary tests run.
const USUAL: u64 = 600;
/// How long after healing the cluster may take to have everything everywhere.
const HEALED_BOUND_MS: u64 = 15_000;
/// More than that happens in no millisecond, unless somebody turns round and round.
const BUSY_STEPS: u32 = 20_000;
const PARTITIONS: i32 = 2;
const BROKERS: Party = 3;

/// A schedule under way.
struct Schedule {
    world: World,
    random: ChaCha8Rng,
    oracle: Oracle,
    producers: Vec<Producer>,
    consumers: Vec<Consumer>,
    /// Who lost its disk and has not caught up yet.
    emptied: Option<Party>,
    said: Vec<String>,
}

impl Schedule {
    fn new(seed: u64, flaws: Flaws, digests: bool) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0x5ced);
        let mut pick = |values: &[&'static str]| values[random.next_u32() as usize % values.len()];
        let mut setup = Setup { flaws, ..Setup::fast() };
        setup.controllers = pick(&["0", "0", "0", "3"]).parse().expect("a number");
        setup.settings.extend([
            ("replica.lag.time.max.ms", pick(&["60", "200", "1000"])),
            ("replica.fetch.wait.max.ms", pick(&["20", "100", "500"])),
            ("replica.high.watermark.checkpoint.interval.ms", pick(&["20", "5000"])),
            ("metricstream.fence.after.disconnect.ms", pick(&["0", "0", "-1"])),
            ("broker.session.timeout.ms", pick(&["300", "1000"])),
            ("controller.quorum.fetch.timeout.ms", pick(&["300", "1000"])),
            ("leader.imbalance.check.interval.seconds", pick(&["1", "300"])),
        ]);
        let mut world = World::new(seed, &setup);
        world.digests = digests;
        Self {
            world,
            random,
            oracle: Oracle::default(),
            producers: Vec::new(),
            consumers: Vec::new(),
            emptied: None,
            said: Vec::new(),
        }
    }

    fn below(&mut self, bound: u32) -> u32 {
        self.random.next_u32() % bound
    }

    fn pick(&mut self, among: &[Party]) -> Option<Party> {
        let bound = u32::try_from(among.len()).expect("few");
        if bound == 0 { None } else { Some(among[self.below(bound) as usize]) }
    }

    fn say(&mut self, what: String) {
        self.said.push(format!("{:>7.1} ms {what}", self.world.now_ns as f64 / 1e6));
    }

    /// Lets time pass under the eyes of the oracle.
    fn run_ms(&mut self, ms: u64) -> Result<(), Violation> {
        self.run_until(ms, |_| false).map(|_| ())
    }

    fn run_until(&mut self, ms: u64, mut done: impl FnMut(&Self) -> bool) -> Result<bool, Violation> {
        let end = self.world.now_ns + ms * MS;
        let (mut since, mut steps) = (self.world.now_ns, 0);
        while self.world.now_ns < end {
            steps += 1;
            if self.world.now_ns > since + MS {
                (since, steps) = (self.world.now_ns, 0);
            } else if steps > BUSY_STEPS {
                return Err(format!("Busy: {steps} steps within a millisecond, at {since} ns"));
            }
            if done(self) {
                return Ok(true);
            }
            self.world.run_steps(end, 1);
            self.oracle.look(&self.world)?;
            for producer in &mut self.producers {
                producer.work(&mut self.world, &self.oracle)?;
            }
            for consumer in &mut self.consumers {
                consumer.work(&mut self.world, &self.oracle)?;
            }
        }
        Ok(done(self))
    }

    /// A cluster with a topic, and clients.
    fn begin(&mut self) -> Result<(), Violation> {
        if !self.world.wait_formed(5_000) {
            return Err("Liveness: no cluster is formed".into());
        }
        let made = self.world.create_topic(1, "metrics", PARTITIONS, 3, &[]);
        if made != Some(ErrorCode::NONE) {
            return Err(format!("Liveness: the topic is not made: {made:?}"));
        }
        let known = self.world.run_until(2_000, |w| w.brokers().iter().all(|b| topic_of(w, *b).is_some()));
        let topic = topic_of(&self.world, 1).filter(|_| known).ok_or("Liveness: the topic is not known")?;
        for partition in 0..PARTITIONS {
            let id: PartitionId = (topic, partition);
            let number = u16::try_from(partition).expect("small") * 10;
            let ids = self.world.query(1, 4, &InitProducerIdRequest::default(), 2_000);
            let producer_id = ids.filter(|a| a.error_code == 0).map(|a| a.producer_id);
            let producer_id = producer_id.ok_or("Liveness: no producer id is given")?;
            let pause_ms = [1, 5, 20, 60][self.below(4) as usize];
            self.producers.push(Producer::new(number, id, -1, producer_id, pause_ms));
            self.producers.push(Producer::new(number + 1, id, 1, -1, 30));
            self.consumers.push(Consumer::new(id));
        }
        self.run_ms(30)
    }

    fn fault(&mut self) {
        let running = self.world.running();
        let ids: Vec<Party> = self.world.ids();
        let down: Vec<Party> = ids.iter().copied().filter(|id| !running.contains(id)).collect();
        let partition = (self.oracle.image().partitions().map(|(_, _, p)| p.leader)).find(|l| running.contains(l));
        let target =
            if self.below(2) == 0 { partition.or_else(|| running.first().copied()) } else { self.pick(&running) };
        let Some(target) = target.or_else(|| running.first().copied()) else {
            return self.start_one(&down);
        };
        match self.below(16) {
            0 | 1 => self.kill(target, false),
            2 => self.kill(target, true),
            3 => self.lose_power(target),
            4..=6 => self.start_one(&down),
            7 => {
                if self.world.is_paused(target) {
                    self.say(format!("resume {target}"));
                    self.world.resume(target);
                } else {
                    self.say(format!("pause {target}"));
                    self.world.pause(target);
                }
            }
            8 => self.resume_all(),
            9..=13 => self.cut_or_mend(target),
            _ => {
                if !self.world.is_paused(target) {
                    self.say(format!("shut {target} down"));
                    self.world.shut_down(target);
                }
            }
        }
    }

    fn cut_or_mend(&mut self, target: Party) {
        let ids = self.world.ids();
        let other = self.pick(&ids).expect("some");
        match self.below(5) {
            0 | 1 if other != target => {
                self.say(format!("cut {target} from {other}"));
                self.world.cut(target, other);
            }
            2 if other != target => {
                self.say(format!("cut the way from {target} to {other}"));
                self.world.cut_one_way(target, other);
            }
            3 => {
                self.say(format!("isolate {target}"));
                for other in ids.into_iter().filter(|id| *id != target) {
                    self.world.cut(target, other);
                }
            }
            _ => {
                self.say("mend".into());
                self.world.mend();
            }
        }
    }

    /// Beside a broker that lost its disk no other may lose its memory: that is what three replicas promise.
    fn kill(&mut self, target: Party, again: bool) {
        if self.emptied.is_some() {
            return;
        }
        self.say(format!("kill {target}{}", if again { ", and start it again" } else { "" }));
        self.world.kill(target);
        if again {
            self.world.start(target);
        }
    }

    fn start_one(&mut self, down: &[Party]) {
        if let Some(id) = self.pick(down) {
            self.say(format!("start {id}"));
            self.world.start(id);
        }
    }

    fn lose_power(&mut self, target: Party) {
        if target <= BROKERS && self.emptied.is_none() && self.is_whole() {
            self.say(format!("{target} loses its power and with it its logs"));
            self.emptied = Some(target);
            self.world.lose_power(target);
            self.world.start(target);
        }
    }

    fn resume_all(&mut self) {
        for id in self.world.running() {
            if self.world.is_paused(id) {
                self.say(format!("resume {id}"));
                self.world.resume(id);
            }
        }
    }

    /// Every replica is in sync, in the life in which it runs.
    fn is_whole(&self) -> bool {
        let image = self.oracle.image();
        let registered = |id: Party| {
            let broker = image.brokers.get(&id).filter(|b| b.is_active());
            let node = self.world.node(id);
            broker.zip(node).is_some_and(|(b, n)| b.incarnation == n.config.incarnation)
        };
        let full = image.topic("metrics").is_some_and(|t| t.partitions.values().all(|p| p.isr.len() == 3));
        full && (1..=BROKERS).all(registered)
    }

    fn heal(&mut self) -> Result<(), Violation> {
        self.say("heal".into());
        self.world.mend();
        self.resume_all();
        let until = self.world.now_ns + HEALED_BOUND_MS * MS;
        let mut done = false;
        while !done && self.world.now_ns < until {
            // A shutdown that is under way ends first.
            for id in self.world.ids() {
                if self.world.node(id).is_none() {
                    self.world.start(id);
                }
            }
            done = self.run_until(100, Self::has_converged)?;
            self.producers.iter_mut().for_each(|producer| producer.stopped = true);
        }
        if done { Ok(()) } else { Err(format!("Liveness: {HEALED_BOUND_MS} ms after healing: {}", self.state())) }
    }

    /// Every producer has been answered and every replica has the same, all of it committed.
    fn has_converged(&self) -> bool {
        let s = self;
        let same = |p: &Producer| {
            let replicas = s.world.brokers().into_iter().filter_map(|b| s.world.node(b)?.broker());
            let mut ends = replicas.filter_map(|b| b.replicas.get(&p.partition()));
            ends.all(|r| r.high_watermark == r.log.end_offset() && r.log.end_offset() == s.oracle.committed_end(r.id))
        };
        let leaves =
            |id: &Party| s.world.node(*id).and_then(|n| n.broker()).is_some_and(|broker| broker.lifecycle.leaving);
        !s.world.brokers().iter().any(leaves)
            && s.is_whole()
            && s.producers.iter().all(|p| p.stopped && p.is_idle() && same(p))
    }

    fn state(&self) -> String {
        let image = self.oracle.image();
        let mut text = String::new();
        for (id, _, p) in image.partitions().filter(|(_, t, _)| t.name == "metrics") {
            let replica = |b: &Party| {
                let r = self.world.node(*b)?.broker()?.replicas.get(&id)?;
                Some(format!("{b}: epoch {} hw {} end {}", r.leader_epoch, r.high_watermark, r.log.end_offset()))
            };
            let replicas: Vec<String> = self.world.brokers().iter().filter_map(replica).collect();
            let (leader, isr, elr) = (p.leader, &p.isr, &p.elr);
            text += &format!("\n  {}: leader {leader} isr {isr:?} elr {elr:?}; {}", id.1, replicas.join(", "));
        }
        for (id, b) in &image.brokers {
            text +=
                &format!("\n  broker {id}: epoch {} fenced {} leaving {}", b.epoch, b.fenced, b.in_controlled_shutdown);
        }
        let idle: Vec<bool> = self.producers.iter().map(Producer::is_idle).collect();
        text + &format!("\n  producers idle: {idle:?}")
    }

    /// What was acknowledged is in the log where it was said to be, and nothing is there twice.
    fn account(&mut self) -> Result<(), Violation> {
        self.oracle.look_at_last(&self.world)?;
        for partition in 0..PARTITIONS {
            let read = self.world.consume("metrics", partition);
            let mut times: BTreeMap<&Bytes, usize> = BTreeMap::new();
            for value in &read {
                *times.entry(value).or_default() += 1;
            }
            if let Some((value, count)) = times.iter().find(|(_, count)| **count > 1) {
                return Err(format!("ExactlyOnce: {value:?} is {count} times in {partition}"));
            }
            for producer in self.producers.iter().filter(|p| p.partition().1 == partition) {
                for (offset, value) in &producer.acknowledged {
                    if !producer.promises() {
                        continue;
                    }
                    let found = usize::try_from(*offset).ok().and_then(|o| read.get(o));
                    if found != Some(value) {
                        return Err(format!("Durability: {value:?} was acknowledged at {offset}, there is {found:?}"));
                    }
                }
            }
        }
        Ok(())
    }

    fn run(&mut self) -> Result<(), Violation> {
        self.begin()?;
        let faults = 6 + self.below(14);
        for _ in 0..faults {
            let pause = [2, 10, 40, 150, 400][self.below(5) as usize];
            let pause = u64::from(1 + self.below(pause));
            self.run_ms(pause)?;
            if self.emptied.is_some() && self.is_whole() {
                self.emptied = None;
            }
            self.fault();
        }
        self.run_ms(200)?;
        self.heal()?;
        self.account()
    }
}

fn topic_of(world: &World, node: Party) -> Option<metricstream_wire::Uuid> {
    world.node(node)?.image().names.get("metrics").copied()
}

/// What the schedules came to.
#[derive(Debug, Default)]
struct Figures {
    schedules: usize,
    batches: usize,
    acknowledged: usize,
    elections: usize,
    isr_changes: usize,
    truncations: usize,
}

impl Figures {
    fn add(&mut self, schedule: &Schedule) {
        self.schedules += 1;
        self.batches += schedule.oracle.batches();
        self.acknowledged += schedule.producers.iter().map(|p| p.acknowledged.len()).sum::<usize>();
        self.elections += schedule.oracle.elections;
        self.isr_changes += schedule.oracle.isr_changes;
        self.truncations += schedule.oracle.truncations;
    }
}

fn count() -> u64 {
    std::env::var("METRICSTREAM_SCHEDULES").ok().and_then(|n| n.parse().ok()).unwrap_or(USUAL)
}

fn first() -> u64 {
    std::env::var("METRICSTREAM_FIRST_SCHEDULE").ok().and_then(|n| n.parse().ok()).unwrap_or(0)
}

#[test]
fn random_schedules_keep_every_promise() {
    let (mut figures, mut broken) = (Figures::default(), Vec::new());
    for seed in first()..first() + count() {
        println!("seed {seed}");
        let mut schedule = Schedule::new(seed, Flaws::default(), false);
        if let Err(violation) = schedule.run() {
            println!("seed {seed}: {violation}\n  {}", schedule.said.join("\n  "));
            broken.push(seed);
        }
        figures.add(&schedule);
    }
    println!("{figures:?}");
    assert!(broken.is_empty(), "schedules {broken:?} broke a promise");
    // Schedules in which nothing happens would find nothing.
    let n = figures.schedules;
    if n < 100 {
        return;
    }
    assert!(figures.acknowledged > 50 * n && figures.elections > 3 * n && figures.isr_changes > 5 * n, "{figures:?}");
    assert!(figures.truncations > n / 20, "{figures:?}");
}

#[test]
fn the_same_seed_gives_the_same_schedule_and_another_one_another() {
    let run = |seed| {
        let mut schedule = Schedule::new(seed, Flaws::default(), true);
        schedule.run().expect("no violation");
        schedule.world.digest
    };
    for seed in 0..2 {
        assert_eq!(run(seed), run(seed));
        assert_ne!(run(seed), run(seed + 100));
    }
}

/// By what a flaw is found.
enum Found {
    /// One of the first so many random schedules.
    Schedules(u64),
    /// A test of its own: its file's text, its file, and its name.
    Story(&'static str, &'static str, &'static str),
}

macro_rules! story {
    ($file:literal, $name:literal) => {
        Found::Story(include_str!(concat!("../../", $file)), $file, $name)
    };
}

/// By what each flaw is found. Bounds are powers of ten, so that they outlive small changes of a node.
const FOUND: &[(&str, Found)] = &[
    ("truncate-to-high-watermark", Found::Schedules(10)),
    ("truncate-once-by-own-epoch", Found::Schedules(10_000)),
    (
        "unfenced-fetch",
        story!("node/stories/flawed.rs", "a_fetch_of_an_old_epoch_commits_nothing_and_with_the_flaw_it_does"),
    ),
    ("join-isr-below-epoch-start", Found::Schedules(10_000)),
    ("no-maximal-isr", Found::Schedules(1_000)),
    ("rejoin-while-shutting-down", Found::Schedules(100)),
    ("ignore-broker-epoch", Found::Schedules(10_000)),
    ("last-replica-standing", Found::Schedules(10)),
    ("elect-the-dead", Found::Schedules(100)),
    (
        "no-check-quorum",
        story!("quorum/tests/stories.rs", "with_the_flaw_no_check_quorum_a_cut_off_leader_believes_for_ever"),
    ),
    (
        "no-pre-vote",
        story!(
            "quorum/tests/stories.rs",
            "pre_vote_keeps_a_flapping_voter_from_deposing_the_leader_and_without_it_it_does"
        ),
    ),
    (
        "double-ownership",
        story!("group/stories/schedules.rs", "with_the_flaw_of_double_ownership_a_schedule_is_found_in_which_two_do"),
    ),
    ("acknowledge-before-replication", Found::Schedules(10)),
    ("forget-deduplication", Found::Schedules(10)),
    ("truncate-below-high-watermark", Found::Schedules(10)),
    ("read-uncommitted-tail", Found::Schedules(10)),
    (
        "forget-group-offsets",
        story!("group/stories/offsets.rs", "offsets_survive_their_coordinator_and_with_the_flaw_they_do_not"),
    ),
    ("skip-a-batch", Found::Schedules(10)),
    ("wrong-ack-offset", Found::Schedules(10)),
    (
        "refuse-after-append",
        story!("node/stories/flawed.rs", "a_batch_that_was_refused_is_not_in_the_log_and_with_the_flaw_it_is"),
    ),
    ("change-a-value", Found::Schedules(10)),
    (
        "begin-beyond-commit",
        story!("group/stories/offsets.rs", "offsets_survive_their_coordinator_and_with_the_flaw_they_do_not"),
    ),
    ("swap-records", Found::Schedules(10)),
    ("elect-in-the-old-epoch", Found::Schedules(10)),
];

/// As what a client of a running cluster sees a flaw, and in which scenario; `crates/metricstream/tests/flaws.rs` holds
/// each run against its row. The other flaws need steps so close to each other that no short run meets them for sure, or
/// break what no client is promised.
const SHOWN: &[(&str, &str, &str)] = &[
    ("truncate-to-high-watermark", "lost", "cut-at-high-watermark"),
    ("last-replica-standing", "lost", "last-one-wiped"),
    ("double-ownership", "dual-ownership", "member-joins"),
    ("acknowledge-before-replication", "lost", "slow-followers"),
    ("forget-deduplication", "duplicate-in-log", "answers-held"),
    ("truncate-below-high-watermark", "lost", "leader-killed"),
    ("read-uncommitted-tail", "non-monotonic-poll", "slow-followers"),
    ("forget-group-offsets", "redelivery-beyond-commit", "coordinator-restarts"),
    ("skip-a-batch", "skipped-poll", "steady"),
    ("wrong-ack-offset", "ack-offset-mismatch", "steady"),
    ("refuse-after-append", "phantom", "steady"),
    ("change-a-value", "alien", "steady"),
    ("begin-beyond-commit", "lost-to-group", "coordinator-restarts"),
    ("swap-records", "reorder", "batches"),
    ("elect-in-the-old-epoch", "epoch-regression", "leader-killed"),
];

/// The first schedule that a flaw breaks, and the invariant. A node that falls over its own assertion is found, too.
fn hunt(word: &str, seeds: std::ops::Range<u64>) -> Option<(u64, Violation)> {
    let mut flaws = Flaws::default();
    assert!(flaws.switch_on(word), "{word}");
    seeds.into_iter().find_map(|seed| {
        let run = || Schedule::new(seed, flaws, false).run();
        let outcome = std::panic::catch_unwind(run).unwrap_or_else(|_| Err("Assertion: a node fell over".into()));
        outcome.err().map(|violation| (seed, violation))
    })
}

#[test]
fn a_flaw_that_is_asked_for_is_hunted() {
    // METRICSTREAM_FLAW=unfenced-fetch METRICSTREAM_SCHEDULES=10000 hunts for longer than the table says.
    let word = std::env::var("METRICSTREAM_FLAW").unwrap_or_else(|_| "truncate-below-high-watermark".into());
    let found = hunt(&word, first()..first() + count());
    println!("{word}: {found:?}");
    assert!(found.is_some(), "{word} is not found");
}

#[test]
fn each_flaw_is_found_by_what_the_table_says() {
    for (word, found) in FOUND {
        match found {
            // The rare ones take minutes: they are hunted when as many schedules are asked for.
            Found::Schedules(bound) if *bound <= count().max(1_000) => {
                let found = hunt(word, 0..*bound);
                println!("{word}: {found:?}");
                assert!(found.is_some(), "{word} is not found within {bound} schedules");
            }
            Found::Story(text, file, name) => assert!(text.contains(&format!("fn {name}(")), "{file}: {name}"),
            Found::Schedules(_) => {}
        }
    }
}

fn table() -> String {
    let mut text = String::from(FLAWS_HEAD);
    for ((word, what), (same, found)) in Flaws::ALL.iter().zip(FOUND) {
        assert_eq!(word, same, "the table has every flaw, in the order of flaws.rs");
        let found = match found {
            Found::Schedules(bound) => format!("random schedules, within {bound}"),
            Found::Story(_, file, name) => format!("`{name}` in `{file}`"),
        };
        let shown = SHOWN.iter().find(|(shown, ..)| shown == word);
        let shown =
            shown.map_or_else(|| "–".to_owned(), |(_, anomaly, scenario)| format!("`{anomaly}` in `{scenario}`"));
        text += &format!("| `{word}` |{what} | {found} | {shown} |\n");
    }
    text
}

const FLAWS_HEAD: &str = "# Flaws of the embedded node

Historic behaviours of Kafka and seeded bugs, off by default. Written by the tests of `metricstream-node`:
`UPDATE_DOCS=1 cargo test -p metricstream-node docs_flaws`. The random schedules are those of
`crates/node/src/node/stories/schedules.rs`; `METRICSTREAM_SCHEDULES=10000 cargo test -p metricstream-node schedules` runs all.

The last column says as which anomaly (see [anomalies.md](anomalies.md)) a run on the embedded cluster fails with the flaw,
in which of the scenarios of `crates/metricstream/tests/flaws`; without the flaw the same run passes.
`metricstream run SCENARIO --engine embedded --flaw FLAW` shows it.

| flaw | what it does | found in virtual time by | clients see |
|---|---|---|---|
";

#[test]
fn docs_flaws_md_is_the_table() {
    assert_eq!(Flaws::ALL.len(), FOUND.len(), "the table has every flaw");
    assert!(SHOWN.iter().all(|(shown, ..)| Flaws::ALL.iter().any(|(word, _)| word == shown)));
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/flaws.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        return std::fs::write(file, table()).expect("docs/flaws.md can be written");
    }
    let found = std::fs::read_to_string(file).expect("docs/flaws.md is there").replace("\r\n", "\n");
    assert!(
        found == table(),
        "docs/flaws.md is not up to date: UPDATE_DOCS=1 cargo test -p metricstream-node docs_flaws"
    );
}
