//! What only the metadata log tells exactly. Where it was not read and metadata was polled instead, values that promise
//! to be exact are withheld: what was seen stays in the rows of `isr`, each with its clock and error.

use metricstream_scenario::measures::Measure;

use crate::measure::Measured;

/// Takes out of what was measured everything that promises to be exact; says so with the reason `why`.
pub(crate) fn withhold(mut measured: Measured, why: &str) -> Measured {
    for row in &mut measured.failovers {
        row.elected_s = None;
        row.fenced_s = None;
        // The first acknowledgement after an election that nobody can date.
        row.first_ack_s = None;
        row.predicted = None;
        row.predicted_max_s = None;
    }
    for row in &mut measured.recovery {
        row.unfenced_s = None;
        row.caught_up_s = None;
        row.isr_full_s = None;
    }
    for row in &mut measured.unavailability {
        row.held_s = None;
    }
    measured.isr_outages.clear();
    let told = measured.isr.len();
    measured.not_measured.extend([
        format!("failovers.elected_s, fenced_s, first_ack_s, recovery.unfenced_s, caught_up_s, isr_full_s: {why}"),
        format!("unavailability.held_s, timer: {why}"),
        format!("isr_outages: {why}; the {told} rows of isr are what was seen, each with its error"),
    ]);
    measured
}

/// Whether a measure is answered from what the controller committed, and when.
pub(crate) const fn rests_on_the_log(measure: Measure) -> bool {
    matches!(
        measure,
        Measure::Fenced
            | Measure::ElectionStart
            | Measure::NewLeaders
            | Measure::IsrBefore
            | Measure::IsrDuring
            | Measure::IsrAfter
            | Measure::CaughtUp
            | Measure::IsrFull
            | Measure::AllNormal
            | Measure::LeadersDistinct
            | Measure::OnlyLeader
            | Measure::LeaderlessPartitions
            | Measure::DeadLeaderPartitions
            | Measure::UncleanElections
            | Measure::ControllerChanged
            | Measure::ControllerFailover
            | Measure::QuorumAvailable
    )
}
