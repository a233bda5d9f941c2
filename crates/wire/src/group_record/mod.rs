//! The records of `__consumer_offsets`, as Kafka's group coordinator declares them in 4.1, with what 4.3 adds as tagged
//! fields: left at their defaults, they are what 4.1 writes. A key is a type (Kafka calls it
//! the key's version) and fields that are never flexible; a value is a version and fields that are flexible from a version
//! of that type on. Share and streams groups, whose types are others, are not read here.

mod classic;
mod consumer;

use bytes::{BufMut, Bytes, BytesMut};

pub use self::classic::{GroupMetadata, MemberMetadata, OffsetCommit, OffsetCommitKey};
pub use self::consumer::{
    AssignedPartitions, ClassicMemberMetadata, ClassicProtocol, ConsumerGroupCurrentMemberAssignment,
    ConsumerGroupMemberMetadata, ConsumerGroupMetadata, ConsumerGroupPartitionMetadata, ConsumerGroupRegularExpression,
    ConsumerGroupTargetAssignmentMember, ConsumerGroupTargetAssignmentMetadata, GroupKey, MemberKey,
    RegularExpressionKey, SubscribedPartition, SubscribedTopic, TopicPartitions,
};
use crate::primitives::{Context, Fixed, Reader, Wire, WireError};

/// Keys are never flexible.
const PLAIN: Context = Context { version: 0, flexible: false };

/// Declares the types: number, highest version of the value and the first flexible one, variant, key, value.
macro_rules! group_records {
    ($($kind:literal, values 0 to $high:literal, flexible $flexible:literal, $name:ident($key:ident, $value:ident);)*) => {
        /// A record: its key, and its value, or none where it is a tombstone.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[allow(missing_docs)] // Each holds the structures that say what it is.
        pub enum GroupRecord {
            $($name($key, Option<$value>),)*
            /// Of a type that is not read here.
            Other(i16),
        }

        impl GroupRecord {
            /// Every type that is read here, with the highest version of its value.
            pub const TYPES: &[(i16, i16)] = &[$(($kind, $high),)*];

            /// Reads a record.
            ///
            /// # Errors
            /// If it is no such record, or its value is of a version that is not known here.
            pub fn decode(key: Bytes, value: Option<Bytes>) -> Result<Self, WireError> {
                let mut from = Reader::new(key);
                let from = &mut from;
                match i16::read(from, "type of a group record")? {
                    $($kind => Ok(Self::$name(
                        Wire::decode(from, PLAIN, stringify!($key))?,
                        value.map(|value| get(value, $high, $flexible, stringify!($value))).transpose()?,
                    )),)*
                    other => Ok(Self::Other(other)),
                }
            }

            #[cfg(feature = "sample")]
            fn sample(kind: i16, random: &mut crate::sample::Random, version: i16) -> Self {
                use crate::sample::Sample;
                match kind {
                    $($kind => {
                        let context = Context { version, flexible: version >= $flexible };
                        Self::$name(Sample::sample(random, PLAIN), Some(Sample::sample(random, context)))
                    })*
                    other => Self::Other(other),
                }
            }

            /// Its type, and the highest version of its value that Kafka 4.1 knows.
            #[must_use]
            pub fn kind(&self) -> (i16, i16) {
                match self {
                    $(Self::$name(..) => ($kind, $high),)*
                    Self::Other(kind) => (*kind, 0),
                }
            }

            /// Key and value; the value in the highest version that is declared here.
            ///
            /// # Panics
            /// If it is of a type that is not written here, or a text is longer than 32 KiB.
            #[must_use]
            pub fn encode(&self) -> (Bytes, Option<Bytes>) {
                self.encode_version(self.kind().1)
            }

            /// Key and value, the value in `version`; fields that it does not have are left out.
            ///
            /// # Panics
            /// As [`GroupRecord::encode`], and if the value has no such version.
            #[must_use]
            pub fn encode_version(&self, version: i16) -> (Bytes, Option<Bytes>) {
                let (kind, highest) = self.kind();
                assert!((0..=highest).contains(&version), "the value of group record {kind} has no version {version}");
                match self {
                    $(Self::$name(key, value) => {
                        let context = Context { version, flexible: version >= $flexible };
                        (put(kind, key, PLAIN), value.as_ref().map(|value| put(version, value, context)))
                    })*
                    Self::Other(kind) => panic!("group records of type {kind} are not written here"),
                }
            }
        }
    };
}

group_records! {
    0, values 0 to 4, flexible 4, LegacyOffsetCommit(OffsetCommitKey, OffsetCommit);
    1, values 0 to 4, flexible 4, OffsetCommit(OffsetCommitKey, OffsetCommit);
    2, values 0 to 4, flexible 4, GroupMetadata(GroupKey, GroupMetadata);
    3, values 0 to 0, flexible 0, ConsumerGroupMetadata(GroupKey, ConsumerGroupMetadata);
    4, values 0 to 0, flexible 0, ConsumerGroupPartitionMetadata(GroupKey, ConsumerGroupPartitionMetadata);
    5, values 0 to 0, flexible 0, ConsumerGroupMemberMetadata(MemberKey, ConsumerGroupMemberMetadata);
    6, values 0 to 0, flexible 0, ConsumerGroupTargetAssignmentMetadata(GroupKey, ConsumerGroupTargetAssignmentMetadata);
    7, values 0 to 0, flexible 0, ConsumerGroupTargetAssignmentMember(MemberKey, ConsumerGroupTargetAssignmentMember);
    8, values 0 to 0, flexible 0, ConsumerGroupCurrentMemberAssignment(MemberKey, ConsumerGroupCurrentMemberAssignment);
    16, values 0 to 0, flexible 0, ConsumerGroupRegularExpression(RegularExpressionKey, ConsumerGroupRegularExpression);
}

/// What leads (a key's type or a value's version), then the fields.
fn put(first: i16, fields: &impl Wire, context: Context) -> Bytes {
    let mut out = BytesMut::with_capacity(64);
    out.put_i16(first);
    fields.encode(&mut out, context);
    out.freeze()
}

fn get<T: Wire>(value: Bytes, highest: i16, flexible_from: i16, what: &'static str) -> Result<T, WireError> {
    let mut from = Reader::new(value);
    let version = i16::read(&mut from, what)?;
    if !(0..=highest).contains(&version) {
        return Err(WireError::Range { what: "version of a group record's value", value: i64::from(version) });
    }
    T::decode(&mut from, Context { version, flexible: version >= flexible_from }, what)
}

/// A random record of a random type and version.
#[cfg(feature = "sample")]
pub(crate) fn any(random: &mut crate::sample::Random) -> (Bytes, Bytes) {
    let (kind, highest) = GroupRecord::TYPES[random.below(GroupRecord::TYPES.len())];
    let version = random.below(highest as usize + 1) as i16;
    let (key, value) = GroupRecord::sample(kind, random, version).encode_version(version);
    (key, value.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(value: OffsetCommit) -> GroupRecord {
        let key = OffsetCommitKey { group: "g".into(), topic: "metrics".into(), partition: 3 };
        GroupRecord::OffsetCommit(key, Some(value))
    }

    #[test]
    fn a_committed_offset_lies_as_the_group_coordinator_lays_it() {
        let value = OffsetCommit { offset: 258, leader_epoch: 5, commit_timestamp_ms: 7, ..Default::default() };
        let (key, bytes) = commit(value.clone()).encode_version(3);
        assert_eq!(key, b"\x00\x01\x00\x01g\x00\x07metrics\x00\x00\x00\x03"[..]);
        assert_eq!(bytes.as_deref(), Some(&b"\x00\x03\0\0\0\0\0\0\x01\x02\0\0\0\x05\0\0\0\0\0\0\0\0\0\x07"[..]));
        assert_eq!(GroupRecord::decode(key, bytes), Ok(commit(value)));
    }

    #[test]
    fn an_old_commit_is_read_with_its_expiry_and_without_a_leader_epoch() {
        let value = OffsetCommit { offset: 1, expire_timestamp_ms: 99, metadata: "m".into(), ..Default::default() };
        let (key, bytes) = commit(value.clone()).encode_version(1);
        assert_eq!(GroupRecord::decode(key, bytes), Ok(commit(value)));
    }

    #[test]
    fn a_tombstone_has_a_key_alone_and_an_unknown_type_is_no_error() {
        let gone = GroupRecord::GroupMetadata(GroupKey { group_id: "g".into() }, None);
        let (key, value) = gone.encode();
        assert_eq!((&key[..], &value), (&b"\0\x02\0\x01g"[..], &None));
        assert_eq!(GroupRecord::decode(key, value), Ok(gone));
        let share = GroupRecord::decode(Bytes::from_static(&[0, 11, 0, 1, b'g']), None);
        assert_eq!(share, Ok(GroupRecord::Other(11)));
    }

    #[test]
    fn a_value_of_a_version_to_come_is_refused_as_its_fields_may_lie_otherwise() {
        let (key, _) = commit(OffsetCommit::default()).encode();
        let later = GroupRecord::decode(key, Some(Bytes::from_static(&[0, 5, 0, 0, 0])));
        assert!(matches!(later, Err(WireError::Range { value: 5, .. })), "{later:?}");
    }
}
