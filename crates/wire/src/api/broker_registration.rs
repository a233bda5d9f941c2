//! BrokerRegistration (62): a broker comes to the controller and is given its epoch (KIP-631). Versions 0 to 4: log
//! directories from 2 on (KIP-858), the epoch before from 3 on (KIP-966), features whose least level is 0 from 4 on
//! (KAFKA-17011).

use crate::primitives::Uuid;

structure! {
    /// The request.
    BrokerRegistrationRequest {
        broker_id: i32 [0];
        cluster_id: String [0];
        incarnation_id: Uuid [0];
        listeners: Vec<RegistrationListener> [0];
        features: Vec<RegistrationFeature> [0];
        rack: Option<String> [0];
        is_migrating_zk_broker: bool [1];
        log_dirs: Vec<Uuid> [2];
        previous_broker_epoch: i64 [3] = -1;
    }
}
structure! {
    /// Where a broker or controller listens.
    RegistrationListener {
        name: String [0];
        host: String [0];
        port: u16 [0];
        security_protocol: i16 [0];
    }
}
structure! {
    /// Which levels of a feature it supports.
    RegistrationFeature {
        name: String [0];
        min_supported_version: i16 [0];
        max_supported_version: i16 [0];
    }
}
structure! {
    /// The answer.
    BrokerRegistrationResponse {
        throttle_time_ms: i32 [0];
        error_code: i16 [0];
        broker_epoch: i64 [0] = -1;
    }
}
api!(62, versions 0 to 4, flexible 0, BrokerRegistrationRequest, BrokerRegistrationResponse);
