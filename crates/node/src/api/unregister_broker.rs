//! UnregisterBroker (64), version 0: a broker that will not come back is taken out; one that lives registers again. A broker
//! passes it on; the active controller answers when it is committed.

use metricstream_wire::ErrorCode;
use metricstream_wire::api::unregister_broker::{UnregisterBrokerRequest, UnregisterBrokerResponse};

use crate::node::{Incoming, Node};
use crate::time::Now;

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let Some(body) = node.body::<UnregisterBrokerRequest>(now, &mut incoming) else { return };
    let decision = node.active().and_then(|controller| controller.unregister_broker(body.broker_id));
    let to = incoming.to;
    let answer = move |node: &mut Node, _: Now, result: Result<(), ErrorCode>| {
        let body = UnregisterBrokerResponse {
            error_code: super::code(&result),
            error_message: result.err().map(|error| error.to_string()),
            ..UnregisterBrokerResponse::default()
        };
        node.respond::<UnregisterBrokerRequest>(&to, &body);
    };
    match decision {
        Ok(decision) => node.decided(now, decision, answer),
        Err(error) => answer(node, now, Err(error)),
    }
}
