//! OffsetDelete (47), version 0. Missing: throttling.

use metricstream_wire::ErrorCode;
use metricstream_wire::api::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};

use crate::group::{GroupRequest, OffsetDelete, OffsetDeleteAnswer};

/// From the wire.
#[must_use]
pub(crate) fn decode(request: OffsetDeleteRequest, _version: i16) -> GroupRequest {
    let topic = |t: metricstream_wire::api::offset_delete::OffsetDeleteRequestTopic| {
        (t.name, t.partitions.into_iter().map(|p| p.partition_index).collect())
    };
    let topics = request.topics.into_iter().map(topic).collect();
    GroupRequest::OffsetDelete(OffsetDelete { group_id: request.group_id, topics })
}

/// To the wire.
#[must_use]
pub(crate) fn encode(answer: OffsetDeleteAnswer, _version: i16) -> OffsetDeleteResponse {
    let topic = |(name, partitions): (String, Vec<(i32, ErrorCode)>)| {
        let each = |(partition_index, error): (i32, ErrorCode)| OffsetDeleteResponsePartition {
            partition_index,
            error_code: error.0,
        };
        OffsetDeleteResponseTopic { name, partitions: partitions.into_iter().map(each).collect() }
    };
    OffsetDeleteResponse {
        error_code: answer.error.0,
        throttle_time_ms: 0,
        topics: answer.topics.into_iter().map(topic).collect(),
    }
}
