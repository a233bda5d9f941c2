//! Apache Kafka as processes on this machine.

mod cluster;
mod config;
mod format;
pub mod install;
pub mod java;
mod jvm;
mod process;

pub use cluster::KafkaCluster;
pub use install::{DEFAULT_VERSION, Installed, Wanted};
pub use java::Java;
pub(crate) use process::tail;

use std::fs::File;
use std::io::Read;

use crate::error::EngineError;

/// Told in one line what takes long.
pub type Progress = dyn Fn(&str) + Send + Sync;

/// Random bytes of the system: ids that must be unique, never anything that a seed should decide.
pub(crate) fn entropy<const N: usize>() -> Result<[u8; N], EngineError> {
    const SOURCE: &str = "/dev/urandom";
    let mut bytes = [0; N];
    File::open(SOURCE).and_then(|mut file| file.read_exact(&mut bytes)).map_err(EngineError::io("read", SOURCE))?;
    Ok(bytes)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The last `count` lines that are not empty.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_lines_are_the_last_that_say_something() {
        assert_eq!(last_lines("a\n\nb\n  \nc\n", 2), "b\nc");
        assert_eq!(last_lines("a", 5), "a");
        assert_eq!(last_lines("", 5), "");
        assert_eq!(hex(&[0, 255, 16]), "00ff10");
        assert_ne!(entropy::<8>().expect("random"), entropy::<8>().expect("random"));
    }
}
