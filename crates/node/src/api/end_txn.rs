//! EndTxn (26), versions 0 to 5: there are no transactions. Not advertised; whoever asks all the same is refused with a fatal
//! error.

use metricstream_wire::ErrorCode;
use metricstream_wire::api::end_txn::{EndTxnRequest, EndTxnResponse};

use crate::node::{Incoming, Node};
use crate::time::Now;

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    if node.body::<EndTxnRequest>(now, &mut incoming).is_none() {
        return;
    }
    let error_code = ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED.0;
    node.respond::<EndTxnRequest>(&incoming.to, &EndTxnResponse { error_code, ..EndTxnResponse::default() });
}
