//! Random schedules of a classic group: members that join, assign, commit, crash and leave, while appends are refused,
//! commits are late and the coordinator moves. Generations never go back, nobody outside the generation commits, what was
//! acknowledged is kept, every request is answered, and in the end the group is whole.

use rand_chacha::rand_core::RngCore;

use super::classic::{joining, syncing};
use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Out,
    Joining,
    Joined,
    Syncing,
    Reading,
}

#[derive(Debug)]
struct Member {
    id: String,
    instance: Option<String>,
    phase: Phase,
    generation: i32,
    leads: Vec<String>,
    waits_for: Option<Token>,
}

struct Schedule {
    world: World,
    random: ChaCha8Rng,
    members: Vec<Member>,
    asked: Vec<Token>,
    made: usize,
    /// The highest generation that any member was told by this coordinator, or has a part in.
    generation: i32,
    /// The highest in which any member has a part. It is written; one that was still being assigned dies with its
    /// coordinator, and its number is given again, as in Kafka.
    written: i32,
    /// The next offset to commit, and the highest that was acknowledged.
    next_offset: i64,
    acknowledged: i64,
    commits: usize,
}

impl Schedule {
    fn new(seed: u64) -> Self {
        Self {
            world: World::new(),
            random: ChaCha8Rng::seed_from_u64(seed),
            members: Vec::new(),
            asked: Vec::new(),
            made: 0,
            generation: 0,
            written: 0,
            next_offset: 1,
            acknowledged: -1,
            commits: 0,
        }
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.random.next_u32()).expect("32 bits fit") % n
    }

    fn ask(&mut self, request: GroupRequest) -> Token {
        let token = self.world.ask(request);
        self.asked.push(token);
        token
    }

    fn run(&mut self) {
        for _ in 0..300 {
            self.step();
            self.hear();
        }
        (self.world.holds_commits, self.world.refuses) = (false, None);
        self.world.commit_and_settle();
        self.start();
        for _ in 0..400 {
            for nth in 0..self.members.len() {
                self.act(nth);
            }
            self.hear();
            self.world.pass_ms(500);
        }
        self.hear();
        for member in &self.members {
            assert_eq!((member.phase, member.generation), (Phase::Reading, self.generation), "{member:?}");
        }
        assert_eq!(self.world.state_of("g"), "Stable");
        let offset = self.world.offset_of("g");
        assert!(offset >= self.acknowledged, "{} was acknowledged and {offset} is there", self.acknowledged);
        let open = self.asked.iter().filter(|token| !self.world.answers.contains_key(token)).count();
        assert_eq!(open, self.members.iter().filter(|m| m.waits_for.is_some()).count(), "a request was forgotten");
    }

    fn step(&mut self) {
        match self.below(60) {
            0..3 if self.members.len() < 4 => self.start(),
            3 if !self.members.is_empty() => {
                let nth = self.below(self.members.len());
                self.members.remove(nth); // It crashes.
            }
            4 if !self.members.is_empty() => {
                let nth = self.below(self.members.len());
                let member = self.members.remove(nth);
                let members = vec![(member.id, member.instance)];
                self.ask(GroupRequest::LeaveGroup(LeaveGroup { group_id: "g".into(), members }));
            }
            5 if !self.members.is_empty() => {
                // It restarts, and knows only which instance it is.
                let nth = self.below(self.members.len());
                let member = &mut self.members[nth];
                member.id.clear();
                (member.phase, member.waits_for) = (Phase::Out, None);
            }
            6 => self.world.holds_commits = !self.world.holds_commits,
            7 => self.world.refuses = self.world.refuses.xor(Some(ErrorCode::NOT_ENOUGH_REPLICAS)),
            8 => {
                self.hear();
                self.world.fail_over();
                self.hear();
                self.generation = self.written;
            }
            9..13 => self.world.commit_and_settle(),
            13..22 => {
                let ms = i64::try_from(self.below(2_000)).expect("small");
                self.world.pass_ms(ms);
            }
            22..32 if !self.members.is_empty() => {
                let nth = self.below(self.members.len());
                self.commit(nth);
            }
            _ if !self.members.is_empty() => {
                let nth = self.below(self.members.len());
                self.act(nth);
            }
            _ => self.start(),
        }
    }

    fn start(&mut self) {
        self.made += 1;
        let instance = self.made.is_multiple_of(3).then(|| format!("i{}", self.made));
        let (id, phase) = (String::new(), Phase::Out);
        self.members.push(Member { id, instance, phase, generation: -1, leads: Vec::new(), waits_for: None });
    }

    /// What a member does next.
    fn act(&mut self, nth: usize) {
        let member = &self.members[nth];
        if member.waits_for.is_some() {
            return;
        }
        let (id, instance) = (member.id.clone(), member.instance.clone());
        let request = match member.phase {
            Phase::Out | Phase::Joining => joining("g", &id, instance.as_deref()),
            Phase::Joined | Phase::Syncing => {
                let parts: Vec<(&str, &str)> = member.leads.iter().map(|m| (m.as_str(), m.as_str())).collect();
                match syncing("g", &id, member.generation, &parts) {
                    GroupRequest::SyncGroup(sync) => {
                        GroupRequest::SyncGroup(SyncGroup { instance_id: instance, ..sync })
                    }
                    other => other,
                }
            }
            Phase::Reading => {
                let (group_id, generation) = ("g".to_owned(), member.generation);
                GroupRequest::Heartbeat(Heartbeat { group_id, generation, member_id: id, instance_id: instance })
            }
        };
        let token = self.ask(request);
        let member = &mut self.members[nth];
        member.waits_for = Some(token);
        member.phase = match member.phase {
            Phase::Out => Phase::Joining,
            Phase::Joined => Phase::Syncing,
            other => other,
        };
    }

    /// A member commits, if it is in no other talk. Only those of the last generation may be believed.
    fn commit(&mut self, nth: usize) {
        let member = &self.members[nth];
        if member.waits_for.is_some() || member.generation < 0 || member.id.is_empty() {
            return;
        }
        let (offset, generation) = (self.next_offset, member.generation);
        self.next_offset += 1;
        let token = self.ask(GroupRequest::OffsetCommit(commit_of("g", &self.members[nth].id, generation, offset)));
        // It waits for the answer before it goes on, in this schedule for as long as that takes.
        self.world.commit_and_settle();
        let error = answer_of!(self.world, token, OffsetCommit).topics[0].1[0].1;
        self.asked.retain(|asked| *asked != token);
        if error.is_none() {
            assert!(generation >= self.generation, "generation {generation} committed after {}", self.generation);
            self.acknowledged = offset;
            self.commits += 1;
        }
    }

    fn hear(&mut self) {
        for nth in 0..self.members.len() {
            let Some(token) = self.members[nth].waits_for.filter(|token| self.world.is_answered(*token)) else {
                continue;
            };
            self.asked.retain(|asked| *asked != token);
            let member = &mut self.members[nth];
            member.waits_for = None;
            let error = match self.world.answer(token) {
                GroupAnswer::JoinGroup(answer) => {
                    if answer.error == ErrorCode::NONE || answer.error == ErrorCode::MEMBER_ID_REQUIRED {
                        member.id.clone_from(&answer.member_id);
                    }
                    if answer.error.is_none() {
                        assert!(
                            answer.generation >= self.generation,
                            "{} after {}",
                            answer.generation,
                            self.generation
                        );
                        self.generation = answer.generation;
                        (member.phase, member.generation) = (Phase::Joined, answer.generation);
                        let leads = if answer.skip_assignment { Vec::new() } else { answer.members };
                        member.leads = leads.into_iter().map(|m| m.member_id).collect();
                    }
                    answer.error
                }
                GroupAnswer::SyncGroup(answer) => {
                    if answer.error.is_none() {
                        member.phase = Phase::Reading;
                        self.written = self.written.max(member.generation);
                    }
                    answer.error
                }
                GroupAnswer::Heartbeat(error) => error,
                other => panic!("{other:?}"),
            };
            match error {
                ErrorCode::NONE | ErrorCode::MEMBER_ID_REQUIRED => {}
                ErrorCode::COORDINATOR_NOT_AVAILABLE | ErrorCode::NOT_COORDINATOR => {}
                ErrorCode::REBALANCE_IN_PROGRESS => member.phase = Phase::Out,
                ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::ILLEGAL_GENERATION | ErrorCode::FENCED_INSTANCE_ID => {
                    member.id.clear();
                    (member.phase, member.generation) = (Phase::Out, -1);
                }
                other => panic!("{other}"),
            }
        }
    }
}

#[test]
fn no_schedule_lets_a_generation_go_back_or_an_acknowledged_offset_be_lost() {
    let mut commits = 0;
    for seed in 0..200 {
        let mut schedule = Schedule::new(seed);
        schedule.run();
        commits += schedule.commits;
    }
    assert!(commits > 300, "only {commits} commits were acknowledged");
}
