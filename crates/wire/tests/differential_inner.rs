//! What nodes say to one another, and the control records of their logs, beside an independent codec: random messages in
//! every version that both know. What ours writes the other reads to the end, what the other writes back is byte for byte
//! the same, and ours reads back what it wrote.
#![allow(missing_docs)]

use bytes::BytesMut;
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable, Message};
use metricstream_wire::api::*;
use metricstream_wire::control_record as control;
use metricstream_wire::frame::Request;
use metricstream_wire::sample::{Random, Sample};
use metricstream_wire::{Context, Reader, Wire};

const SAMPLES: u64 = 400;

fn same<Ours, Theirs>(context: Context)
where
    Ours: Wire + Sample + PartialEq + std::fmt::Debug,
    Theirs: Decodable + Encodable,
{
    same_after::<Ours, Theirs>(context, |_| {});
}

fn same_after<Ours, Theirs>(context: Context, change: impl Fn(&mut Ours))
where
    Ours: Wire + Sample + PartialEq + std::fmt::Debug,
    Theirs: Decodable + Encodable,
{
    let version = context.version;
    for seed in 0..SAMPLES {
        let mut ours = Ours::sample(&mut Random::new(seed), context);
        change(&mut ours);
        let mut written = BytesMut::new();
        ours.encode(&mut written, context);
        let written = written.freeze();
        let mut rest = written.clone();
        let read = Theirs::decode(&mut rest, version)
            .unwrap_or_else(|e| panic!("version {version}: theirs cannot read ours: {e}\n{ours:?}"));
        assert!(rest.is_empty(), "version {version}: theirs left {} bytes of {ours:?}", rest.len());
        let mut again = BytesMut::new();
        read.encode(&mut again, version).expect("theirs writes what it read");
        assert_eq!(written, again, "version {version}: {ours:?}");
        let mut from = Reader::new(written);
        assert_eq!(Ours::decode(&mut from, context, "message"), Ok(ours));
        from.finish().expect("ours reads to the end");
    }
}

fn both<R, TheirRequest, TheirResponse>()
where
    R: Request + Sample + PartialEq + std::fmt::Debug,
    R::Response: Sample + PartialEq + std::fmt::Debug,
    TheirRequest: Decodable + Encodable + Message,
    TheirResponse: Decodable + Encodable + Message,
{
    let theirs = TheirRequest::VERSIONS.min..=TheirRequest::VERSIONS.max;
    assert_eq!(R::VERSIONS, theirs, "the versions of API {} that both know", R::KEY);
    for version in R::VERSIONS {
        let context = R::context(version).expect("declared");
        same::<R, TheirRequest>(context);
        same::<R::Response, TheirResponse>(context);
    }
}

#[test]
fn messages_of_the_metadata_quorum_are_the_same_bytes() {
    both::<vote::VoteRequest, theirs::VoteRequest, theirs::VoteResponse>();
    both::<
        begin_quorum_epoch::BeginQuorumEpochRequest,
        theirs::BeginQuorumEpochRequest,
        theirs::BeginQuorumEpochResponse,
    >();
    both::<end_quorum_epoch::EndQuorumEpochRequest, theirs::EndQuorumEpochRequest, theirs::EndQuorumEpochResponse>();
    both::<fetch_snapshot::FetchSnapshotRequest, theirs::FetchSnapshotRequest, theirs::FetchSnapshotResponse>();
}

#[test]
fn messages_between_brokers_and_controller_are_the_same_bytes() {
    both::<alter_partition::AlterPartitionRequest, theirs::AlterPartitionRequest, theirs::AlterPartitionResponse>();
    both::<envelope::EnvelopeRequest, theirs::EnvelopeRequest, theirs::EnvelopeResponse>();
    both::<
        broker_registration::BrokerRegistrationRequest,
        theirs::BrokerRegistrationRequest,
        theirs::BrokerRegistrationResponse,
    >();
    both::<broker_heartbeat::BrokerHeartbeatRequest, theirs::BrokerHeartbeatRequest, theirs::BrokerHeartbeatResponse>();
    both::<unregister_broker::UnregisterBrokerRequest, theirs::UnregisterBrokerRequest, theirs::UnregisterBrokerResponse>(
    );
    both::<
        allocate_producer_ids::AllocateProducerIdsRequest,
        theirs::AllocateProducerIdsRequest,
        theirs::AllocateProducerIdsResponse,
    >();
    both::<
        controller_registration::ControllerRegistrationRequest,
        theirs::ControllerRegistrationRequest,
        theirs::ControllerRegistrationResponse,
    >();
    both::<
        assign_replicas_to_dirs::AssignReplicasToDirsRequest,
        theirs::AssignReplicasToDirsRequest,
        theirs::AssignReplicasToDirsResponse,
    >();
    both::<write_txn_markers::WriteTxnMarkersRequest, theirs::WriteTxnMarkersRequest, theirs::WriteTxnMarkersResponse>(
    );
}

#[test]
fn control_records_are_the_same_bytes() {
    let flexible = |version| Context { version, flexible: true };
    for version in 0..=1 {
        // The other codec goes by the version that the message itself names.
        same_after::<control::LeaderChange, theirs::LeaderChangeMessage>(flexible(version), |ours| {
            ours.version = version
        });
    }
    same::<control::SnapshotHeader, theirs::SnapshotHeaderRecord>(flexible(0));
    same::<control::SnapshotFooter, theirs::SnapshotFooterRecord>(flexible(0));
    same::<control::KRaftVersion, theirs::KRaftVersionRecord>(flexible(0));
    same_after::<control::KRaftVoters, theirs::VotersRecord>(flexible(0), |ours| ours.version = 0);
}
