//! What a delivery report means for the ledger: ok, fail or unknown, as Jepsen names them.

use metricstream_ledger::sample::SendEnd;

use crate::native::Persistence;

/// The three-valued outcome of one send.
///
/// librdkafka keeps, over all attempts of a message, whether it may have been written, and never takes that back; so
/// its word is better than the last error. Without acknowledgements nothing is ever known.
pub(super) const fn classify(acks_none: bool, fate: Persistence, reported_error: bool) -> SendEnd {
    if acks_none {
        return SendEnd::Unknown;
    }
    match (fate, reported_error) {
        (Persistence::Persisted, _) => SendEnd::Acked,
        (Persistence::Not, true) => SendEnd::Failed,
        // No error and not persisted is a report that contradicts itself: nothing follows from it.
        (Persistence::Possibly, _) | (Persistence::Not, false) => SendEnd::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_definite_only_where_it_is() {
        use Persistence::{Not, Persisted, Possibly};
        let table = [
            (false, Persisted, false, SendEnd::Acked),
            (false, Persisted, true, SendEnd::Acked),
            (false, Possibly, true, SendEnd::Unknown),
            (false, Possibly, false, SendEnd::Unknown),
            (false, Not, true, SendEnd::Failed),
            (false, Not, false, SendEnd::Unknown),
            (true, Persisted, false, SendEnd::Unknown),
            (true, Possibly, false, SendEnd::Unknown),
            (true, Not, true, SendEnd::Unknown),
        ];
        for (acks_none, fate, error, wanted) in table {
            assert_eq!(classify(acks_none, fate, error), wanted, "{acks_none} {fate:?} {error}");
        }
    }
}
