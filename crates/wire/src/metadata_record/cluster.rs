//! What tells of the cluster as a whole: configurations, features, blocks of producer ids; and what the controller says
//! of its own log: bounds of transactions, and nothing at all.

structure! {
    /// One configuration of a resource was set (type 4); no value removes it.
    Config {
        resource_type: i8 [0];
        resource_name: String [0];
        name: String [0];
        value: Option<String> [0];
    }
}
structure! {
    /// The level of a feature was finalised (type 12); 0 takes it away (KIP-584).
    FeatureLevel {
        name: String [0];
        feature_level: i16 [0];
    }
}
structure! {
    /// A block of producer ids was given to a broker (type 15; KIP-730).
    ProducerIds {
        broker_id: i32 [0];
        broker_epoch: i64 [0] = -1;
        next_producer_id: i64 [0];
    }
}
structure! {
    /// Nothing changed (type 20): the log moves, so that its high watermark and clock are seen to (KIP-835).
    NoOp {}
}
structure! {
    /// Records that belong together begin (type 23; KIP-868).
    BeginTransaction {
        name: Option<String> [0 tag 0];
    }
}
structure! {
    /// They end, and count (type 24).
    EndTransaction {}
}
structure! {
    /// They are void (type 25).
    AbortTransaction {
        reason: Option<String> [0 tag 0];
    }
}
