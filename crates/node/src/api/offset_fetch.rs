//! OffsetFetch (9), versions 1 to 9 as Apache Kafka 4.1 advertises them; of one group until 7, of several from 8 on.
//! Missing: version 10 (topics by id), throttling. `require_stable` never has to wait: there are no transactions yet.

use metricstream_wire::api::offset_fetch::{
    OffsetFetchRequest, OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};

use crate::group::{FetchedOffset, GroupRequest, OffsetFetch, OffsetFetchGroup, OffsetFetchGroupAnswer};

/// From the wire.
#[must_use]
pub(crate) fn decode(request: OffsetFetchRequest, version: i16) -> GroupRequest {
    let groups = if version < 8 {
        let topics = request.topics.map(|ts| ts.into_iter().map(|t| (t.name, t.partition_indexes)).collect());
        vec![OffsetFetchGroup { group_id: request.group_id, member_id: None, member_epoch: -1, topics }]
    } else {
        let group = |g: metricstream_wire::api::offset_fetch::OffsetFetchRequestGroup| OffsetFetchGroup {
            group_id: g.group_id,
            member_id: g.member_id,
            member_epoch: g.member_epoch,
            topics: g.topics.map(|ts| ts.into_iter().map(|t| (t.name, t.partition_indexes)).collect()),
        };
        request.groups.into_iter().map(group).collect()
    };
    GroupRequest::OffsetFetch(OffsetFetch { groups, require_stable: request.require_stable })
}

/// To the wire. Version 1 has an error only in the partitions, the later ones in the group as well.
#[must_use]
pub(crate) fn encode(groups: Vec<OffsetFetchGroupAnswer>, version: i16) -> OffsetFetchResponse {
    let mut response = OffsetFetchResponse::default();
    if version >= 8 {
        response.groups = groups.into_iter().map(group).collect();
    } else if let Some(only) = groups.into_iter().next() {
        response.error_code = only.error.0;
        let topic = |(name, offsets): (String, Vec<FetchedOffset>)| OffsetFetchResponseTopic {
            name,
            partitions: offsets.into_iter().map(old_partition).collect(),
        };
        response.topics = only.topics.into_iter().map(topic).collect();
    }
    response
}

fn old_partition(offset: FetchedOffset) -> OffsetFetchResponsePartition {
    OffsetFetchResponsePartition {
        partition_index: offset.partition,
        committed_offset: offset.offset,
        committed_leader_epoch: offset.leader_epoch,
        metadata: Some(offset.metadata),
        error_code: offset.error.0,
    }
}

fn group(group: OffsetFetchGroupAnswer) -> OffsetFetchResponseGroup {
    let partition = |offset: FetchedOffset| OffsetFetchResponsePartitions {
        partition_index: offset.partition,
        committed_offset: offset.offset,
        committed_leader_epoch: offset.leader_epoch,
        metadata: Some(offset.metadata),
        error_code: offset.error.0,
    };
    let topic = |(name, offsets): (String, Vec<FetchedOffset>)| OffsetFetchResponseTopics {
        name,
        topic_id: [0; 16],
        partitions: offsets.into_iter().map(partition).collect(),
    };
    // A group that failed as a whole says so once.
    let topics = if group.error.is_none() { group.topics } else { Vec::new() };
    OffsetFetchResponseGroup {
        group_id: group.group_id,
        topics: topics.into_iter().map(topic).collect(),
        error_code: group.error.0,
    }
}
