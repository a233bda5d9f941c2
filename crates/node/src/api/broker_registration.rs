//! BrokerRegistration (62), versions 0 to 4: a broker makes itself known to the active controller (KIP-631).

use bytes::Bytes;
use metricstream_wire::api::broker_registration::{
    BrokerRegistrationRequest, BrokerRegistrationResponse, RegistrationFeature, RegistrationListener,
};
use metricstream_wire::{ErrorCode, Uuid, frame};

use super::note_broker;
use crate::config::NodeConfig;
use crate::controller::{FEATURES, Registration};
use crate::image::Endpoint;
use crate::node::BROKER_LISTENER;
use crate::node::{Incoming, Node};
use crate::time::Now;

const VERSION: i16 = 4;

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let Some(body) = node.body::<BrokerRegistrationRequest>(now, &mut incoming) else { return };
    note_broker(node, &incoming.to, body.broker_id);
    let wish = Registration {
        broker: body.broker_id,
        cluster_id: body.cluster_id,
        incarnation: body.incarnation_id,
        endpoints: body
            .listeners
            .into_iter()
            .map(|l| Endpoint { name: l.name, host: l.host, port: l.port, security_protocol: l.security_protocol })
            .collect(),
        rack: body.rack,
        features: body
            .features
            .into_iter()
            .map(|f| (f.name, f.min_supported_version, f.max_supported_version))
            .collect(),
        directories: body.log_dirs,
        previous_epoch: body.previous_broker_epoch,
    };
    let (cluster_id, next) = (node.config.cluster_id.clone(), node.next_metadata_offset());
    let decision = node.active().and_then(|c| c.register_broker(&wish, &cluster_id, next, now));
    let to = incoming.to;
    let answer = move |node: &mut Node, _: Now, result: Result<i64, ErrorCode>| {
        let body = BrokerRegistrationResponse {
            error_code: super::code(&result),
            broker_epoch: result.unwrap_or(-1),
            ..BrokerRegistrationResponse::default()
        };
        node.respond::<BrokerRegistrationRequest>(&to, &body);
    };
    match decision {
        Ok(decision) => node.decided(now, decision, answer),
        Err(error) => answer(node, now, Err(error)),
    }
}

/// This broker's own registration.
pub(crate) fn frame(config: &NodeConfig, directory: Uuid, previous_epoch: i64) -> impl FnOnce(i32) -> Bytes {
    let listener = config.broker_listener.iter().map(|at| RegistrationListener {
        name: BROKER_LISTENER.to_owned(),
        host: at.host.clone(),
        port: at.port,
        security_protocol: 0,
    });
    let feature = |(name, level): &(&str, i16)| RegistrationFeature {
        name: (*name).to_owned(),
        min_supported_version: if *name == "metadata.version" { *level } else { 0 },
        max_supported_version: *level,
    };
    let body = BrokerRegistrationRequest {
        broker_id: config.node_id,
        cluster_id: config.cluster_id.clone(),
        incarnation_id: config.incarnation,
        listeners: listener.collect(),
        features: FEATURES.iter().map(feature).collect(),
        rack: config.rack.clone(),
        log_dirs: vec![directory],
        previous_broker_epoch: previous_epoch,
        ..BrokerRegistrationRequest::default()
    };
    let client_id = config.node_id.to_string();
    move |correlation| frame::request(&body, VERSION, correlation, &client_id).expect("a version that is declared")
}

/// The epoch that this broker got.
pub(crate) fn read_answer(bytes: Bytes) -> Result<i64, ErrorCode> {
    let (_, body) =
        frame::response::<BrokerRegistrationRequest>(bytes, VERSION).map_err(|_| ErrorCode::UNKNOWN_SERVER_ERROR)?;
    if body.error_code == 0 { Ok(body.broker_epoch) } else { Err(ErrorCode(body.error_code)) }
}
