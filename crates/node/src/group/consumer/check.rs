//! Whether a ConsumerGroupHeartbeat can be one at all.

use metricstream_wire::ErrorCode;

use super::{LEAVES, LEAVES_FOR_A_WHILE};
use crate::config::Settings;
use crate::group::assignor;
use crate::group::messages::{ConsumerGroupHeartbeat, ConsumerGroupHeartbeatAnswer};

/// As Kafka's `throwIfConsumerGroupHeartbeatRequestIsInvalid`.
pub(in crate::group) fn check_heartbeat(
    beat: &ConsumerGroupHeartbeat,
    settings: &Settings,
) -> Result<(), ConsumerGroupHeartbeatAnswer> {
    let invalid = |why: &str| Err(ConsumerGroupHeartbeatAnswer::refused(ErrorCode::INVALID_REQUEST, why));
    let is_blank = |text: &Option<String>| text.as_ref().is_some_and(|t| t.trim().is_empty());
    if beat.group_id.trim().is_empty() {
        return invalid("GroupId can't be empty.");
    }
    if beat.member_id.is_empty() && (beat.member_chooses_id || beat.member_epoch != 0) {
        return invalid("MemberId can't be empty.");
    }
    if is_blank(&beat.instance_id) {
        return invalid("InstanceId can't be empty.");
    }
    if is_blank(&beat.rack_id) {
        return invalid("RackId can't be empty.");
    }
    match beat.member_epoch {
        0 if beat.rebalance_timeout_ms.is_none() => {
            return invalid("RebalanceTimeoutMs must be provided in first request.");
        }
        0 if !beat.owned.as_ref().is_some_and(Vec::is_empty) => {
            return invalid("TopicPartitions must be empty when (re-)joining.");
        }
        0 if beat.subscribed_topics.is_none() && beat.subscribed_regex.is_none() => {
            return invalid("Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.");
        }
        LEAVES_FOR_A_WHILE if beat.instance_id.is_none() => {
            return invalid("InstanceId can't be null.");
        }
        epoch if epoch < LEAVES_FOR_A_WHILE => return invalid("MemberEpoch is invalid."),
        LEAVES | LEAVES_FOR_A_WHILE => return Ok(()),
        _ => {}
    }
    if beat.subscribed_regex.as_ref().is_some_and(|regex| !regex.is_empty()) {
        let why = "Subscriptions by regular expression are not supported here; subscribe by names.";
        return Err(ConsumerGroupHeartbeatAnswer::refused(ErrorCode::INVALID_REGULAR_EXPRESSION, why));
    }
    if let Some(name) = &beat.server_assignor
        && !assignor::configured(settings).contains(&name.as_str())
    {
        let why = format!(
            "ServerAssignor {name} is not supported. Supported assignors: {}.",
            settings.group_consumer_assignors
        );
        return Err(ConsumerGroupHeartbeatAnswer::refused(ErrorCode::UNSUPPORTED_ASSIGNOR, &why));
    }
    Ok(())
}
