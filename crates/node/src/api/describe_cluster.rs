//! DescribeCluster (60), versions 0 to 2: brokers through their listener, controllers through theirs (KIP-919). Rights are not
//! told, since there are none.

use metricstream_wire::ErrorCode;
use metricstream_wire::api::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};

use super::metadata::told_controller;
use crate::io::Listener;
use crate::node::{BROKER_LISTENER, Incoming, Node};
use crate::time::Now;

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let Some(body) = node.body::<DescribeClusterRequest>(now, &mut incoming) else { return };
    let own = if incoming.listener == Listener::Broker { BROKERS } else { CONTROLLERS };
    let mut answer = DescribeClusterResponse {
        endpoint_type: own,
        cluster_id: node.config.cluster_id.clone(),
        ..DescribeClusterResponse::default()
    };
    let wanted = body.endpoint_type;
    if wanted != own {
        let known = [BROKERS, CONTROLLERS].contains(&wanted);
        let error = if known { ErrorCode::MISMATCHED_ENDPOINT_TYPE } else { ErrorCode::UNSUPPORTED_ENDPOINT_TYPE };
        answer.error_code = error.0;
        answer.error_message = Some(format!("this is an endpoint of type {own}, and type {wanted} was asked for"));
    } else if own == CONTROLLERS {
        answer.controller_id = node.controller().unwrap_or(-1);
        answer.brokers = controllers(node);
    } else {
        answer.controller_id = told_controller(node);
        answer.brokers = brokers(node, body.include_fenced_brokers);
    }
    node.respond::<DescribeClusterRequest>(&incoming.to, &answer);
}

fn brokers(node: &Node, with_fenced: bool) -> Vec<DescribeClusterBroker> {
    let chosen = node.image.brokers.values().filter(|b| with_fenced || !b.fenced);
    chosen
        .filter_map(|b| {
            let at = b.endpoints.iter().find(|e| e.name == BROKER_LISTENER)?;
            Some(DescribeClusterBroker {
                broker_id: b.id,
                host: at.host.clone(),
                port: i32::from(at.port),
                rack: b.rack.clone(),
                is_fenced: b.fenced,
            })
        })
        .collect()
}

fn controllers(node: &Node) -> Vec<DescribeClusterBroker> {
    let one = |voter: &crate::config::Voter| DescribeClusterBroker {
        broker_id: voter.id,
        host: voter.at.host.clone(),
        port: i32::from(voter.at.port),
        ..DescribeClusterBroker::default()
    };
    node.config.voters.iter().map(one).collect()
}
