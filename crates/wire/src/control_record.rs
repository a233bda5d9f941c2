//! Control records: what a log says of itself. Their key is a version and a type, their value is that type's own. The
//! batch around them has the control flag.

use bytes::{BufMut, Bytes, BytesMut};

use crate::primitives::{Context, Fixed, Reader, Uuid, Wire, WireError};

structure! {
    /// Who leads from here on (KIP-595). Version 1 names the voters' directories (KIP-853).
    LeaderChange {
        version: i16 [0];
        leader_id: i32 [0];
        voters: Vec<ControlVoter> [0];
        granting_voters: Vec<ControlVoter> [0];
    }
}
structure! {
    /// A voter that a leader change names.
    ControlVoter {
        voter_id: i32 [0];
        voter_directory_id: Uuid [1];
    }
}
structure! {
    /// The first record of a snapshot (KIP-630).
    SnapshotHeader {
        version: i16 [0];
        last_contained_log_timestamp_ms: i64 [0];
    }
}
structure! {
    /// The last record of a snapshot (KIP-630).
    SnapshotFooter {
        version: i16 [0];
    }
}
structure! {
    /// The version of the quorum's own protocol (KIP-853).
    KRaftVersion {
        version: i16 [0];
        kraft_version: i16 [0];
    }
}
structure! {
    /// The voters of the quorum (KIP-853).
    KRaftVoters {
        version: i16 [0];
        voters: Vec<KRaftVoter> [0];
    }
}
structure! {
    /// A voter and where it listens.
    KRaftVoter {
        voter_id: i32 [0];
        voter_directory_id: Uuid [0];
        endpoints: Vec<KRaftEndpoint> [0];
        kraft_version_feature: KRaftVersionFeature [0];
    }
}
structure! {
    /// Where a voter listens.
    KRaftEndpoint {
        name: String [0];
        host: String [0];
        port: u16 [0];
    }
}
structure! {
    /// Which versions of the quorum's protocol a voter speaks.
    KRaftVersionFeature {
        min_supported_version: i16 [0];
        max_supported_version: i16 [0];
    }
}
structure! {
    /// The end of a transaction (KIP-98).
    EndTxnMarker {
        version: i16 [0];
        coordinator_epoch: i32 [0];
    }
}

/// A control record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // Each holds the structure that says what it is.
pub enum ControlRecord {
    Abort(EndTxnMarker),
    Commit(EndTxnMarker),
    LeaderChange(LeaderChange),
    SnapshotHeader(SnapshotHeader),
    SnapshotFooter(SnapshotFooter),
    KRaftVersion(KRaftVersion),
    KRaftVoters(KRaftVoters),
    /// Of a type that is not read here.
    Other(i16),
}

impl ControlRecord {
    /// Reads a record of a control batch.
    ///
    /// # Errors
    /// If it is no control record.
    pub fn decode(key: Option<Bytes>, value: Option<Bytes>) -> Result<Self, WireError> {
        let mut key = Reader::new(key.ok_or(WireError::Null { what: "control record key" })?);
        i16::read(&mut key, "control record key version")?;
        let kind = i16::read(&mut key, "control record type")?;
        if !(0..=6).contains(&kind) {
            return Ok(Self::Other(kind));
        }
        let value = value.ok_or(WireError::Null { what: "control record value" })?;
        // Every value begins with its version, which says how the rest lies.
        let version = i16::read(&mut Reader::new(value.clone()), "control record version")?;
        if version < 0 {
            return Err(WireError::Range { what: "control record version", value: i64::from(version) });
        }
        let context = Context { version, flexible: kind > 1 };
        let mut from = Reader::new(value);
        let from = &mut from;
        Ok(match kind {
            0 => Self::Abort(Wire::decode(from, context, "EndTxnMarker")?),
            1 => Self::Commit(Wire::decode(from, context, "EndTxnMarker")?),
            2 => Self::LeaderChange(Wire::decode(from, context, "LeaderChangeMessage")?),
            3 => Self::SnapshotHeader(Wire::decode(from, context, "SnapshotHeaderRecord")?),
            4 => Self::SnapshotFooter(Wire::decode(from, context, "SnapshotFooterRecord")?),
            5 => Self::KRaftVersion(Wire::decode(from, context, "KRaftVersionRecord")?),
            _ => Self::KRaftVoters(Wire::decode(from, context, "VotersRecord")?),
        })
    }

    /// Key and value of the record, in the version that its structure names.
    ///
    /// # Panics
    /// If its type is not known here, or the version is negative.
    #[must_use]
    pub fn encode(&self) -> (Bytes, Bytes) {
        match self {
            Self::Abort(marker) => put(0, marker.version, marker),
            Self::Commit(marker) => put(1, marker.version, marker),
            Self::LeaderChange(change) => put(2, change.version, change),
            Self::SnapshotHeader(header) => put(3, header.version, header),
            Self::SnapshotFooter(footer) => put(4, footer.version, footer),
            Self::KRaftVersion(version) => put(5, version.version, version),
            Self::KRaftVoters(voters) => put(6, voters.version, voters),
            Self::Other(kind) => panic!("control records of type {kind} are not written here"),
        }
    }
}

fn put(kind: i16, version: i16, record: &impl Wire) -> (Bytes, Bytes) {
    assert!(version >= 0, "versions begin at 0");
    let mut key = BytesMut::with_capacity(4);
    key.put_i16(0);
    key.put_i16(kind);
    let mut value = BytesMut::with_capacity(64);
    record.encode(&mut value, Context { version, flexible: kind > 1 });
    (key.freeze(), value.freeze())
}

/// A random control record, encoded.
#[cfg(feature = "sample")]
pub(crate) fn any(random: &mut crate::sample::Random) -> (Bytes, Bytes) {
    use crate::sample::Sample;
    let context = |version| Context { version, flexible: true };
    let record = match random.below(7) {
        0 => ControlRecord::Abort(EndTxnMarker { version: 0, ..Sample::sample(random, context(0)) }),
        1 => ControlRecord::Commit(EndTxnMarker { version: 0, ..Sample::sample(random, context(0)) }),
        2 => ControlRecord::LeaderChange(LeaderChange { version: 1, ..Sample::sample(random, context(1)) }),
        3 => ControlRecord::SnapshotHeader(SnapshotHeader { version: 0, ..Sample::sample(random, context(0)) }),
        4 => ControlRecord::SnapshotFooter(SnapshotFooter { version: 0 }),
        5 => ControlRecord::KRaftVersion(KRaftVersion { version: 0, ..Sample::sample(random, context(0)) }),
        _ => ControlRecord::KRaftVoters(KRaftVoters { version: 0, ..Sample::sample(random, context(0)) }),
    };
    record.encode()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_control_record_comes_back_as_it_was_written() {
        let voter = ControlVoter { voter_id: 1, voter_directory_id: [7; 16] };
        let change =
            LeaderChange { version: 1, leader_id: 1, voters: vec![voter.clone()], granting_voters: vec![voter] };
        let endpoint = KRaftEndpoint { name: "CONTROLLER".into(), host: "h".into(), port: 9093 };
        let voter = KRaftVoter { voter_id: 1, endpoints: vec![endpoint], ..Default::default() };
        for record in [
            ControlRecord::Abort(EndTxnMarker { version: 0, coordinator_epoch: 4 }),
            ControlRecord::Commit(EndTxnMarker { version: 0, coordinator_epoch: 5 }),
            ControlRecord::LeaderChange(change),
            ControlRecord::SnapshotHeader(SnapshotHeader { version: 0, last_contained_log_timestamp_ms: 99 }),
            ControlRecord::SnapshotFooter(SnapshotFooter { version: 0 }),
            ControlRecord::KRaftVersion(KRaftVersion { version: 0, kraft_version: 1 }),
            ControlRecord::KRaftVoters(KRaftVoters { version: 0, voters: vec![voter] }),
        ] {
            let (key, value) = record.encode();
            assert_eq!(ControlRecord::decode(Some(key), Some(value)), Ok(record));
        }
    }

    #[test]
    fn a_control_record_of_a_later_type_is_no_error() {
        let key = Bytes::from_static(&[0, 0, 0, 9]);
        assert_eq!(ControlRecord::decode(Some(key), None), Ok(ControlRecord::Other(9)));
    }
}
