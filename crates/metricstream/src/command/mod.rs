//! The commands, one file each. A command reads its arguments, calls the rooms, prints, and says how it ended.

pub(crate) mod check;
pub(crate) mod cluster;
pub(crate) mod consume;
pub(crate) mod group;
pub(crate) mod kafka;
pub(crate) mod produce;
pub(crate) mod run;
pub(crate) mod scenario;
pub(crate) mod topic;
