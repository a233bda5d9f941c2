//! What classic members put into their opaque metadata (`ConsumerProtocolSubscription`, any version). A coordinator looks at
//! it only to know which topics a group reads, for the retention and deletion of its offsets.

use bytes::Bytes;
use metricstream_wire::api::consumer_protocol::{ConsumerProtocolSubscription, Embedded as _};

/// The topics of a subscription; `None` if it is none.
#[must_use]
pub(crate) fn subscribed_topics(metadata: &Bytes) -> Option<Vec<String>> {
    ConsumerProtocolSubscription::from_bytes(metadata.clone()).ok().map(|subscription| subscription.topics)
}
