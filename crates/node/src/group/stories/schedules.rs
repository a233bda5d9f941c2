//! Random schedules of a consumer group: members that come, beat, let go slowly, crash and leave, while appends are
//! refused, commits are late, topics grow and the coordinator moves. After every step: nobody owns what another current
//! member owns, targets are disjoint and whole, epochs never go back. After every schedule: the group settles.

use std::collections::BTreeSet;

use rand_chacha::rand_core::RngCore;

use super::consumer::beats;
use super::*;
use crate::group::consumer::{Parts, each};

type Part = (Uuid, i32);

/// A client of the group.
#[derive(Debug)]
struct Member {
    id: String,
    epoch: i32,
    /// What it reads.
    owns: BTreeSet<Part>,
    /// What it was last told to own.
    told: BTreeSet<Part>,
    waits_for: Option<Token>,
    /// It missed an answer, and says everything again as clients do.
    says_all: bool,
    leaving: bool,
}

struct Schedule {
    world: World,
    random: ChaCha8Rng,
    members: Vec<Member>,
    made: usize,
    group_epoch: (i32, i32),
    orders: i32,
}

fn list(parts: &BTreeSet<Part>) -> PartitionsById {
    let mut by_topic: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
    parts.iter().for_each(|(topic, partition)| by_topic.entry(*topic).or_default().push(*partition));
    by_topic.into_iter().collect()
}

fn set(list: &PartitionsById) -> BTreeSet<Part> {
    list.iter().flat_map(|(topic, partitions)| partitions.iter().map(|p| (*topic, *p))).collect()
}

impl Schedule {
    fn new(seed: u64, flaws: Flaws) -> Self {
        let settings = Settings {
            group_consumer_session_timeout_ms: 10_000,
            group_consumer_assignment_interval_ms: if seed.is_multiple_of(2) { 0 } else { 1_000 },
            ..Settings::default()
        };
        Self {
            world: World::with(settings, flaws),
            random: ChaCha8Rng::seed_from_u64(seed),
            members: Vec::new(),
            made: 0,
            group_epoch: (0, 0),
            orders: 4,
        }
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.random.next_u32()).expect("32 bits fit") % n
    }

    fn run(&mut self, steps: usize) -> Result<(), String> {
        for step in 0..steps {
            self.step();
            self.hear();
            self.check().map_err(|why| format!("step {step}: {why}"))?;
        }
        self.settle_down()
    }

    fn step(&mut self) {
        match self.below(40) {
            0..2 if self.members.len() < 5 => self.start(),
            2 if !self.members.is_empty() => {
                let nth = self.below(self.members.len());
                self.members.remove(nth); // It crashes.
            }
            3 if !self.members.is_empty() => {
                let nth = self.below(self.members.len());
                self.members[nth].leaving = true;
            }
            4 => self.world.holds_commits = !self.world.holds_commits,
            5 => self.world.refuses = self.world.refuses.xor(Some(ErrorCode::NOT_ENOUGH_REPLICAS)),
            6 if self.orders < 9 => {
                self.orders += 1;
                self.world.topics.set("orders", self.orders);
            }
            7 if self.below(3) == 0 => {
                self.world.fail_over();
                // What was not committed is not of the new coordinator's past.
                let (epoch, target, _) = self.world.view("g");
                self.group_epoch = (epoch, target);
            }
            8..12 => self.world.commit_and_settle(),
            12..18 => {
                let ms = i64::try_from(self.below(2_000)).expect("small");
                self.world.pass_ms(ms);
            }
            18..24 if !self.members.is_empty() => {
                let nth = self.below(self.members.len());
                self.let_go(nth);
            }
            _ if !self.members.is_empty() => {
                let nth = self.below(self.members.len());
                self.beat(nth);
            }
            _ => self.start(),
        }
    }

    fn start(&mut self) {
        self.made += 1;
        let (id, none) = (format!("m{}", self.made), BTreeSet::new());
        self.members.push(Member {
            id,
            epoch: 0,
            owns: none.clone(),
            told: none,
            waits_for: None,
            says_all: false,
            leaving: false,
        });
    }

    /// A member stops reading what it is not to own, and starts what it is.
    fn let_go(&mut self, nth: usize) {
        let member = &mut self.members[nth];
        member.owns.clone_from(&member.told);
    }

    fn beat(&mut self, nth: usize) {
        let member = &self.members[nth];
        if member.waits_for.is_some() {
            return;
        }
        let mut beat = beats("g", &member.id, member.epoch, Some(list(&member.owns)));
        if member.leaving {
            (beat.member_epoch, beat.owned) = (-1, None);
        } else if member.epoch == 0 || member.says_all {
            beat.rebalance_timeout_ms = Some(30_000);
            beat.subscribed_topics = Some(vec!["clicks".to_owned(), "orders".to_owned()]);
        }
        let token = self.world.ask(GroupRequest::ConsumerGroupHeartbeat(beat));
        (self.members[nth].waits_for, self.members[nth].says_all) = (Some(token), false);
    }

    /// Members read the answers that have come.
    fn hear(&mut self) {
        let world = &mut self.world;
        self.members.retain_mut(|member| {
            let Some(token) = member.waits_for.filter(|token| world.is_answered(*token)) else { return true };
            member.waits_for = None;
            let answer = answer_of!(world, token, ConsumerGroupHeartbeat);
            match answer.error {
                ErrorCode::NONE if member.leaving => return false,
                ErrorCode::NONE => {
                    assert!(answer.member_epoch >= member.epoch, "{} went back to {}", member.id, answer.member_epoch);
                    member.epoch = answer.member_epoch;
                    if let Some(assignment) = answer.assignment {
                        // What is new it reads at once; what it is to let go it lets go when it comes to it.
                        member.told = set(&assignment);
                        member.owns.extend(member.told.iter().copied());
                    }
                }
                ErrorCode::FENCED_MEMBER_EPOCH | ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::GROUP_ID_NOT_FOUND => {
                    (member.epoch, member.owns, member.told) = (0, BTreeSet::new(), BTreeSet::new());
                    return !member.leaving;
                }
                ErrorCode::COORDINATOR_NOT_AVAILABLE | ErrorCode::NOT_COORDINATOR => member.says_all = true,
                other => panic!("{other}"),
            }
            true
        });
    }

    fn check(&mut self) -> Result<(), String> {
        let (epoch, target_epoch, members) = self.world.view("g");
        if (epoch, target_epoch) < self.group_epoch && epoch != 0 {
            return Err(format!("epochs went back from {:?} to {epoch}, {target_epoch}", self.group_epoch));
        }
        self.group_epoch = (epoch, target_epoch);
        let disjoint = |what: &str, of: &dyn Fn(&crate::group::consumer::MemberView) -> Vec<Part>| {
            let mut owner: BTreeMap<Part, &String> = BTreeMap::new();
            for (id, member) in &members {
                for part in of(member) {
                    if let Some(other) = owner.insert(part, id) {
                        return Err(format!("{what} of {other} and {id}: partition {}", part.1));
                    }
                }
            }
            Ok(owner.len())
        };
        disjoint("held", &|m| each(&m.1).chain(each(&m.2)).collect())?;
        let targets = disjoint("target", &|m| each(&m.3).collect())?;
        if epoch == target_epoch && !members.is_empty() && targets < 4 + 3 {
            return Err(format!("only {targets} partitions have a target"));
        }
        let mut reads: BTreeMap<Part, &str> = BTreeMap::new();
        for member in self.members.iter().filter(|m| members.get(&m.id).is_some_and(|(epoch, ..)| *epoch > 0)) {
            for part in &member.owns {
                if let Some(other) = reads.insert(*part, &member.id) {
                    return Err(format!("read by {other} and {}: partition {}", member.id, part.1));
                }
            }
        }
        Ok(())
    }

    /// Everything works from now on: who is left ends up with all partitions among them.
    fn settle_down(&mut self) -> Result<(), String> {
        (self.world.holds_commits, self.world.refuses) = (false, None);
        self.world.commit_and_settle();
        if self.members.is_empty() {
            self.start();
        }
        for _ in 0..40 {
            self.hear();
            for nth in 0..self.members.len() {
                self.let_go(nth);
                self.beat(nth);
            }
            self.hear();
            self.check()?;
            self.world.pass_ms(1_000);
        }
        let wanted = usize::try_from(self.orders + 3).expect("positive");
        let read: usize = self.members.iter().map(|m| m.owns.len()).sum();
        match (self.world.state_of("g").as_str(), read == wanted || self.members.is_empty()) {
            ("Stable" | "Empty" | "", true) => Ok(()),
            (state, _) => Err(format!("{state}, {read} of {wanted} partitions are read by {:?}", self.members)),
        }
    }
}

#[test]
fn no_schedule_makes_two_members_own_one_partition() {
    for seed in 0..300 {
        Schedule::new(seed, Flaws::default()).run(300).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    }
}

#[test]
fn with_the_flaw_of_double_ownership_a_schedule_is_found_in_which_two_do() {
    let flaws = Flaws { double_ownership: true, ..Flaws::default() };
    let found = (0..50).find_map(|seed| Schedule::new(seed, flaws).run(300).err());
    let why = found.expect("50 schedules show it");
    assert!(why.contains("held of") || why.contains("read by"), "{why}");
}

#[test]
fn the_same_schedule_gives_the_same_records_byte_for_byte() {
    let records = |seed| {
        let mut schedule = Schedule::new(seed, Flaws::default());
        schedule.run(200).expect("a sound schedule");
        schedule.world.logs.into_values().flat_map(|log| log.batches).collect::<Vec<_>>()
    };
    assert_eq!(records(7), records(7));
    assert_ne!(records(7), records(8));
}

#[test]
fn parts_and_lists_are_the_same_thing() {
    let parts = Parts::from([([1; 16], BTreeSet::from([0, 2]))]);
    assert_eq!(set(&list(&each(&parts).collect())), each(&parts).collect());
}
