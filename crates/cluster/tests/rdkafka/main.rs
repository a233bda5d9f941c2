//! librdkafka against the embedded cluster, for what only this one has: silent links, its own stores, its own limits. What every
//! engine must do alike is in the conformance suite of `engine`.

mod black_hole;
mod departed;
mod disks;
mod hostile;
#[path = "../common/librdkafka.rs"]
mod librdkafka;
mod support;

use metricstream_cluster::Cluster;
use support::{DEADLINE, LOOK};
