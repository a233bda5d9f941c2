//! OffsetCommit (8), versions 2 to 9 as Apache Kafka 4.1 advertises them. Missing: version 10 (topics by id), throttling.

use metricstream_wire::api::offset_commit::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};

use crate::group::{GroupRequest, NewOffset, OffsetCommit, OffsetCommitAnswer};

/// From the wire.
#[must_use]
pub(crate) fn decode(request: OffsetCommitRequest, version: i16) -> GroupRequest {
    let offsets = |topic: metricstream_wire::api::offset_commit::OffsetCommitRequestTopic| {
        let each = topic.partitions.into_iter().map(|p| NewOffset {
            partition: p.partition_index,
            offset: p.committed_offset,
            leader_epoch: p.committed_leader_epoch,
            metadata: p.committed_metadata.unwrap_or_default(),
        });
        (topic.name, each.collect())
    };
    GroupRequest::OffsetCommit(OffsetCommit {
        group_id: request.group_id,
        generation_or_member_epoch: request.generation_id_or_member_epoch,
        member_id: request.member_id,
        instance_id: request.group_instance_id,
        retention_time_ms: Some(request.retention_time_ms).filter(|ms| version <= 4 && *ms >= 0),
        knows_member_epochs: version >= 9,
        topics: request.topics.into_iter().map(offsets).collect(),
    })
}

/// To the wire.
#[must_use]
pub(crate) fn encode(answer: OffsetCommitAnswer, _version: i16) -> OffsetCommitResponse {
    let topic = |(name, partitions): (String, Vec<(i32, metricstream_wire::ErrorCode)>)| {
        let each = |(partition_index, error): (i32, metricstream_wire::ErrorCode)| OffsetCommitResponsePartition {
            partition_index,
            error_code: error.0,
        };
        OffsetCommitResponseTopic { name, topic_id: [0; 16], partitions: partitions.into_iter().map(each).collect() }
    };
    OffsetCommitResponse { throttle_time_ms: 0, topics: answer.topics.into_iter().map(topic).collect() }
}
