//! Historic behaviours of Kafka and seeded bugs, as values: off by default, switched on to show what they cost, so that
//! what is tested is what ships. Whoever shows a node's state names those that are on.

macro_rules! flaws {
    ($($(#[doc = $doc:literal])* $name:ident = $word:literal;)*) => {
        /// Which flaws a node has.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Flaws { $($(#[doc = $doc])* pub $name: bool,)* }

        impl Flaws {
            /// Every flaw's word, with what it does.
            pub const ALL: &'static [(&'static str, &'static str)] = &[$(($word, concat!($($doc),*)),)*];

            /// Switches one on by its word; false where there is none of that name.
            pub fn switch_on(&mut self, word: &str) -> bool {
                match word { $($word => self.$name = true,)* _ => return false }
                true
            }

            /// The words of those that are on.
            #[must_use]
            pub fn on(&self) -> Vec<&'static str> {
                let mut on = Vec::new();
                $(if self.$name { on.push($word); })*
                on
            }
        }
    };
}

flaws! {
    /// A restarted follower cuts its log at its high watermark (before KIP-101): a committed record can be dropped.
    truncate_to_high_watermark = "truncate-to-high-watermark";
    /// A follower compares its own last epoch with a new leader's log once, takes the leader's offset for the common end, and
    /// then fetches without comparing (before KIP-279): a fast double failover diverges.
    truncate_once_by_own_epoch = "truncate-once-by-own-epoch";
    /// A leader answers and counts fetches from old leader epochs, without comparing histories (before KIP-320): a zombie can
    /// be counted as in sync.
    unfenced_fetch = "unfenced-fetch";
    /// A follower joins the ISR below the start of the leader's epoch.
    join_isr_below_epoch_start = "join-isr-below-epoch-start";
    /// The high watermark follows the committed ISR only, while a larger one is being proposed (before KIP-497).
    no_maximal_isr = "no-maximal-isr";
    /// A replica that shuts down may rejoin the ISR (before KIP-841).
    rejoin_while_shutting_down = "rejoin-while-shutting-down";
    /// The controller does not compare broker epochs in AlterPartition (before KIP-903): a swapped disk counts as in sync.
    ignore_broker_epoch = "ignore-broker-epoch";
    /// The last replica standing may be elected after an unclean shutdown, and the high watermark advances below
    /// min.insync.replicas (before KIP-966).
    last_replica_standing = "last-replica-standing";
    /// The controller may elect the last known leader though it is fenced (KAFKA-19522).
    elect_the_dead = "elect-the-dead";
    /// A leader of the quorum does not resign without a majority (before KAFKA-15489).
    no_check_quorum = "no-check-quorum";
    /// A voter that lost its leader raises the epoch at once (before KIP-996).
    no_pre_vote = "no-pre-vote";
    /// A member's partitions are given away before it has let them go (KAFKA-16147).
    double_ownership = "double-ownership";
    /// Seeded: acks=all is acknowledged before followers have it.
    acknowledge_before_replication = "acknowledge-before-replication";
    /// Seeded: a batch that was appended already is appended again.
    forget_deduplication = "forget-deduplication";
    /// Seeded: a new leader forgets its last batch.
    truncate_below_high_watermark = "truncate-below-high-watermark";
    /// Seeded: consumers read up to the log's end and not to the high watermark.
    read_uncommitted_tail = "read-uncommitted-tail";
    /// Seeded: a committed group offset is forgotten when its coordinator moves.
    forget_group_offsets = "forget-group-offsets";
    /// Seeded: a fetch may leave out a batch.
    skip_a_batch = "skip-a-batch";
    /// Seeded: the acknowledgement names another offset than the log's.
    wrong_ack_offset = "wrong-ack-offset";
    /// Seeded: a batch that was appended may be answered as refused.
    refuse_after_append = "refuse-after-append";
    /// Seeded: a leader may change a value when it appends it.
    change_a_value = "change-a-value";
    /// Seeded: a group is told to go on behind what it has committed.
    begin_beyond_commit = "begin-beyond-commit";
    /// Seeded: a leader may put two records of a batch in the other order when it appends it.
    swap_records = "swap-records";
    /// Seeded: the controller gives a new leader the epoch of the one before, but for internal topics.
    elect_in_the_old_epoch = "elect-in-the-old-epoch";
}

#[cfg(test)]
mod tests {
    use super::Flaws;

    #[test]
    fn every_flaw_is_off_until_it_is_switched_on_by_its_word() {
        assert!(Flaws::default().on().is_empty());
        for (word, what) in Flaws::ALL {
            let mut flaws = Flaws::default();
            assert!(flaws.switch_on(word) && !what.is_empty());
            assert_eq!(flaws.on(), [*word]);
        }
        assert!(!Flaws::default().switch_on("no-such-flaw"));
    }
}
