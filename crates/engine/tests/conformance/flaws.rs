//! That the assertions bite: on a cluster with a flaw switched on, the story that looks for it fails.

use crate::on::must_fail;

/// Tests of which each names a flaw and the story that must notice it.
macro_rules! noticed {
    ($($test:ident: $flaw:literal by $room:ident :: $story:ident;)*) => {
        $(#[test]
        fn $test() {
            must_fail($flaw, stringify!($story), crate::$room::$story);
        })*
    };
}

noticed! {
    a_batch_that_is_appended_again: "forget-deduplication"
        by protocol::a_duplicate_is_answered_with_its_offset_by_the_next_leader_too;
    an_acknowledgement_before_replication: "acknowledge-before-replication"
        by failures::a_quorum_that_is_lost_decides_nothing_and_goes_on_when_it_is_regained;
    an_acknowledgement_of_another_offset: "wrong-ack-offset"
        by records::an_idempotent_producer_goes_through_a_leaders_death_without_loss_or_duplicate;
    offsets_that_are_forgotten_with_their_coordinator: "forget-group-offsets"
        by groups::a_group_outlives_its_coordinator_with_its_offsets;
    fetches_of_old_epochs_that_are_answered: "unfenced-fetch"
        by protocol::epochs_that_are_fenced_and_epochs_unheard_of_are_refused;
}
