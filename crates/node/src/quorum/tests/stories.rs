//! Stories of a quorum, each with what it must and must not do, and when.

use super::world::{FIRST_OBSERVER, World};
use crate::flaws::Flaws;
use crate::io::Disk;
use crate::quorum::ballot::QuorumState;
use crate::quorum::{Answer, AppendError, Fetch, QuorumOutput, Request, RoleName, Token};
use crate::time::MS;

/// Kafka's own timers, where the profile `fast` sets others.
const APACHE: &[(&str, &str)] = &[
    ("controller.quorum.fetch.timeout.ms", "2000"),
    ("controller.quorum.election.timeout.ms", "1000"),
    ("controller.quorum.election.backoff.max.ms", "1000"),
    ("controller.quorum.request.timeout.ms", "2000"),
    ("metricstream.quorum.fetch.wait.max.ms", "500"),
    ("metricstream.elect.after.disconnect.ms", "-1"),
];

fn led(seed: u64, voters: i32, observers: i32, changed: &[(&str, &str)], flaws: Flaws) -> (World, i32) {
    let mut world = World::with(seed, voters, observers, changed, flaws);
    world.start_all();
    world.run_until(5_000, "a first leader", |w| w.active().is_some());
    let leader = world.active().unwrap();
    (world, leader)
}

fn everybody_knows_all(world: &World) -> bool {
    let end = world.watch.committed_end();
    world.ids().iter().all(|id| !world.is_up(*id) || world.watch.told(*id) == end)
}

#[test]
fn a_quorum_of_one_leads_at_once_and_every_life_has_its_own_epoch() {
    let mut world = World::new(1, 1, 0);
    for life in 1..=3 {
        world.start_all();
        let ms = world.run_until(1_000, "it leads", |w| w.active() == Some(1));
        assert!(ms <= 1, "{ms} ms");
        assert_eq!(world.quorum(1).current().leader_epoch, life);
        let last = world.append(1, 2).unwrap();
        world.run_until(10, "committed", |w| w.watch.told(1) == last + 1);
        world.kill(1, life == 2);
    }
}

#[test]
fn a_new_cluster_elects_within_milliseconds_with_apaches_timers_too() {
    for voters in [3, 5] {
        for seed in 0..20 {
            let mut world = World::with(seed, voters, 0, APACHE, Flaws::default());
            world.start_all();
            let ms = world.run_until(100, "a leader", |w| w.active().is_some());
            assert!(ms <= 10, "{ms} ms");
            assert_eq!(world.active(), Some(1), "the lowest id stands at once");
        }
    }
}

#[test]
fn a_voter_that_was_wiped_does_not_disturb_the_quorum_that_lives_on() {
    let (mut world, leader) = led(2, 3, 0, &[], Flaws::default());
    assert_eq!(leader, 1);
    world.append(1, 5).unwrap();
    world.run_until(100, "replicated", everybody_knows_all);
    world.kill(1, false);
    world.wipe(1);
    world.run_until(1_000, "another leader", |w| w.active().is_some_and(|l| l != 1));
    let (leader, epoch) = (world.active().unwrap(), world.quorum(world.active().unwrap()).current().leader_epoch);
    world.start(1);
    world.run_until(1_000, "it follows and has all", |w| w.watch.told(1) == w.watch.committed_end());
    assert_eq!(world.active(), Some(leader));
    assert_eq!(world.quorum(leader).current().leader_epoch, epoch);
}

#[test]
fn what_is_appended_is_committed_by_a_majority_and_told_to_all() {
    let (mut world, leader) = led(3, 3, 2, &[], Flaws::default());
    let last = world.append(leader, 3).unwrap();
    let ms = world.run_until(100, "committed", |w| w.watch.told(leader) > last);
    assert!(ms <= 5, "two round trips and a sync: {ms} ms");
    let ms = world.run_until(100, "told to all", everybody_knows_all);
    assert!(ms <= 5, "a high watermark is told at once, not at the end of a fetch's wait: {ms} ms");
    let follower = world.voters().into_iter().find(|v| *v != leader).unwrap();
    let now = world.now;
    let node = world.nodes.get_mut(&follower).unwrap();
    let mut io = crate::io::Outputs::default();
    let refused = node.quorum.as_mut().unwrap().append(now, &mut io, vec![bytes::Bytes::from_static(b"x")]);
    assert!(matches!(refused, Err(AppendError::NotLeader(current)) if current.leader_id == Some(leader)));
}

#[test]
fn only_what_is_on_the_disk_counts_for_a_majority_the_leaders_own_share_too() {
    let (mut world, leader) = led(13, 3, 0, &[], Flaws::default());
    world.run_ms(100);
    let others: Vec<i32> = world.voters().into_iter().filter(|v| *v != leader).collect();
    let end = world.watch.committed_end();
    world.kill(others[0], false);
    world.slow_disks.insert(leader);
    let last = world.append(leader, 1).unwrap();
    world.run_ms(150);
    let now = world.now;
    let told = world.quorum(leader).describe(now).unwrap();
    let follower = told.voters.iter().find(|v| v.replica_id == others[1]).unwrap();
    assert_eq!(follower.log_end_offset, last + 1, "the follower has it on its disk");
    assert_eq!((told.high_watermark, world.watch.committed_end()), (end, end), "the leader has not");
    world.run_until(500, "committed once it has", |w| w.watch.told(leader) == last + 1);
    // The same the other way round: a follower with a slow disk does not fetch on before it has what it was sent.
    world.slow_disks = [others[1]].into();
    let last = world.append(leader, 1).unwrap();
    world.run_ms(150);
    assert_eq!(world.watch.committed_end(), last);
    world.run_until(500, "committed once it has", |w| w.watch.told(leader) == last + 1);
}

#[test]
fn a_leader_without_a_majority_commits_nothing_and_resigns_within_the_bound() {
    for (name, changed, bound_ms) in [("fast", &[][..], 1_500), ("apache", APACHE, 3_000)] {
        let (mut world, leader) = led(4, 3, 1, changed, Flaws::default());
        world.run_ms(200);
        let end = world.watch.committed_end();
        world.isolate(leader);
        let last = world.append(leader, 1).expect("it does not know yet");
        let ms = world.run_until(bound_ms + 600, "it resigns", |w| w.quorum(leader).role() != RoleName::Leader);
        assert!(ms <= bound_ms + 1, "{name}: {ms} ms, 1.5 fetch timeouts are {bound_ms}");
        assert!(world.watch.told(leader) <= last && world.watch.told(leader) == end);
        world.run_until(5_000, "the others elect", |w| w.active().is_some_and(|l| l != leader));
        world.heal();
        world.run_until(5_000, "the old one follows", |w| {
            w.quorum(leader).role() == RoleName::Follower && everybody_knows_all(w)
        });
    }
}

#[test]
fn with_the_flaw_no_check_quorum_a_cut_off_leader_believes_for_ever() {
    let flaws = Flaws { no_check_quorum: true, ..Flaws::default() };
    let (mut world, leader) = led(4, 3, 0, &[], flaws);
    world.isolate(leader);
    world.run_ms(10_000);
    assert_eq!(world.quorum(leader).role(), RoleName::Leader);
    assert!(world.append(leader, 1).is_some(), "and takes records that it can never commit");
    let leaders = world.voters().into_iter().filter(|v| world.quorum(*v).role() == RoleName::Leader).count();
    assert_eq!(leaders, 2, "two nodes lead, in different epochs");
}

/// A voter is cut off again and again, each time for longer than its fetch timeout. Epochs that the quorum goes through.
fn flapping(flaws: Flaws) -> (i32, usize) {
    let (mut world, leader) = led(5, 3, 0, &[("metricstream.elect.after.disconnect.ms", "-1")], flaws);
    world.run_ms(100);
    let flapper = world.voters().into_iter().find(|v| *v != leader).unwrap();
    let before = world.quorum(leader).current().leader_epoch;
    let elected = world.watch.elections();
    for _ in 0..5 {
        world.isolate(flapper);
        world.run_ms(1_500);
        world.heal();
        world.run_until(5_000, "it is back", |w| {
            w.active().is_some()
                && w.watch.told(flapper) == w.watch.committed_end()
                && w.quorum(flapper).role() != RoleName::Candidate
        });
        world.run_ms(300);
    }
    let leader = world.active().unwrap();
    (world.quorum(leader).current().leader_epoch - before, world.watch.elections() - elected)
}

#[test]
fn pre_vote_keeps_a_flapping_voter_from_deposing_the_leader_and_without_it_it_does() {
    assert_eq!(flapping(Flaws::default()), (0, 0), "no epoch and no election more than before");
    let (epochs, elections) = flapping(Flaws { no_pre_vote: true, ..Flaws::default() });
    assert!(epochs >= 5 && elections >= 3, "it raises the epoch each time: {epochs} epochs, {elections} elections");
}

#[test]
fn after_a_leaders_death_another_one_leads_within_tens_of_milliseconds_if_its_connection_breaks() {
    let mut worst = 0;
    for seed in 0..100 {
        let (mut world, leader) = led(seed, 3, 2, &[], Flaws::default());
        world.append(leader, 3);
        world.run_ms(50 + seed);
        world.kill(leader, false);
        let ms = world.run_until(2_000, "another leader", |w| w.active().is_some_and(|l| l != leader));
        worst = worst.max(ms);
        world.run_until(200, "brokers follow it", everybody_knows_all);
    }
    assert!(worst <= 100, "{worst} ms");
}

#[test]
fn a_leader_that_dies_silently_is_replaced_within_fetch_timeout_and_elections() {
    for seed in 0..30 {
        let (mut world, leader) = led(seed, 3, 0, APACHE, Flaws::default());
        world.run_ms(1_000);
        world.isolate(leader);
        // Fetch timeout 2 s, an election timeout of 1–2 s if the first pre-vote comes before the other voter gives up.
        let ms = world.run_until(10_000, "another leader", |w| w.active().is_some_and(|l| l != leader));
        assert!((1_400..=6_500).contains(&ms), "{ms} ms");
    }
}

#[test]
fn a_leader_that_leaves_hands_over_to_the_longest_log_at_once() {
    for seed in 0..20 {
        let (mut world, leader) = led(seed, 3, 0, APACHE, Flaws::default());
        world.append(leader, 3);
        world.run_ms(30);
        world.shut_down(leader);
        let ms = world.run_until(1_000, "another leader", |w| w.active().is_some_and(|l| l != leader));
        assert!(ms <= 100, "{ms} ms");
    }
}

#[test]
fn a_vote_and_its_epoch_outlive_the_voter() {
    let (mut world, leader) = led(7, 3, 0, &[], Flaws::default());
    world.run_ms(50);
    let voted: Vec<QuorumState> = world.voters().iter().map(|v| state_on_disk(&world, *v)).collect();
    let epoch = world.quorum(leader).current().leader_epoch;
    assert!(voted.iter().filter(|s| s.voted == Some(leader) && s.epoch == epoch).count() >= 2, "{voted:?}");
    for voter in world.voters() {
        world.kill(voter, true);
        world.start(voter);
        assert!(world.quorum(voter).current().leader_epoch >= epoch);
    }
    world.run_until(2_000, "a leader again", |w| w.active().is_some());
    assert!(world.quorum(world.active().unwrap()).current().leader_epoch > epoch);
}

fn state_on_disk(world: &World, id: i32) -> QuorumState {
    let bytes = world.nodes[&id].store.read(&crate::quorum::ballot::path(), 0, 65_536).unwrap();
    QuorumState::decode(&bytes).unwrap()
}

#[test]
fn a_follower_that_lacks_the_logs_beginning_installs_a_snapshot_in_pieces() {
    let (mut world, leader) = led(8, 3, 1, &[], Flaws::default());
    let behind = world.voters().into_iter().rfind(|v| *v != leader).unwrap();
    world.run_ms(50);
    world.kill(behind, false);
    world.kill(FIRST_OBSERVER, false);
    for _ in 0..20 {
        world.append(leader, 3).unwrap();
        world.run_ms(5);
    }
    world.nodes.get_mut(&leader).unwrap().snapshot_bytes = 3 * 1024 * 1024;
    assert!(world.snapshot(leader));
    assert!(!world.snapshot(leader), "one at a time, and only with news");
    world.run_ms(50);
    let start = world.quorum(leader).log.start();
    assert!(start > 60, "the log before the snapshot is gone: {start}");
    world.append(leader, 2).unwrap();
    let loaded = |w: &World, id: i32| w.nodes[&id].snapshots_loaded;
    for id in [behind, FIRST_OBSERVER] {
        let before = loaded(&world, id);
        world.start(id);
        world.run_until(1_000, "it has all", everybody_knows_all);
        assert_eq!(loaded(&world, id), before + 1);
        assert_eq!(world.quorum(id).log.start(), start);
    }
    // And the installed one is there after a restart.
    world.kill(behind, true);
    world.start(behind);
    assert!(world.watch.told(behind) >= start, "told from its own store");
    world.run_until(1_000, "it has all", everybody_knows_all);
}

fn ask(world: &mut World, id: i32, fetch: Fetch) -> Option<crate::quorum::FetchAnswer> {
    let now = world.now;
    let node = world.nodes.get_mut(&id).unwrap();
    let quorum = node.quorum.as_mut().unwrap();
    let before = quorum.take();
    assert!(before.is_empty(), "outputs are taken after every input");
    quorum.handle(now, &mut crate::io::Outputs::default(), Token(u64::MAX), Request::Fetch(fetch));
    quorum.take().into_iter().find_map(|output| match output {
        QuorumOutput::Answer { token: Token(u64::MAX), answer: Answer::Fetch(answer) } => Some(answer),
        _ => None,
    })
}

#[test]
fn an_observer_of_another_process_is_answered_as_apache_kafka_answers_it() {
    let (mut world, leader) = led(9, 3, 0, &[], Flaws::default());
    world.append(leader, 2);
    world.run_ms(300);
    let follower = world.voters().into_iter().find(|v| *v != leader).unwrap();
    let epoch = world.quorum(leader).current().leader_epoch;
    let fetch = Fetch {
        replica_id: -1,
        current_leader_epoch: epoch,
        fetch_offset: 0,
        last_fetched_epoch: 0,
        high_watermark: i64::MAX,
        max_bytes: 1 << 20,
        max_wait_ms: 500,
    };
    let stale = ask(&mut world, leader, Fetch { current_leader_epoch: epoch - 1, ..fetch }).unwrap();
    assert_eq!((stale.error.0, stale.current.leader_id, stale.current.leader_epoch), (74, Some(leader), epoch));
    let early = ask(&mut world, leader, Fetch { current_leader_epoch: epoch + 1, ..fetch }).unwrap();
    assert_eq!((early.error.0, early.current.leader_id, early.current.leader_epoch), (75, Some(leader), epoch));
    let elsewhere = ask(&mut world, follower, fetch).unwrap();
    assert_eq!((elsewhere.error.0, elsewhere.current.leader_id), (6, Some(leader)));
    let negative = ask(&mut world, leader, Fetch { last_fetched_epoch: -1, ..fetch }).unwrap();
    assert_eq!(negative.error.0, 42);
    let all = ask(&mut world, leader, fetch).unwrap();
    assert_eq!((all.error.0, all.high_watermark, all.log_start), (0, world.watch.committed_end(), 0));
    assert!(!all.records.is_empty());
    let end = world.quorum(leader).log_end();
    let at_end = Fetch { fetch_offset: end.offset, last_fetched_epoch: end.epoch, ..fetch };
    assert_eq!(ask(&mut world, leader, at_end), None, "parked");
    let past = ask(&mut world, leader, Fetch { fetch_offset: end.offset + 5, ..at_end }).unwrap();
    assert_eq!(past.diverging, Some(end), "cut there");
    world.snapshot(leader);
    world.run_ms(20);
    let first = ask(&mut world, leader, fetch).unwrap();
    assert!(first.records.is_empty());
    assert_eq!(first.snapshot.map(|id| id.offset), Some(first.log_start), "the snapshot first");
}

#[test]
fn a_silent_leader_is_given_up_when_all_that_waited_has_been_taken_in_and_not_before() {
    let (mut world, leader) = led(14, 3, 0, &[], Flaws::default());
    world.run_ms(300);
    let follower = world.voters().into_iter().find(|v| *v != leader).unwrap();
    let fetch = Fetch {
        replica_id: -1,
        current_leader_epoch: world.quorum(follower).current().leader_epoch,
        fetch_offset: 0,
        last_fetched_epoch: 0,
        high_watermark: i64::MAX,
        max_bytes: 1 << 20,
        max_wait_ms: 0,
    };
    // The first of what waits for it, long after its patience ended; the leader's word may be the next.
    world.now.monotonic_ns += 5_000 * MS;
    assert!(ask(&mut world, follower, fetch).is_some());
    assert_eq!(world.quorum(follower).role(), RoleName::Follower);
    let now = world.now;
    assert!(world.quorum(follower).next_timer() <= now.monotonic_ns + 1, "it wants to be asked at once");
    let quorum = world.nodes.get_mut(&follower).unwrap().quorum.as_mut().unwrap();
    quorum.on_timer(now, &mut crate::io::Outputs::default());
    assert_eq!(quorum.role(), RoleName::Prospective);
}

#[test]
fn the_leader_describes_the_quorum_and_others_name_the_leader() {
    let (mut world, leader) = led(10, 3, 2, &[], Flaws::default());
    world.append(leader, 1);
    world.run_ms(300);
    let now = world.now;
    let told = world.quorum(leader).describe(now).unwrap();
    let end = world.quorum(leader).log_end().offset;
    assert_eq!((told.leader_id, told.high_watermark), (leader, end));
    assert_eq!(told.voters.iter().map(|v| v.replica_id).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(told.observers.iter().map(|v| v.replica_id).collect::<Vec<_>>(), [101, 102]);
    for replica in told.voters.iter().chain(&told.observers) {
        assert_eq!(replica.log_end_offset, end);
        assert!(now.wall_ms - replica.last_caught_up_ms <= 250, "{replica:?}");
    }
    let follower = world.voters().into_iter().find(|v| *v != leader).unwrap();
    assert_eq!(world.quorum(follower).describe(now).unwrap_err().leader_id, Some(leader));
}

#[test]
fn an_idle_quorum_is_quiet() {
    let (mut world, _) = led(11, 3, 0, &[], Flaws::default());
    world.run_ms(500);
    let before = world.requests;
    world.run_ms(10_000);
    let a_second = (world.requests - before) / 10;
    assert!((15..=25).contains(&a_second), "two followers, a fetch each 100 ms: {a_second} requests a second");
}

#[test]
fn a_quorum_that_is_lost_is_looked_for_without_a_storm_of_requests_and_works_when_it_is_back() {
    let (mut world, leader) = led(12, 3, 2, &[], Flaws::default());
    world.run_ms(300);
    let others: Vec<i32> = world.voters().into_iter().filter(|v| *v != leader).collect();
    world.kill(others[0], false);
    world.kill(leader, false);
    let before = world.requests;
    world.run_ms(10_000);
    // One voter and two observers; each asks every voter at most once in a retry backoff of 20 ms.
    let a_second = (world.requests - before) / 10;
    assert!((50..=450).contains(&a_second), "{a_second} requests a second");
    assert_eq!(world.active(), None, "one of three is no majority");
    world.start(others[0]);
    let ms = world.run_until(2_000, "a leader", |w| w.active().is_some());
    assert!(ms <= 800, "{ms} ms");
    world.run_until(500, "all know all", everybody_knows_all);
}
