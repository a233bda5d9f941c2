//! The steps of the scenario as a live view counts them: done, going on, and to come with the time that is left.

use metricstream_ledger::timeline::{TimelineEvent, What};
use metricstream_scenario::text::sides;
use metricstream_scenario::{Action, Condition, Scenario, When};

use super::lines;
use crate::text::seconds;
use crate::view::Tone;

/// What became of a step.
#[derive(Debug, Clone, PartialEq)]
enum State {
    ToCome,
    Done { at_us: i64, told: String },
    Failed { at_us: i64 },
}

#[derive(Debug, Clone)]
pub(super) struct Step {
    id: String,
    when: When,
    action: Action,
    state: State,
    /// Faults that chaos made so far.
    faults: usize,
}

/// One step as a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) mark: char,
    pub(super) tone: Tone,
    /// The time, on the run's clock.
    pub(super) at: String,
    pub(super) text: String,
    /// It is over.
    pub(super) over: bool,
}

pub(super) fn of(scenario: &Scenario) -> Vec<Step> {
    let mut steps: Vec<Step> = scenario
        .timeline
        .iter()
        .map(|s| Step {
            id: s.id.clone(),
            when: s.when.clone(),
            action: s.action.clone(),
            state: State::ToCome,
            faults: 0,
        })
        .collect();
    // Steps that wait for something stand behind those whose time is known.
    steps.sort_by(|a, b| a.due_s().unwrap_or(f64::MAX).total_cmp(&b.due_s().unwrap_or(f64::MAX)));
    steps
}

pub(super) fn learn(steps: &mut [Step], event: &TimelineEvent, engine: &str) {
    let id = match &event.what {
        What::Fault { id, .. } | What::FaultFailed { id, .. } => id,
        What::Healed { by, .. } => by,
        What::Member { .. } => match &event.cause {
            Some(step) => step,
            None => return,
        },
        _ => return,
    };
    // Chaos names its faults `STEP/1`, `STEP/2`, …
    let (id, part) = id.split_once('/').map_or((id.as_str(), false), |(step, _)| (step, true));
    let Some(step) = steps.iter_mut().find(|step| step.id == id) else { return };
    let at_us = event.at_us;
    if part {
        step.faults += usize::from(matches!(event.what, What::Fault { .. }));
        if step.state == State::ToCome {
            step.state = State::Done { at_us, told: String::new() };
        }
        return;
    }
    step.state = match (&event.what, lines::line(event, engine)) {
        (What::FaultFailed { .. }, _) => State::Failed { at_us },
        (_, line) => State::Done { at_us, told: line.map(|line| line.text).unwrap_or_default() },
    };
}

impl Step {
    /// When it is due by the clock, seconds.
    pub(super) fn due_s(&self) -> Option<f64> {
        match &self.when {
            When::At { at_s } => Some(*at_s),
            When::On { .. } => None,
        }
    }

    pub(super) fn row(&self, now_us: Option<i64>) -> Row {
        let at = |at_us: i64| format!("{:.1}", at_us as f64 / 1e6);
        let over = |mark, tone, at_us, text| Row { mark, tone, at: at(at_us), text, over: true };
        match (&self.state, &self.action) {
            (State::Failed { at_us }, _) => {
                over('✗', Tone::Bad, *at_us, format!("{}: was not carried out", wish(&self.action)))
            }
            (State::Done { .. } | State::ToCome, Action::Chaos { for_s, .. }) => self.chaos(*for_s, now_us),
            (State::Done { at_us, told }, _) => over('✓', Tone::Good, *at_us, told.clone()),
            (State::ToCome, action) => {
                let (at, left) = self.when_text(now_us);
                Row { mark: '·', tone: Tone::Plain, at, text: format!("{}{left}", wish(action)), over: false }
            }
        }
    }

    fn chaos(&self, for_s: f64, now_us: Option<i64>) -> Row {
        let (at, left) = self.when_text(now_us);
        let text = wish(&self.action);
        let since_s = now_us.zip(self.due_s()).map(|(now_us, due_s)| now_us as f64 / 1e6 - due_s);
        let faults = self.faults;
        match since_s {
            Some(since_s) if since_s >= for_s => {
                Row { mark: '✓', tone: Tone::Good, at, text: format!("{text}: {faults} faults"), over: true }
            }
            Some(since_s) if since_s >= 0.0 => {
                let left = seconds(for_s - since_s);
                let text = format!("{text}: {faults} faults so far, {left} left");
                Row { mark: '▸', tone: Tone::Warn, at, text, over: false }
            }
            _ => Row { mark: '·', tone: Tone::Plain, at, text: format!("{text}{left}"), over: false },
        }
    }

    /// The time that is known, and what is left until then.
    fn when_text(&self, now_us: Option<i64>) -> (String, String) {
        match &self.when {
            When::At { at_s } => {
                let left_s = now_us.map(|now_us| at_s - now_us as f64 / 1e6);
                let left = match left_s {
                    Some(left_s) if left_s > 0.0 => format!(" in {}", countdown(left_s)),
                    Some(_) => " now".to_owned(),
                    None => String::new(),
                };
                (format!("{at_s:.1}"), left)
            }
            When::On { condition, after_s, not_before_s, after_step } => {
                let again = if after_step.is_some() { " again" } else { "" };
                let held = format!("{}{again}", condition_text(condition));
                let mut text = if *after_s > 0.0 {
                    format!(", {} after {held}", seconds(*after_s))
                } else {
                    format!(", when {held}")
                };
                if *not_before_s > 0.0 && now_us.is_none_or(|now_us| (now_us as f64) < not_before_s * 1e6) {
                    text += &format!(", not before {}", seconds(*not_before_s));
                }
                ("…".to_owned(), text)
            }
        }
    }
}

/// Whole tenths, so that the digits do not dance.
fn countdown(left_s: f64) -> String {
    format!("{left_s:.1}{}s", crate::text::NO_BREAK)
}

fn wish(action: &Action) -> String {
    match action {
        Action::MemberJoin(member) => format!("{member} joins"),
        Action::MemberLeave(member) => format!("{member} leaves"),
        Action::MemberCrash(member) => format!("{member} crashes"),
        Action::MemberStall { member, for_s } => format!("{member} stalls for {}", seconds(*for_s)),
        Action::Chaos { kinds, for_s, .. } => format!("chaos for {} ({})", seconds(*for_s), kinds.join(", ")),
        Action::Partition { groups } => {
            let ends: Vec<String> = groups.iter().map(|group| sides(group)).collect();
            format!("partition {}", ends.join(" | "))
        }
        Action::SlowLink { between, delay_ms, .. } => format!("slow links {}: {delay_ms} ms", sides(between)),
        Action::Mend { step: Some(step) } => format!("mend {step}"),
        Action::Mend { step: None } => "mend every link".to_owned(),
        Action::StartWiped(target) => format!("start {target} with its partition logs gone"),
        Action::StartReformatted(target) => format!("start {target} on a new disk"),
        other => match other.target() {
            Some(target) => format!("{} {target}", other.word()),
            None => other.word().to_owned(),
        },
    }
}

fn condition_text(condition: &Condition) -> String {
    match condition {
        Condition::IsrFull => "every ISR is full".to_owned(),
        Condition::LeadersKnown => "every partition has a leader".to_owned(),
        Condition::GroupStable { group } => format!("{group} is stable"),
        Condition::StepDone { step } => format!("{step} is done"),
        Condition::Fenced { step } => format!("the victim of {step} is fenced"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metricstream_ledger::timeline::Clock;
    use metricstream_scenario::{builtin, parse};

    fn steps(name: &str) -> Vec<Step> {
        let built_in = builtin::all().iter().find(|one| one.name == name).expect("built in");
        of(&parse(built_in.text).expect("it parses"))
    }

    fn told(what: What, at_s: f64) -> TimelineEvent {
        let at_us = (at_s * 1e6) as i64;
        TimelineEvent { at_us, error_us: 0, clock: Clock::Monotonic, what, cause: None }
    }

    #[test]
    fn a_step_to_come_counts_down_and_one_that_is_done_says_what_was_done() {
        let mut steps = steps("broker-failure");
        let text = |steps: &[Step], now_s: f64| {
            let rows = steps.iter().map(|step| step.row(Some((now_s * 1e6) as i64)));
            rows.map(|r| format!("{} {} {}", r.mark, r.at, r.text).replace('\u{a0}', " ")).collect::<Vec<_>>()
        };
        assert_eq!(text(&steps, 7.5), ["· 10.0 kill broker 2 in 2.5 s", "· 20.0 start broker 2 in 12.5 s"]);
        let what = What::Fault {
            id: "kill-2".into(),
            kind: "kill".into(),
            target: "broker 2".into(),
            nodes: vec![2],
            active_controller: false,
        };
        learn(&mut steps, &told(what, 10.02), "kafka");
        assert_eq!(text(&steps, 20.0), ["✓ 10.0 broker 2 killed (SIGKILL)", "· 20.0 start broker 2 now"]);
        let error = "no".to_owned();
        learn(&mut steps, &told(What::FaultFailed { id: "start-2".into(), error }, 20.1), "kafka");
        assert_eq!(text(&steps, 21.0)[1], "✗ 20.1 start broker 2: was not carried out");
    }

    #[test]
    fn chaos_counts_its_faults() {
        let mut steps = steps("chaos");
        let index = steps.iter().position(|s| matches!(s.action, Action::Chaos { .. })).expect("a step of chaos");
        let id = format!("{}/1", steps[index].id);
        let due_s = steps[index].due_s().expect("at a time");
        let nodes = vec![1];
        let what = What::Fault { id, kind: "pause".into(), target: String::new(), nodes, active_controller: false };
        learn(&mut steps, &told(what, due_s + 1.0), "kafka");
        let row = steps[index].row(Some(((due_s + 2.0) * 1e6) as i64));
        assert!(row.text.contains("1 faults so far"), "{row:?}");
        assert!(!row.over);
    }
}
