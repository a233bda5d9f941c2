//! One conformance suite, the same assertions for every engine that starts clusters: the embedded one with its stores in
//! memory and in files, and Apache Kafka. What the embedded cluster fails and Apache Kafka passes is a bug of the former.
//!
//! Every story is told through librdkafka, and where a client hides what matters through the protocol itself. Stories on
//! Apache Kafka share clusters, one after the other, and are reported as skipped where there is none (which
//! `METRICSTREAM_REQUIRE_ALL` forbids). Why an engine cannot be told a story is said on standard error and in
//! `docs/conformance.md`, which is compared with the list below.

mod admin;
mod clients;
mod cluster;
mod docs;
mod elections;
mod failures;
mod flaws;
mod groups;
mod hostile;
mod isr;
#[path = "../../../cluster/tests/common/librdkafka.rs"]
mod librdkafka;
mod logs;
mod members;
mod on;
mod protocol;
mod records;
mod restarts;
mod sessions;
#[path = "../support/mod.rs"]
mod support;
mod wire;

use cluster::{Cluster, DEADLINE, LOOK};
use on::{Needs, On, Shape, Story, tell};

/// Declares every story once: in which module it is written, on which shape of cluster it is told and what it takes; makes
/// a test of it for each engine and keeps the list for the documents.
macro_rules! stories {
    ($($module:ident = $shape:ident { $($room:ident :: $story:ident $(takes $need:ident)?;)* })*) => {
        pub(crate) const STORIES: &[Story] = &[$($(Story {
            name: stringify!($story),
            shape: Shape::$shape,
            needs: stories!(@ $($need)?),
        },)*)*];

        stories! { @engine memory Memory $($module $shape { $($room :: $story;)* })* }
        stories! { @engine files Files $($module $shape { $($room :: $story;)* })* }
        stories! { @engine kafka Kafka $($module $shape { $($room :: $story;)* })* }
    };
    (@engine $engine:ident $on:ident $($module:ident $shape:ident { $($room:ident :: $story:ident;)* })*) => {
        mod $engine {
            // By shapes: tests run in the order of their names, so that those that can share a cluster do.
            $(mod $module {
                $(#[test]
                fn $story() {
                    crate::tell(crate::On::$on, stringify!($story), crate::$room::$story);
                })*
            })*
        }
    };
    (@) => { Needs::Nothing };
    (@ $need:ident) => { Needs::$need };
}

stories! {
    combined = Combined {
        records::every_acks_and_compression_arrives_once_and_in_order;
        records::keys_headers_and_timestamps_come_back_as_they_were_sent;
        records::metadata_names_every_broker_topic_and_replica;
        records::a_topic_is_made_by_asking_for_it_and_watermarks_and_times_are_told;
        records::a_topic_made_with_settings_of_its_own_keeps_to_them;
        records::a_compacted_topic_says_for_which_record_it_refuses_a_batch;
        records::an_idempotent_producer_goes_through_a_leaders_death_without_loss_or_duplicate;
        protocol::a_duplicate_is_answered_with_its_offset_by_the_next_leader_too;
        protocol::a_fetch_at_the_end_waits_and_is_woken_by_the_next_record;
        protocol::epochs_that_are_fenced_and_epochs_unheard_of_are_refused;
        sessions::a_fetch_session_tells_only_what_is_new_and_refuses_who_is_out_of_turn;
        sessions::a_fetch_session_ends_when_it_is_closed_replaced_or_empty;
        logs::what_is_older_than_the_retention_time_goes_and_what_is_younger_stays;
        logs::what_is_beyond_the_retention_size_goes_from_the_front;
        logs::compaction_keeps_the_last_record_of_every_key_at_its_offset;
        admin::topics_are_created_grown_and_deleted_and_what_cannot_be_is_refused;
        admin::settings_are_described_with_their_source_and_changed;
        admin::records_that_are_deleted_are_gone_for_every_reader;
        groups::a_group_reads_everything_commits_and_its_next_member_goes_on_there;
        groups::a_group_is_listed_with_its_members_and_is_deleted_when_they_are_gone;
        groups::two_members_share_a_topic_and_one_inherits_when_the_other_leaves;
        groups::cooperative_members_share_a_topic_too;
        groups::what_a_member_owned_that_crashed_is_read_by_the_others;
        groups::members_of_the_past_are_fenced;
        groups::a_group_outlives_its_coordinator_with_its_offsets;
        failures::a_leader_is_killed_and_what_was_acknowledged_is_read_from_the_next;
        failures::a_follower_is_killed_and_neither_leader_nor_epoch_changes;
        failures::the_active_controller_is_killed_and_clients_do_not_notice;
        failures::a_quorum_that_is_lost_decides_nothing_and_goes_on_when_it_is_regained;
        failures::a_controlled_shutdown_hands_its_leaderships_over_before_it_ends;
        failures::a_topic_made_and_one_deleted_while_a_broker_is_down_are_so_for_it_too;
        failures::a_leader_on_the_minority_side_of_a_partition_accepts_nothing_that_counts takes Links;
        restarts::a_broker_with_a_new_disk_gets_everything_from_the_others;
        restarts::a_broker_that_lost_its_logs_gets_them_from_the_others;
        hostile::garbage_ends_the_connection_that_sent_it_and_no_other;
        hostile::idle_connections_half_frames_and_a_client_that_never_reads_cost_others_nothing;
    }
    apart = Apart {
        elections::below_min_isr_a_write_is_refused_and_accepted_again_when_a_replica_is_back;
        elections::without_unclean_election_a_partition_waits_for_the_last_of_its_isr;
        elections::with_unclean_election_another_leads_and_the_old_leader_returns_and_truncates;
        isr::an_isr_with_a_replica_of_a_former_life_is_refused;
    }
    kept = Kept {
        restarts::a_whole_cluster_comes_back_from_its_files_with_records_and_offsets takes Files;
    }
    patient = Patient {
        elections::an_isr_shrinks_by_lag_alone_and_grows_when_the_follower_has_caught_up;
    }
}
