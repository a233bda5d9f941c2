//! What consumers put into the opaque fields of the classic group protocol: subscriptions into JoinGroup, assignments into
//! SyncGroup. Versions 0 to 3, each with its version in front. Coordinators pass them on unread; tools that describe
//! groups read them.

use bytes::{BufMut, Bytes, BytesMut};

use crate::primitives::{Context, Fixed, Reader, Wire, WireError};

structure! {
    /// What a member wants to read, and what it owns.
    ConsumerProtocolSubscription {
        topics: Vec<String> [0];
        user_data: Option<Bytes> [0];
        owned_partitions: Vec<TopicPartition> [1];
        generation_id: i32 [2] = -1;
        rack_id: Option<String> [3];
    }
}
structure! {
    /// What a member is to read.
    ConsumerProtocolAssignment {
        assigned_partitions: Vec<TopicPartition> [0];
        user_data: Option<Bytes> [0];
    }
}
structure! {
    /// Partitions of one topic.
    TopicPartition {
        topic: String [0];
        partitions: Vec<i32> [0];
    }
}

/// The highest version declared here.
pub const HIGHEST_VERSION: i16 = 3;

/// Something that lies in the opaque fields of the classic group protocol.
pub trait Embedded: Wire {
    /// Writes it, its version in front.
    ///
    /// # Errors
    /// If the version is not declared here.
    fn to_bytes(&self, version: i16) -> Result<Bytes, WireError> {
        if !(0..=HIGHEST_VERSION).contains(&version) {
            return Err(WireError::Range { what: "version of the consumer protocol", value: version.into() });
        }
        let mut out = BytesMut::new();
        out.put_i16(version);
        self.encode(&mut out, Context { version, flexible: false });
        Ok(out.freeze())
    }

    /// Reads it. A version above ours is read as ours and what follows is left alone, since every version only adds to
    /// the one before.
    ///
    /// # Errors
    /// If the bytes are not such a thing.
    fn from_bytes(bytes: Bytes) -> Result<Self, WireError> {
        let mut from = Reader::new(bytes);
        let version = i16::read(&mut from, "version of the consumer protocol")?;
        if version < 0 {
            return Err(WireError::Range { what: "version of the consumer protocol", value: version.into() });
        }
        let context = Context { version: version.min(HIGHEST_VERSION), flexible: false };
        Self::decode(&mut from, context, "consumer protocol")
    }
}

impl Embedded for ConsumerProtocolSubscription {}
impl Embedded for ConsumerProtocolAssignment {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_of_a_later_version_is_read_as_far_as_it_is_known() {
        let subscription = ConsumerProtocolSubscription {
            topics: vec!["orders".to_owned()],
            owned_partitions: vec![TopicPartition { topic: "orders".to_owned(), partitions: vec![0, 2] }],
            generation_id: 7,
            rack_id: Some("a".to_owned()),
            ..Default::default()
        };
        let mut bytes = BytesMut::from(&subscription.to_bytes(3).expect("version 3")[..]);
        bytes[1] = 9;
        bytes.put_slice(b"what version 9 adds");
        assert_eq!(ConsumerProtocolSubscription::from_bytes(bytes.freeze()), Ok(subscription));
    }

    #[test]
    fn a_negative_version_is_refused() {
        let bytes = Bytes::from_static(&[0xff, 0xff, 0, 0, 0, 0]);
        let read = ConsumerProtocolAssignment::from_bytes(bytes);
        assert!(matches!(read, Err(WireError::Range { value: -1, .. })), "{read:?}");
    }
}
