//! Envelope (58): a request that a broker forwards to the controller for a client, header and all (KIP-590). Version 0.

use bytes::Bytes;

structure! {
    /// The request: the client's, from its header on, and who the client is.
    EnvelopeRequest {
        request_data: Bytes [0];
        request_principal: Option<Bytes> [0];
        client_host_address: Bytes [0];
    }
}
structure! {
    /// The answer: the client's, from its header on; null if the envelope itself was refused.
    EnvelopeResponse {
        response_data: Option<Bytes> [0];
        error_code: i16 [0];
    }
}
api!(58, versions 0 to 0, flexible 0, EnvelopeRequest, EnvelopeResponse);
