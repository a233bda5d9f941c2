//! Which steps of a timeline break nodes, and the scenario that is left without them.

use std::collections::BTreeSet;

use crate::load_time::DEFAULT_DURATION_S;
use crate::model::{Action, Condition, Scenario, Step, When};

impl Action {
    /// Whether it breaks or mends a node or a link, and so needs an engine that can. What members do is not among it.
    pub const fn is_fault(&self) -> bool {
        match self {
            Self::Kill(_)
            | Self::Stop(_)
            | Self::Pause(_)
            | Self::Resume(_)
            | Self::Start(_)
            | Self::StartWiped(_)
            | Self::StartReformatted(_)
            | Self::Chaos { .. } => true,
            _ if self.is_of_links() => true,
            _ => false,
        }
    }

    /// Whether it slows, cuts or mends links, and so needs an engine that can.
    pub const fn is_of_links(&self) -> bool {
        matches!(self, Self::Partition { .. } | Self::Isolate { .. } | Self::SlowLink { .. } | Self::Mend { .. })
    }

    /// Whether it takes nodes away: ends them, has them stand still, or cuts them off.
    pub const fn takes_nodes_away(&self) -> bool {
        matches!(self, Self::Kill(_) | Self::Stop(_) | Self::Pause(_) | Self::Partition { .. } | Self::Isolate { .. })
    }
}

impl Scenario {
    /// The steps that are faults.
    pub fn faults(&self) -> impl Iterator<Item = &Step> {
        self.timeline.iter().filter(|step| step.action.is_fault())
    }

    /// Takes the faults out of the timeline, and with them every step that waits for one of those; returns their ids in
    /// the order of the timeline. Claims about them stay. Where no step is left, load has a duration.
    pub fn take_faults_out(&mut self) -> Vec<String> {
        let mut out: BTreeSet<String> = self.faults().map(|step| step.id.clone()).collect();
        loop {
            let waits = self.timeline.iter().filter(|step| !out.contains(&step.id));
            let more: Vec<String> =
                waits.filter(|step| waits_for(step).any(|id| out.contains(id))).map(|step| step.id.clone()).collect();
            if more.is_empty() {
                break;
            }
            out.extend(more);
        }
        let (left_out, kept) = std::mem::take(&mut self.timeline).into_iter().partition(|step| out.contains(&step.id));
        self.timeline = kept;
        if self.timeline.is_empty() {
            self.workload.duration_s.get_or_insert(DEFAULT_DURATION_S);
        }
        let left_out: Vec<Step> = left_out;
        left_out.into_iter().map(|step| step.id).collect()
    }
}

/// The steps that a step waits for.
fn waits_for(step: &Step) -> impl Iterator<Item = &String> {
    let (after, of_condition) = match &step.when {
        When::At { .. } => (None, None),
        When::On { condition, after_step, .. } => {
            let of_condition = match condition {
                Condition::StepDone { step } | Condition::Fenced { step } => Some(step),
                Condition::IsrFull | Condition::LeadersKnown | Condition::GroupStable { .. } => None,
            };
            (after_step.as_ref(), of_condition)
        }
    };
    after.into_iter().chain(of_condition)
}

#[cfg(test)]
mod tests {
    use crate::builtin;

    fn builtin(name: &str) -> crate::Scenario {
        let text = builtin::all().iter().find(|one| one.name == name).expect("built in").text;
        crate::parse(text).unwrap_or_else(|errors| panic!("{errors}"))
    }

    #[test]
    fn without_its_faults_a_scenario_keeps_load_members_and_claims() {
        let mut scenario = builtin("broker-failure");
        let claims = scenario.claims.len();
        assert_eq!(scenario.faults().count(), 2);
        assert_eq!(scenario.take_faults_out(), ["kill-2", "start-2"]);
        assert!(scenario.timeline.is_empty());
        assert_eq!((scenario.claims.len(), scenario.take_faults_out()), (claims, Vec::new()));
        let mut members = builtin("group-rebalance");
        let steps = members.timeline.len();
        assert_eq!((members.take_faults_out(), members.timeline.len()), (Vec::new(), steps));
    }

    #[test]
    fn what_waits_for_a_fault_goes_with_it_however_far_it_is_from_it() {
        let text = "name = 'x'\n\
            [[timeline]]\nid = 'k'\nat_s = 1\ndo = 'kill'\ntarget = 'broker 2'\n\
            [[timeline]]\nid = 'join'\non = 'fenced k'\ndo = 'member-join'\nmember = 'B'\n\
            [[timeline]]\nid = 'leave'\non = 'step-done join'\ndo = 'member-leave'\nmember = 'B'\n\
            [[timeline]]\nid = 'own'\nat_s = 3\ndo = 'member-join'\nmember = 'C'\n";
        let mut scenario = crate::parse(text).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(scenario.take_faults_out(), ["k", "join", "leave"]);
        assert_eq!(scenario.timeline.iter().map(|step| step.id.as_str()).collect::<Vec<_>>(), ["own"]);
    }
}
