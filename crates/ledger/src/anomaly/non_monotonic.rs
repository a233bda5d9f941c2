//! Non-monotonic poll: a member is given an offset at or below its last one without seek or rebalance. The position is
//! kept by `group`.

use crate::accounting::Findings;
use crate::anomaly::{AnomalyKind, violation_if};
use crate::ledger::View;
use crate::reasons::counted;

pub(crate) fn judge(view: &View<'_>, out: &mut Findings<'_>) {
    for (place, group, state) in view.group_places() {
        let (guaranteed, why) = view.guarantee.committed(place.tp);
        let at = (place.tp, Some(group));
        out.report(AnomalyKind::NonMonotonicPoll, at, &state.backwards, violation_if(guaranteed), || {
            format!(
                "{} at or below the member's position ({why})",
                counted(state.backwards.count, "offset came", "offsets came")
            )
        });
    }
}
