//! One event of the timeline as one line, while the run goes on: what a pipe and the live view's tail show.

use metricstream_ledger::timeline::{TimelineEvent, What};

use crate::story::words;
use crate::tally::{nodes, shared_topic, short_assignment};
use crate::text::{clean, ids};
use crate::view::Tone;

/// What a line says, and whether it is good or bad news.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Good, bad or neither.
    pub tone: Tone,
    /// Without control characters, of any length.
    pub text: String,
}

/// The line of an event; `None` for what only the files need. `engine` is the engine's name, which decides how faults
/// are called.
#[must_use]
pub fn line(event: &TimelineEvent, engine: &str) -> Option<Line> {
    let (tone, text) = match &event.what {
        What::ClusterReady { bootstrap, took_ms } => {
            let took_s = *took_ms as f64 / 1e3;
            (Tone::Good, format!("cluster ready after {took_s:.1} s at {bootstrap}; load starts"))
        }
        What::Phase { name } => (Tone::Faint, format!("phase: {name}")),
        What::Fault { kind, target, nodes, active_controller, .. } => {
            (Tone::Bad, words::fault(kind, target, nodes, *active_controller, engine))
        }
        What::Healed { by, kind, nodes, .. } => (Tone::Good, words::healed(kind, by, nodes, engine)),
        What::FaultFailed { id, error } => (Tone::Bad, format!("step {id} was not carried out: {error}")),
        What::BrokerFenced { broker, .. } => (Tone::Warn, format!("{} fenced", nodes(&[*broker]))),
        What::BrokerUnfenced { broker, .. } => (Tone::Good, format!("{} unfenced", nodes(&[*broker]))),
        What::BrokerShuttingDown { broker, .. } => (Tone::Plain, format!("{} shuts down in order", nodes(&[*broker]))),
        What::Controller { node, epoch } => {
            (Tone::Plain, format!("{} is the active controller (epoch {epoch})", nodes(&[*node])))
        }
        What::Partition(p) if !p.topic.starts_with("__") => {
            let leader = if p.leader < 0 { "none".to_owned() } else { p.leader.to_string() };
            let tone = if p.leader < 0 { Tone::Bad } else { Tone::Plain };
            let epoch = p.leader_epoch;
            (tone, format!("{}-{}: leader {leader} (epoch {epoch}), ISR {}", p.topic, p.partition, ids(&p.isr)))
        }
        What::TopicDeleted { topic } => (Tone::Bad, format!("topic {topic} is gone")),
        What::Assignment { group, member, partitions, .. } => {
            (Tone::Plain, format!("{group}/{member} owns {}", owned(partitions)))
        }
        What::Member { group, member, change } => {
            (Tone::Plain, format!("{group}/{member} {}", words::member_change(change)))
        }
        // The fault that ended it has a line of its own, which may come later than this.
        What::Note { text } if words::tells_expected_end(text) => return None,
        What::Note { text } => (Tone::Plain, text.clone()),
        _ => return None,
    };
    Some(Line { tone, text: clean(&text) })
}

/// `metrics [0,1,2]`: a topic that all share is said once.
fn owned(partitions: &[String]) -> String {
    let shared = shared_topic(partitions.iter());
    let list = short_assignment(partitions, shared);
    shared.map_or_else(|| list.clone(), |topic| format!("{topic} {list}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use metricstream_ledger::timeline::Clock;

    fn text(what: What) -> Option<String> {
        line(&TimelineEvent { at_us: 0, error_us: 0, clock: Clock::Monotonic, what, cause: None }, "kafka")
            .map(|line| line.text)
    }

    #[test]
    fn faults_and_their_healing_are_told_in_words() {
        let (id, nodes) = ("kill-2".to_owned(), vec![2]);
        let kill = What::Fault {
            id: id.clone(),
            kind: "kill".into(),
            target: "broker 2".into(),
            nodes: nodes.clone(),
            active_controller: true,
        };
        assert_eq!(text(kill).unwrap(), "broker 2 killed (SIGKILL); it was the active controller");
        let start = What::Healed { id, by: "start-2".into(), kind: "start".into(), nodes };
        assert_eq!(text(start).unwrap(), "broker 2 started");
    }

    #[test]
    fn the_end_of_a_node_is_told_where_no_fault_tells_it() {
        let ended = |how: &str| text(What::Note { text: format!("node 2 {how}: signal: 9 (SIGKILL)") });
        assert_eq!(ended("ended"), None, "the fault says it");
        assert_eq!(ended("ended by itself").unwrap(), "node 2 ended by itself: signal: 9 (SIGKILL)");
    }

    #[test]
    fn an_assignment_says_a_shared_topic_once() {
        let owns = |names: &[&str]| {
            let partitions = names.iter().map(|name| (*name).to_owned()).collect();
            text(What::Assignment { group: "g".into(), member: "A".into(), generation: 1, partitions }).unwrap()
        };
        assert_eq!(owns(&["metrics-10", "metrics-2"]), "g/A owns metrics [2,10]");
        assert_eq!(owns(&["metrics-0", "logs-0"]), "g/A owns [logs-0,metrics-0]");
        assert_eq!(owns(&[]), "g/A owns []");
    }

    #[test]
    fn text_from_outside_cannot_move_the_cursor_and_what_files_need_is_left_to_them() {
        assert_eq!(text(What::Note { text: "a\u{1b}[2Jb\nc".into() }).unwrap(), "a[2Jb c");
        assert_eq!(text(What::BrokerRegistered { broker: 1, broker_epoch: 3 }), None);
    }
}
