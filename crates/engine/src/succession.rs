//! A voter of the metadata quorum that comes back on a new disk: it starts only once the others follow another leader.
//!
//! Its own vote and log are gone, but the others may still take it for the leader that it was. Apache Kafka's nodes end
//! with an error when they are told that they lead an epoch that they know nothing of; and one that remembers nothing can
//! make up a majority with a voter that lacks what the lost disk had committed. Who is asked, and how, is all that lives here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metricstream_wire::api::fetch::{FetchPartition, FetchRequest, FetchTopic, LeaderIdAndEpoch};
use tokio::sync::mpsc;

use crate::client::{ClientError, Connection};
use crate::observation::{Observation, Observed};
use crate::observer::{METADATA_FETCH_VERSION, METADATA_TOPIC_ID};

/// How long another leader is waited for: some elections, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);
const AGAIN: Duration = Duration::from_millis(50);
const CONNECT: Duration = Duration::from_millis(500);
const ANSWER: Duration = Duration::from_millis(1_500);

/// The voters of a cluster, and which of them wait for their start on a new disk.
#[derive(Debug)]
pub(crate) struct Succession {
    voters: BTreeMap<i32, SocketAddr>,
    renewing: Mutex<Renewing>,
    deadline: Duration,
}

#[derive(Debug, Default)]
struct Renewing {
    ids: BTreeSet<i32>,
    /// How often it was all of them: then nobody remembers anything, and there is nothing to wait for.
    all: u64,
}

/// One that waits; if nobody waits for it any more, it does not either.
struct Waiting<'a> {
    of: &'a Succession,
    id: i32,
    all_before: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.of.lock().ids.remove(&self.id);
    }
}

impl Waiting<'_> {
    /// Whether every voter has been about to start on a new disk, this one among them.
    fn all_are_new(&self) -> bool {
        self.of.lock().all > self.all_before
    }
}

impl Succession {
    pub(crate) fn new(voters: impl IntoIterator<Item = (i32, SocketAddr)>) -> Self {
        Self { voters: voters.into_iter().collect(), renewing: Mutex::default(), deadline: DEADLINE }
    }

    fn lock(&self) -> MutexGuard<'_, Renewing> {
        self.renewing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, id: i32) -> Waiting<'_> {
        let mut renewing = self.lock();
        let all_before = renewing.all;
        renewing.ids.insert(id);
        if self.voters.keys().all(|voter| renewing.ids.contains(voter)) {
            renewing.all += 1;
            renewing.ids.clear();
        }
        Waiting { of: self, id, all_before }
    }

    /// Waits until every other voter that runs follows one and the same leader that is not `id`; not at all where `id` does
    /// not vote or no other voter has its old disk. At the deadline it is over all the same, and that is told to `seen`.
    pub(crate) async fn wait(&self, id: i32, runs: impl Fn(i32) -> bool, seen: &mpsc::Sender<Observation>) {
        if !self.voters.contains_key(&id) {
            return;
        }
        let (waiting, since, mut told) = (self.enter(id), Instant::now(), false);
        while !waiting.all_are_new() {
            let Err(why) = self.successor_of(id, &runs).await else { return };
            let most_s = self.deadline.as_secs_f64();
            let tell = |text: String| {
                // A reader that does not keep up must not hold the fault up.
                let _ = seen.try_send(Observation::now(Observed::Note(text)));
            };
            if since.elapsed() >= self.deadline {
                return tell(format!(
                    "node {id} starts on its new disk though the other voters have elected no other leader within \
                     {most_s:.0} s ({why}): what only its old disk had committed may be lost"
                ));
            }
            if !std::mem::replace(&mut told, true) {
                tell(format!(
                    "node {id} waits, {most_s:.0} s at most, for the other voters to follow another leader before it \
                     starts on its new disk ({why})"
                ));
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Whether all others that run name the same leader, another than `of` and one of themselves; else why not.
    async fn successor_of(&self, of: i32, runs: impl Fn(i32) -> bool) -> Result<(), String> {
        let others: Vec<(i32, SocketAddr)> =
            self.voters.iter().map(|(id, at)| (*id, *at)).filter(|(id, _)| *id != of && runs(*id)).collect();
        let mut named = None::<(i32, LeaderIdAndEpoch)>;
        for (id, at) in &others {
            let leader = leader_known_to(*at).await.map_err(|error| format!("node {id}: {error}"))?;
            match (leader.leader_id, leader.leader_epoch) {
                (-1, epoch) => return Err(format!("node {id} knows no leader of epoch {epoch}")),
                (known, epoch) if known == of => return Err(format!("node {id} still follows it in epoch {epoch}")),
                (known, epoch) if !others.iter().any(|(other, _)| *other == known) => {
                    return Err(format!("node {id} follows node {known} in epoch {epoch}, which does not run"));
                }
                _ => {}
            }
            match &named {
                Some((other, before)) if *before != leader => {
                    return Err(format!("nodes {other} and {id} follow different leaders"));
                }
                _ => named = Some((*id, leader)),
            }
        }
        named.map(|_| ()).ok_or_else(|| "none of them runs".to_owned())
    }
}

/// Whom a voter takes for the leader, and of which epoch. It says so in its answer to a fetch that names an epoch before
/// its own (KIP-595), whether it leads or not; DescribeQuorum is answered by the leader alone.
async fn leader_known_to(voter: SocketAddr) -> Result<LeaderIdAndEpoch, ClientError> {
    let partition = FetchPartition { current_leader_epoch: 0, last_fetched_epoch: 0, ..FetchPartition::default() };
    let topic = FetchTopic { topic_id: METADATA_TOPIC_ID, partitions: vec![partition], ..FetchTopic::default() };
    let request = FetchRequest { topics: vec![topic], ..FetchRequest::default() };
    let answer = Connection::open(voter, CONNECT).await?.call(&request, METADATA_FETCH_VERSION, ANSWER).await?;
    let partition = answer.responses.into_iter().next().and_then(|topic| topic.partitions.into_iter().next());
    Ok(partition.map(|partition| partition.current_leader).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use metricstream_wire::api::fetch::{FetchResponse, FetchableTopicResponse, PartitionData};
    use metricstream_wire::frame;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Two voters beside the one that comes back, and whom they follow, in which epoch.
    struct Others {
        follow: Arc<Mutex<[(i32, i32); 2]>>,
        succession: Succession,
    }

    impl Others {
        async fn that_follow(first: (i32, i32), second: (i32, i32), deadline: Duration) -> Self {
            let follow = Arc::new(Mutex::new([first, second]));
            let mut voters = BTreeMap::from([(1, SocketAddr::from((Ipv4Addr::LOCALHOST, 1)))]);
            for index in 0..2 {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
                voters.insert(2 + i32::try_from(index).expect("small"), listener.local_addr().expect("bound"));
                tokio::spawn(answer(listener, Arc::clone(&follow), index));
            }
            Self { follow, succession: Succession { deadline, ..Succession::new(voters) } }
        }
    }

    /// Answers each connection's one fetch as a voter does that is asked in epoch 0.
    async fn answer(listener: TcpListener, follow: Arc<Mutex<[(i32, i32); 2]>>, index: usize) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; usize::try_from(stream.read_i32().await.expect("a length")).expect("a length")];
            stream.read_exact(&mut request).await.expect("a request");
            let correlation_id = i32::from_be_bytes(request[4..8].try_into().expect("four bytes"));
            let (leader_id, leader_epoch) = follow.lock().expect("unpoisoned")[index];
            let current_leader = LeaderIdAndEpoch { leader_id, leader_epoch };
            let partitions = vec![PartitionData { error_code: 74, current_leader, ..PartitionData::default() }];
            let topic = FetchableTopicResponse { topic_id: METADATA_TOPIC_ID, partitions, ..Default::default() };
            let body = FetchResponse { responses: vec![topic], ..FetchResponse::default() };
            let bytes = frame::response_bytes::<FetchRequest>(&body, METADATA_FETCH_VERSION, correlation_id);
            stream.write_all(&bytes.expect("an answer")).await.expect("sent");
        }
    }

    fn note(heard: &mut mpsc::Receiver<Observation>) -> Option<String> {
        match heard.try_recv().ok()?.what {
            Observed::Note(text) => Some(text),
            other => panic!("{other:?}"),
        }
    }

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn the_leader_that_was_comes_back_when_all_others_follow_one_of_themselves() {
        let (seen, mut heard) = mpsc::channel(8);
        let others = Others::that_follow((1, 4), (1, 4), LONG).await;
        {
            let wait = others.succession.wait(1, |_| true, &seen);
            tokio::pin!(wait);
            for (follow, why) in [
                ([(1, 4), (1, 4)], "node 2 still follows it in epoch 4"),
                ([(2, 5), (1, 4)], "node 3 still follows it in epoch 4"),
                ([(-1, 5), (2, 5)], "node 2 knows no leader of epoch 5"),
                ([(3, 5), (2, 6)], "nodes 2 and 3 follow different leaders"),
            ] {
                *others.follow.lock().expect("unpoisoned") = follow;
                let judged = others.succession.successor_of(1, |_| true).await;
                assert_eq!(judged.expect_err("no successor"), why);
                assert!(tokio::time::timeout(Duration::from_millis(120), &mut wait).await.is_err(), "{why}");
            }
            *others.follow.lock().expect("unpoisoned") = [(3, 6), (3, 6)];
            wait.await;
        }
        let told = note(&mut heard).expect("that it waits");
        assert!(told.contains("node 1 waits, 60 s at most") && told.contains("(node 2 still follows it"), "{told}");
        assert_eq!(note(&mut heard), None, "it is told once");
        others.succession.wait(1, |_| true, &seen).await;
        assert_eq!(note(&mut heard), None, "who was no leader waits for nothing");
    }

    #[tokio::test]
    async fn where_nobody_is_elected_it_starts_at_the_deadline_and_says_so() {
        let (seen, mut heard) = mpsc::channel(8);
        let others = Others::that_follow((3, 4), (3, 4), SHORT).await;
        for (runs, why) in [(vec![2], "follows node 3 in epoch 4, which does not run"), (vec![], "none of them runs")] {
            let since = Instant::now();
            others.succession.wait(1, |id| runs.contains(&id), &seen).await;
            assert!(since.elapsed() >= SHORT);
            assert!(note(&mut heard).is_some_and(|text| text.contains("waits") && text.contains(why)));
            let told = note(&mut heard).expect("that it is over");
            assert!(told.contains("elected no other leader within 0 s") && told.contains(why), "{told}");
        }
    }

    #[tokio::test]
    async fn nothing_is_waited_for_by_a_single_voter_one_that_does_not_vote_or_all_at_once() {
        let (seen, mut heard) = mpsc::channel(8);
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        Succession::new([(1, at)]).wait(1, |_| true, &seen).await;
        let three = Succession { deadline: LONG, ..Succession::new([(1, at), (2, at), (3, at)]) };
        three.wait(7, |_| true, &seen).await;
        assert_eq!(note(&mut heard), None);
        let nobody = |_| false;
        tokio::join!(three.wait(1, nobody, &seen), three.wait(2, nobody, &seen), three.wait(3, nobody, &seen));
        // One that is not waited for any more does not count as one of all.
        let gone = tokio::time::timeout(Duration::from_millis(1), three.wait(1, nobody, &seen)).await;
        assert!(gone.is_err());
        let two = async { tokio::join!(three.wait(2, nobody, &seen), three.wait(3, nobody, &seen)) };
        assert!(tokio::time::timeout(Duration::from_millis(120), two).await.is_err());
    }
}
