//! The quorum in virtual time: voters and observers over a network that delays, loses and cuts, and disks that outlive
//! their nodes, everything drawn from one seed. [`world`] runs it, [`invariants`] watches it after every output.

mod invariants;
mod schedules;
mod store;
mod stories;
mod world;
