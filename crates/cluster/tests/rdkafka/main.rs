//! librdkafka against the embedded cluster: what a client of the field does, and what it must see while nodes come and go.

mod admin;
mod disks;
mod failures;
mod groups;
mod hostile;
mod records;
mod restarts;
mod support;
