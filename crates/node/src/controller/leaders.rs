//! Who leads a partition and who is in sync: the rules by which the controller changes one partition (KIP-966: eligible
//! leader replicas; KIP-497: ISR changes through the controller). A pure function from a partition and a wish to a record.

use metricstream_wire::metadata_record::PartitionChange;

use crate::flaws::Flaws;
use crate::image::{NO_LEADER, Partition, PartitionId};

/// What kind of leader may be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Election {
    /// The leader stays if it can, else another that has everything committed.
    Online,
    /// The preferred replica, if it can.
    Preferred,
    /// Anybody, if nobody else can: committed records may be lost.
    Unclean,
}

/// A change of one partition in the making.
pub(crate) struct Change<'a> {
    id: PartitionId,
    now: &'a Partition,
    acceptable: &'a dyn Fn(i32) -> bool,
    flaws: &'a Flaws,
    min_isr: usize,
    elr_enabled: bool,
    election: Election,
    isr: Vec<i32>,
    elr: Vec<i32>,
    unclean_shutdown: Option<i32>,
    recovering: bool,
}

impl<'a> Change<'a> {
    /// Begins with the partition as it is; `acceptable` says who may lead at all.
    pub(crate) fn of(
        id: PartitionId,
        now: &'a Partition,
        min_isr: i32,
        elr_enabled: bool,
        flaws: &'a Flaws,
        acceptable: &'a dyn Fn(i32) -> bool,
    ) -> Self {
        Self {
            id,
            now,
            acceptable,
            flaws,
            min_isr: usize::try_from(min_isr).unwrap_or(1).min(now.replicas.len()),
            elr_enabled: elr_enabled && !flaws.last_replica_standing,
            election: Election::Online,
            isr: now.isr.clone(),
            elr: now.elr.clone(),
            unclean_shutdown: None,
            recovering: now.recovering,
        }
    }

    pub(crate) fn election(mut self, election: Election) -> Self {
        self.election = election;
        self
    }

    /// The ISR that is wanted.
    pub(crate) fn isr(mut self, isr: Vec<i32>) -> Self {
        self.isr = isr;
        self
    }

    /// A broker leaves the ISR.
    pub(crate) fn without(mut self, broker: i32) -> Self {
        self.isr.retain(|r| *r != broker);
        self
    }

    /// A broker came back without having shut down in order: it may have lost what it acknowledged, so it is neither in
    /// sync nor eligible.
    pub(crate) fn unclean_shutdown(mut self, broker: i32) -> Self {
        self.isr.retain(|r| *r != broker);
        self.unclean_shutdown = Some(broker);
        self
    }

    /// The leader has recovered from an unclean election.
    pub(crate) fn recovered(mut self, recovered: bool) -> Self {
        self.recovering &= !recovered;
        self
    }

    /// The record, or `None` where nothing changes.
    pub(crate) fn build(mut self) -> Option<PartitionChange> {
        if self.isr.is_empty() && !self.elr_enabled {
            // Without eligible replicas the last member stays in the ISR, so that somebody can be elected later.
            self.isr.clone_from(&self.now.isr);
        }
        self.populate_elr();
        let leader = self.elect();
        let mut record = PartitionChange { partition_id: self.id.1, topic_id: self.id.0, ..PartitionChange::default() };
        if leader != self.now.leader {
            record.leader = leader;
        }
        let changed = |target: &Vec<i32>, now: &Vec<i32>| (target != now).then(|| target.clone());
        record.isr = changed(&self.isr, &self.now.isr);
        record.eligible_leader_replicas = changed(&self.elr, &self.now.elr);
        if self.recovering != self.now.recovering {
            record.leader_recovery_state = i8::from(self.recovering);
        }
        record.last_known_elr = self.last_known(leader);
        let same = PartitionChange { partition_id: self.id.1, topic_id: self.id.0, ..PartitionChange::default() };
        (record != same).then_some(record)
    }

    /// Members that leave the ISR while it is too small stay eligible: they have everything that was committed, since
    /// nothing can be committed below min.insync.replicas.
    fn populate_elr(&mut self) {
        if !self.elr_enabled || self.isr.len() >= self.min_isr {
            self.elr.clear();
            return;
        }
        let candidates = self.now.elr.iter().chain(&self.now.isr).copied();
        let mut elr: Vec<i32> = Vec::new();
        for replica in candidates {
            let lost = self.unclean_shutdown == Some(replica);
            if !lost && !self.isr.contains(&replica) && !elr.contains(&replica) && self.now.replicas.contains(&replica)
            {
                elr.push(replica);
            }
        }
        self.elr = elr;
    }

    fn elect(&mut self) -> i32 {
        if let Some(leader) = self.clean_leader() {
            if !self.isr.contains(&leader) {
                self.isr = vec![leader];
                self.elr.retain(|r| *r != leader);
            }
            return leader;
        }
        let unclean = self.last_known_leader().or_else(|| {
            let any = self.now.replicas.iter().copied().find(|r| (self.acceptable)(*r));
            any.filter(|_| self.election == Election::Unclean)
        });
        let Some(leader) = unclean else { return NO_LEADER };
        self.isr = vec![leader];
        self.elr.clear();
        self.recovering = true;
        leader
    }

    fn clean_leader(&self) -> Option<i32> {
        let preferred = self.now.preferred();
        if self.election == Election::Preferred && self.is_valid(preferred) {
            return Some(preferred);
        }
        if self.is_valid(self.now.leader) {
            return Some(self.now.leader);
        }
        let in_isr = self.now.replicas.iter().copied().find(|r| self.isr.contains(r) && self.is_valid(*r));
        in_isr.or_else(|| self.now.replicas.iter().copied().find(|r| self.is_valid(*r)))
    }

    fn is_valid(&self, replica: i32) -> bool {
        // Eligible replicas are for when nobody is in sync: else members would leave the ISR for one of them.
        let eligible = self.elr_enabled && self.isr.is_empty() && self.elr.contains(&replica);
        let complete = self.isr.contains(&replica) || eligible;
        replica != NO_LEADER && complete && (self.acceptable)(replica)
    }

    /// When ISR and ELR are empty the last leader may be elected if it comes back: the most complete log there is, though
    /// nobody can vouch for it.
    fn last_known_leader(&self) -> Option<i32> {
        let allowed = self.elr_enabled && self.isr.is_empty() && self.elr.is_empty();
        match self.now.last_known_elr[..] {
            [leader] if allowed && ((self.acceptable)(leader) || self.flaws.elect_the_dead) => Some(leader),
            _ => None,
        }
    }

    /// Who led last, kept while nobody does.
    fn last_known(&self, leader: i32) -> Option<Vec<i32>> {
        if !self.elr_enabled {
            return None;
        }
        let known = &self.now.last_known_elr;
        if leader == NO_LEADER {
            let first = self.isr.is_empty() && self.now.leader != NO_LEADER && known[..] != [self.now.leader];
            return first.then(|| vec![self.now.leader]);
        }
        (!known.is_empty()).then(Vec::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(replicas: &[i32], isr: &[i32], leader: i32) -> Partition {
        Partition { replicas: replicas.into(), isr: isr.into(), leader, ..Partition::default() }
    }

    /// Applies a change and draws the partition: `leader isr elr`.
    fn drawn(now: &Partition, record: Option<PartitionChange>) -> String {
        let mut p = now.clone();
        if let Some(r) = record {
            p.isr = r.isr.unwrap_or(p.isr);
            p.elr = r.eligible_leader_replicas.unwrap_or(p.elr);
            p.last_known_elr = r.last_known_elr.unwrap_or(p.last_known_elr);
            if r.leader != PartitionChange::SAME_LEADER {
                p.leader = r.leader;
            }
            if r.leader_recovery_state >= 0 {
                p.recovering = r.leader_recovery_state == 1;
            }
        }
        let recovering = if p.recovering { " recovering" } else { "" };
        format!("{} {:?} {:?} {:?}{recovering}", p.leader, p.isr, p.elr, p.last_known_elr)
    }

    #[test]
    fn a_golden_table_of_elections() {
        let flaws = Flaws::default();
        let full = partition(&[2, 1, 3], &[2, 1, 3], 2);
        let two = partition(&[2, 1, 3], &[1, 3], 1);
        let one = Partition { elr: vec![1], ..partition(&[2, 1, 3], &[3], 3) };
        let none = Partition { elr: vec![1, 3], last_known_elr: vec![3], ..partition(&[2, 1, 3], &[], NO_LEADER) };
        let lost = Partition { last_known_elr: vec![3], ..partition(&[2, 1, 3], &[], NO_LEADER) };
        let all = |_: i32| true;
        let not = |id: i32| move |r: i32| r != id;
        macro_rules! row {
            ($p:expr, $ok:expr, $($wish:ident($($arg:expr)?)).*, $want:expr) => {{
                let ok = $ok;
                let record = Change::of(([0; 16], 0), &$p, 2, true, &flaws, &ok).$($wish($($arg)?)).*.build();
                assert_eq!(drawn(&$p, record), $want, stringify!($($wish($($arg)?)).*));
            }};
        }
        row!(full, not(2), without(2), "1 [1, 3] [] []");
        row!(full, not(1), without(1), "2 [2, 3] [] []");
        row!(two, not(1), without(1), "3 [3] [1] []");
        row!(one, not(3), without(3), "1 [1] [3] []");
        row!(one, |_| false, without(3), "-1 [] [1, 3] [3]");
        row!(none, |r| r == 2, election(Election::Online), "-1 [] [1, 3] [3]");
        row!(none, |r| r == 1, election(Election::Online), "1 [1] [3] []");
        row!(none, |r| r == 2, election(Election::Unclean), "2 [2] [] [] recovering");
        row!(none, |_| false, unclean_shutdown(1), "-1 [] [3] [3]");
        row!(lost, |r| r == 3, election(Election::Online), "3 [3] [] [] recovering");
        row!(lost, |r| r == 1, election(Election::Online), "-1 [] [] [3]");
        row!(two, all, election(Election::Preferred), "1 [1, 3] [] []");
        let eligible = Partition { elr: vec![2], ..partition(&[2, 1, 3], &[3], 3) };
        row!(eligible, all, election(Election::Preferred), "3 [3] [2] []");
        let moved = partition(&[2, 1, 3], &[1, 3, 2], 1);
        row!(moved, all, election(Election::Preferred), "2 [1, 3, 2] [] []");
        row!(moved, all, election(Election::Online), "1 [1, 3, 2] [] []");
    }

    #[test]
    fn without_eligible_replicas_the_last_member_stays_in_the_isr() {
        let flaws = Flaws::default();
        let last = partition(&[1, 2], &[2], 2);
        let record = Change::of(([0; 16], 0), &last, 1, false, &flaws, &|_| false).without(2).build();
        assert_eq!(drawn(&last, record), "-1 [2] [] []");
    }
}
