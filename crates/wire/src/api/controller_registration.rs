//! ControllerRegistration (70): a controller makes itself known to the active one (KIP-919). Version 0.

use super::broker_registration::{RegistrationFeature, RegistrationListener};
use crate::primitives::Uuid;

structure! {
    /// The request.
    ControllerRegistrationRequest {
        controller_id: i32 [0];
        incarnation_id: Uuid [0];
        zk_migration_ready: bool [0];
        listeners: Vec<RegistrationListener> [0];
        features: Vec<RegistrationFeature> [0];
    }
}
structure! {
    /// The answer.
    ControllerRegistrationResponse {
        throttle_time_ms: i32 [0];
        error_code: i16 [0];
        error_message: Option<String> [0];
    }
}
api!(70, versions 0 to 0, flexible 0, ControllerRegistrationRequest, ControllerRegistrationResponse);
