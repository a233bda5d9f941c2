//! AddOffsetsToTxn (25), versions 0 to 4: there are no transactions. Not advertised; whoever asks all the same is refused with a fatal
//! error.

use metricstream_wire::ErrorCode;
use metricstream_wire::api::add_offsets_to_txn::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};

use crate::node::{Incoming, Node};
use crate::time::Now;

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    if node.body::<AddOffsetsToTxnRequest>(now, &mut incoming).is_none() {
        return;
    }
    let error_code = ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED.0;
    node.respond::<AddOffsetsToTxnRequest>(
        &incoming.to,
        &AddOffsetsToTxnResponse { error_code, ..AddOffsetsToTxnResponse::default() },
    );
}
