//! The records of `__cluster_metadata`, as Kafka 4.1's `metadata` module declares them, as far as they tell of brokers,
//! topics and partitions. A record of another type is [`MetadataRecord::Other`].

use bytes::Bytes;

use crate::primitives::{Context, Reader, Uuid, Wire, WireError};

structure! {
    /// A broker came (type 0). Its epoch is the offset of this record.
    RegisterBroker {
        broker_id: i32 [0];
        is_migrating_zk_broker: bool [2];
        incarnation_id: Uuid [0];
        broker_epoch: i64 [0];
        end_points: Vec<BrokerEndpoint> [0];
        features: Vec<BrokerFeature> [0];
        rack: Option<String> [0];
        fenced: bool [0] = true;
        in_controlled_shutdown: bool [1];
        log_dirs: Vec<Uuid> [3 tag 0];
    }
}
structure! {
    /// Where it listens.
    BrokerEndpoint {
        name: String [0];
        host: String [0];
        port: u16 [0];
        security_protocol: i16 [0];
    }
}
structure! {
    /// What it can do.
    BrokerFeature {
        name: String [0];
        min_supported_version: i16 [0];
        max_supported_version: i16 [0];
    }
}
structure! {
    /// A broker was taken out (type 1).
    UnregisterBroker {
        broker_id: i32 [0];
        broker_epoch: i64 [0];
    }
}
structure! {
    /// A topic came (type 2).
    Topic {
        name: String [0];
        topic_id: Uuid [0];
    }
}
structure! {
    /// A partition came (type 3).
    Partition {
        partition_id: i32 [0] = -1;
        topic_id: Uuid [0];
        replicas: Vec<i32> [0];
        isr: Vec<i32> [0];
        removing_replicas: Vec<i32> [0];
        adding_replicas: Vec<i32> [0];
        leader: i32 [0] = -1;
        leader_recovery_state: i8 [0 tag 0];
        leader_epoch: i32 [0] = -1;
        partition_epoch: i32 [0] = -1;
        directories: Vec<Uuid> [1];
        eligible_leader_replicas: Option<Vec<i32>> [2 tag 1];
        last_known_elr: Option<Vec<i32>> [2 tag 2];
    }
}
structure! {
    /// A partition changed (type 5); what is null stays. Leader −2 stays too; any other raises the leader epoch. The
    /// partition epoch always rises.
    PartitionChange {
        partition_id: i32 [0] = -1;
        topic_id: Uuid [0];
        isr: Option<Vec<i32>> [0 tag 0];
        leader: i32 [0 tag 1] = PartitionChange::SAME_LEADER;
        replicas: Option<Vec<i32>> [0 tag 2];
        removing_replicas: Option<Vec<i32>> [0 tag 3];
        adding_replicas: Option<Vec<i32>> [0 tag 4];
        leader_recovery_state: i8 [0 tag 5] = -1;
        eligible_leader_replicas: Option<Vec<i32>> [2 tag 6];
        last_known_elr: Option<Vec<i32>> [2 tag 7];
        directories: Option<Vec<Uuid>> [1 tag 8];
    }
}
structure! {
    /// A broker was fenced (type 7) or unfenced (type 8): the older form.
    FenceBroker {
        id: i32 [0];
        epoch: i64 [0];
    }
}
structure! {
    /// A topic went (type 9).
    RemoveTopic {
        topic_id: Uuid [0];
    }
}
structure! {
    /// A broker's registration changed (type 17): 1 is yes, −1 is no, 0 leaves it.
    BrokerRegistrationChange {
        broker_id: i32 [0];
        broker_epoch: i64 [0];
        fenced: i8 [0 tag 0];
        in_controlled_shutdown: i8 [1 tag 1];
        log_dirs: Vec<Uuid> [2 tag 2];
    }
}

impl PartitionChange {
    /// The leader stays.
    pub const SAME_LEADER: i32 = -2;
}

/// One record of the metadata log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // Each holds the structure that says what it is.
pub enum MetadataRecord {
    RegisterBroker(RegisterBroker),
    UnregisterBroker(UnregisterBroker),
    Topic(Topic),
    Partition(Partition),
    PartitionChange(PartitionChange),
    FenceBroker(FenceBroker),
    UnfenceBroker(FenceBroker),
    RemoveTopic(RemoveTopic),
    BrokerRegistrationChange(BrokerRegistrationChange),
    /// Of a type that is not read here.
    Other(u32),
}

/// The one version of the frame around each record.
const FRAME_VERSION: u32 = 1;

impl MetadataRecord {
    /// Reads the value of a record of the metadata log: frame version, type, version, fields; always flexible. Tagged
    /// fields of later versions are passed over, so that a newer Kafka can be observed.
    ///
    /// # Errors
    /// If it is no such value.
    pub fn decode(value: Bytes) -> Result<Self, WireError> {
        let mut from = Reader::new(value);
        let frame = from.uvarint("frame version")?;
        if frame != FRAME_VERSION {
            return Err(WireError::Range { what: "frame version of a metadata record", value: i64::from(frame) });
        }
        let kind = from.uvarint("record type")?;
        let version = from.uvarint("record version")?;
        let version = i16::try_from(version)
            .map_err(|_| WireError::Range { what: "record version", value: i64::from(version) })?;
        let context = Context { version, flexible: true };
        let from = &mut from;
        Ok(match kind {
            0 => Self::RegisterBroker(Wire::decode(from, context, "RegisterBrokerRecord")?),
            1 => Self::UnregisterBroker(Wire::decode(from, context, "UnregisterBrokerRecord")?),
            2 => Self::Topic(Wire::decode(from, context, "TopicRecord")?),
            3 => Self::Partition(Wire::decode(from, context, "PartitionRecord")?),
            5 => Self::PartitionChange(Wire::decode(from, context, "PartitionChangeRecord")?),
            7 => Self::FenceBroker(Wire::decode(from, context, "FenceBrokerRecord")?),
            8 => Self::UnfenceBroker(Wire::decode(from, context, "UnfenceBrokerRecord")?),
            9 => Self::RemoveTopic(Wire::decode(from, context, "RemoveTopicRecord")?),
            17 => Self::BrokerRegistrationChange(Wire::decode(from, context, "BrokerRegistrationChangeRecord")?),
            other => Self::Other(other),
        })
    }
}
