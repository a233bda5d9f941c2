//! The records of `__cluster_metadata`, as Kafka 4.1's `metadata` module declares them: those that a controller of this
//! product writes or heeds. A record of another type is [`MetadataRecord::Other`]: client quotas, ACLs, delegation tokens,
//! SCRAM credentials and the migration from ZooKeeper are not read here.
//!
//! A value is a frame version, a record type, a record version, each an unsigned varint, and the fields, always flexible.

mod broker;
mod cluster;
mod topic;

use bytes::{Bytes, BytesMut};

pub use self::broker::{
    BrokerEndpoint, BrokerFeature, BrokerRegistrationChange, FenceBroker, RegisterBroker, RegisterController,
    UnregisterBroker,
};
pub use self::cluster::{AbortTransaction, BeginTransaction, Config, EndTransaction, FeatureLevel, NoOp, ProducerIds};
pub use self::topic::{ClearElr, Partition, PartitionChange, RemoveTopic, Topic};
use crate::primitives::{Context, Reader, Wire, WireError, put_uvarint};

/// The one version of the frame around each record.
const FRAME_VERSION: u32 = 1;

/// Declares the record types: number, highest version declared here, variant, structure.
macro_rules! record_types {
    ($($kind:literal, versions 0 to $high:literal, $name:ident($structure:ident);)*) => {
        /// One record of the metadata log.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[allow(missing_docs)] // Each holds the structure that says what it is.
        pub enum MetadataRecord {
            $($name($structure),)*
            /// Of a type that is not read here.
            Other(u32),
        }

        impl MetadataRecord {
            /// Every type that is read here, with its highest version.
            pub const TYPES: &[(u32, i16)] = &[$(($kind, $high),)*];

            fn decode_fields(kind: u32, from: &mut Reader, context: Context) -> Result<Self, WireError> {
                match kind {
                    $($kind => Wire::decode(from, context, stringify!($name)).map(Self::$name),)*
                    other => Ok(Self::Other(other)),
                }
            }

            /// Its type, and the highest version of that type which Kafka 4.1 writes.
            #[must_use]
            pub fn kind(&self) -> (u32, i16) {
                match self {
                    $(Self::$name(_) => ($kind, $high),)*
                    Self::Other(kind) => (*kind, 0),
                }
            }

            #[cfg(feature = "sample")]
            fn sample(kind: u32, random: &mut crate::sample::Random, context: Context) -> Self {
                match kind {
                    $($kind => Self::$name(crate::sample::Sample::sample(random, context)),)*
                    other => Self::Other(other),
                }
            }

            fn encode_fields(&self, out: &mut BytesMut, context: Context) {
                match self {
                    $(Self::$name(record) => record.encode(out, context),)*
                    Self::Other(kind) => panic!("metadata records of type {kind} are not written here"),
                }
            }
        }
    };
}

record_types! {
    0, versions 0 to 3, RegisterBroker(RegisterBroker);
    1, versions 0 to 0, UnregisterBroker(UnregisterBroker);
    2, versions 0 to 0, Topic(Topic);
    3, versions 0 to 2, Partition(Partition);
    4, versions 0 to 0, Config(Config);
    5, versions 0 to 2, PartitionChange(PartitionChange);
    7, versions 0 to 0, FenceBroker(FenceBroker);
    8, versions 0 to 0, UnfenceBroker(FenceBroker);
    9, versions 0 to 0, RemoveTopic(RemoveTopic);
    12, versions 0 to 0, FeatureLevel(FeatureLevel);
    15, versions 0 to 0, ProducerIds(ProducerIds);
    17, versions 0 to 2, BrokerRegistrationChange(BrokerRegistrationChange);
    20, versions 0 to 0, NoOp(NoOp);
    23, versions 0 to 0, BeginTransaction(BeginTransaction);
    24, versions 0 to 0, EndTransaction(EndTransaction);
    25, versions 0 to 0, AbortTransaction(AbortTransaction);
    27, versions 0 to 0, RegisterController(RegisterController);
    28, versions 0 to 0, ClearElr(ClearElr);
}

impl MetadataRecord {
    /// Reads the value of a record of the metadata log. Fields that later versions add as tagged ones are passed over,
    /// so that a newer Kafka can be observed.
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
        Self::decode_fields(kind, &mut from, Context { version, flexible: true })
    }

    /// Writes the value in the highest version that is declared here.
    ///
    /// # Panics
    /// If it is of a type that is not written here.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        self.encode_version(self.kind().1)
    }

    /// Writes the value in `version`; fields that it does not have are left out.
    ///
    /// # Panics
    /// If it is of a type that is not written here, or the type does not have that version.
    #[must_use]
    pub fn encode_version(&self, version: i16) -> Bytes {
        let (kind, highest) = self.kind();
        assert!((0..=highest).contains(&version), "metadata record type {kind} has no version {version}");
        let mut out = BytesMut::with_capacity(64);
        put_uvarint(&mut out, FRAME_VERSION);
        put_uvarint(&mut out, kind);
        put_uvarint(&mut out, u32::from(version.cast_unsigned()));
        self.encode_fields(&mut out, Context { version, flexible: true });
        out.freeze()
    }
}

/// A random record of a random type and version, encoded.
#[cfg(feature = "sample")]
pub(crate) fn any(random: &mut crate::sample::Random) -> Bytes {
    let (kind, highest) = MetadataRecord::TYPES[random.below(MetadataRecord::TYPES.len())];
    let version = random.below(highest as usize + 1) as i16;
    MetadataRecord::sample(kind, random, Context { version, flexible: true }).encode_version(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_was_written() {
        let change = PartitionChange { partition_id: 3, isr: Some(vec![1, 2]), leader: 2, ..Default::default() };
        for record in [
            MetadataRecord::PartitionChange(change),
            MetadataRecord::UnfenceBroker(FenceBroker { id: 1, epoch: 9 }),
            MetadataRecord::NoOp(NoOp {}),
        ] {
            assert_eq!(MetadataRecord::decode(record.encode()), Ok(record));
        }
    }

    #[test]
    fn a_record_of_an_unknown_type_is_no_error_but_one_of_another_frame_is() {
        assert_eq!(MetadataRecord::decode(Bytes::from_static(&[1, 99, 0, 1, 2])), Ok(MetadataRecord::Other(99)));
        let other = MetadataRecord::decode(Bytes::from_static(&[2, 20, 0, 0]));
        assert!(matches!(other, Err(WireError::Range { .. })), "{other:?}");
    }
}
