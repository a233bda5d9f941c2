//! The words for faults, healing, fencing and members.

use crate::tally::nodes;

/// `broker 2 killed (SIGKILL), as leader of metrics-0`.
pub(crate) fn fault(kind: &str, target: &str, ids: &[i32], active_controller: bool, engine: &str) -> String {
    let who = nodes(ids);
    // Links have two ends: what a partition resolved to, or which links are slow and how.
    match kind {
        "partition" => {
            let ends = target.split_once(" = ").map_or(target, |(_, ends)| ends);
            let active = if active_controller { "; the active controller is among them" } else { "" };
            return format!("{who} cut off: {ends}{active}");
        }
        "slow-link" => return format!("slow links between {target}"),
        _ => {}
    }
    let mut text = format!("{who} {}", done(kind, engine));
    // What the scenario names, where that is more than the node itself: `leader of metrics-0 = broker 2`.
    let named = target.split(" = ").next().unwrap_or_default().trim();
    let only_the_node = ids.len() == 1 && named == who || named == format!("broker {}", ids.first().unwrap_or(&-1));
    if !named.is_empty() && !only_the_node {
        text += &format!(", as {named}");
    }
    // "As active controller" says it already.
    if active_controller && named != "active controller" {
        text +=
            if ids.len() == 1 { "; it was the active controller" } else { "; one of them was the active controller" };
    }
    text
}

/// `broker 2 started`; `by` is a step or `settle`.
pub(crate) fn healed(kind: &str, by: &str, ids: &[i32], engine: &str) -> String {
    if kind == "mend-slow" {
        return "links are as quick again as they were".to_owned();
    }
    let settle = if by == "settle" { " by the run itself, to settle" } else { "" };
    format!("{} {}{settle}", nodes(ids), done(kind, engine))
}

/// Whether a note only tells that the process ended that a fault was to end: the fault is told as well, and says more.
pub(crate) fn tells_expected_end(note: &str) -> bool {
    note.strip_prefix("node ")
        .and_then(|rest| rest.split_once(' '))
        .is_some_and(|(_, what)| what.starts_with("ended: "))
}

fn done(kind: &str, engine: &str) -> String {
    // Elsewhere a fault is the engine's equal of the signal.
    let processes = engine == "kafka";
    let (done, signal) = match kind {
        "kill" => ("killed", "SIGKILL"),
        "stop" => ("stopped", "SIGTERM"),
        "pause" => ("paused", "SIGSTOP"),
        "resume" => ("resumed", "SIGCONT"),
        "isolate" => ("cut off", ""),
        "mend" => ("reachable again", ""),
        "start" => ("started", ""),
        "start-wiped" => ("started with its partition logs gone", ""),
        "start-reformatted" => ("started on a new disk", ""),
        other => (other, ""),
    };
    if processes && !signal.is_empty() { format!("{done} ({signal})") } else { done.to_owned() }
}

/// Why a broker was fenced. `is_step`: the cause names a step of the scenario rather than a timer.
pub(crate) fn fenced_cause(cause: &str, is_step: bool) -> String {
    if is_step { format!(", after {cause}") } else { format!(": {cause}") }
}

/// `joins`, `leaves`, …
pub(crate) fn member_change(change: &str) -> &str {
    match change {
        "join" => "joins",
        "leave" => "leaves",
        "crash" => "crashes (SIGKILL)",
        "stall" => "stalls in one poll",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_once() {
        assert_eq!(fault("kill", "broker 2", &[2], false, "kafka"), "broker 2 killed (SIGKILL)");
        assert_eq!(
            fault("kill", "leader of metrics-0 = broker 2", &[2], true, "kafka"),
            "broker 2 killed (SIGKILL), as leader of metrics-0; it was the active controller"
        );
        assert_eq!(
            fault("pause", "active controller = controller 101", &[101], true, "sim"),
            "controller 101 paused, as active controller"
        );
        assert_eq!(
            fault("pause", "followers of metrics-0 = brokers 1, 3", &[1, 3], false, "kafka"),
            "brokers 1,3 paused (SIGSTOP), as followers of metrics-0"
        );
        assert_eq!(
            fault("pause", "followers of metrics-0", &[2, 3], true, "kafka"),
            "brokers 2,3 paused (SIGSTOP), as followers of metrics-0; one of them was the active controller"
        );
        assert_eq!(
            fault(
                "partition",
                "broker 1, clients | others = broker 1 + clients | brokers 2,3",
                &[1],
                false,
                "embedded"
            ),
            "broker 1 cut off: broker 1 + clients | brokers 2,3"
        );
        assert_eq!(
            fault("slow-link", "broker 1, broker 2: 2 ms", &[1, 2], false, "embedded"),
            "slow links between broker 1, broker 2: 2 ms"
        );
        assert_eq!(fault("flood", "", &[], false, "kafka"), "no node flood");
    }

    #[test]
    fn healing_names_who_did_it() {
        assert_eq!(healed("start", "start-2", &[2], "kafka"), "broker 2 started");
        assert_eq!(healed("mend", "mend-1", &[1], "embedded"), "broker 1 reachable again");
        assert_eq!(
            healed("resume", "settle", &[1], "kafka"),
            "broker 1 resumed (SIGCONT) by the run itself, to settle"
        );
    }
}
