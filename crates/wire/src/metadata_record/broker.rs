//! What tells of nodes: brokers come, change, are fenced and go; controllers come.

use crate::primitives::Uuid;

structure! {
    /// A broker came (type 0). Its epoch is the offset of this record.
    RegisterBroker {
        broker_id: i32 [0];
        is_migrating_zk_broker: bool [2];
        incarnation_id: Uuid [0];
        broker_epoch: i64 [0];
        end_points: Vec<BrokerEndpoint> [0];
        features: Vec<BrokerFeature> [0];
        rack: Option<String> [0];
        fenced: bool [0] = true;
        in_controlled_shutdown: bool [1];
        log_dirs: Vec<Uuid> [3 tag 0];
    }
}
structure! {
    /// Where it listens.
    BrokerEndpoint {
        name: String [0];
        host: String [0];
        port: u16 [0];
        security_protocol: i16 [0];
    }
}
structure! {
    /// What it can do.
    BrokerFeature {
        name: String [0];
        min_supported_version: i16 [0];
        max_supported_version: i16 [0];
    }
}
structure! {
    /// A broker was taken out (type 1).
    UnregisterBroker {
        broker_id: i32 [0];
        broker_epoch: i64 [0];
    }
}
structure! {
    /// A broker was fenced (type 7) or unfenced (type 8): the older form.
    FenceBroker {
        id: i32 [0];
        epoch: i64 [0];
    }
}
structure! {
    /// A broker's registration changed (type 17): 1 is yes, −1 is no, 0 leaves it.
    BrokerRegistrationChange {
        broker_id: i32 [0];
        broker_epoch: i64 [0];
        fenced: i8 [0 tag 0];
        in_controlled_shutdown: i8 [1 tag 1];
        log_dirs: Vec<Uuid> [2 tag 2];
    }
}
structure! {
    /// A controller came (type 27).
    RegisterController {
        controller_id: i32 [0];
        incarnation_id: Uuid [0];
        zk_migration_ready: bool [0];
        end_points: Vec<BrokerEndpoint> [0];
        features: Vec<BrokerFeature> [0];
    }
}
