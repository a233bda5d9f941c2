//! librdkafka against the embedded cluster, for what only this one has: silent links, its own stores, its own limits. What every
//! engine must do alike is in the conformance suite of `engine`.

mod black_hole;
mod disks;
mod hostile;
mod support;
