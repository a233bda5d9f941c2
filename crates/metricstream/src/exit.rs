//! How the program ends: exit codes and the one message that goes with each.

use std::fmt;

/// Everything the process can exit with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    /// The verdict is pass, or the command did its work.
    Pass = 0,
    /// A guarantee was violated or an expectation failed.
    Violated = 1,
    /// The command line or the scenario file is wrong.
    Usage = 2,
    /// The environment is: no Java, port taken, no cluster at the address.
    Environment = 3,
    /// The audit could not be finished.
    Inconclusive = 4,
    /// Interrupted; everything was healed, stopped and written.
    Interrupted = 130,
}

/// A failure that ends the command: reported once, in `main`.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) error: anyhow::Error,
}

impl Failure {
    /// Exit 2.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self { code: Code::Usage, error: anyhow::anyhow!("{message}") }
    }

    /// Exit 3.
    pub(crate) fn environment(message: impl fmt::Display) -> Self {
        Self { code: Code::Environment, error: anyhow::anyhow!("{message}") }
    }

    /// Exit 130.
    pub(crate) fn interrupted(message: impl fmt::Display) -> Self {
        Self { code: Code::Interrupted, error: anyhow::anyhow!("{message}") }
    }
}

/// Anything unforeseen is the environment's: disks, sockets, processes.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { code: Code::Environment, error }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self { code: Code::Environment, error: error.into() }
    }
}

/// What every command returns.
pub(crate) type Ending = Result<Code, Failure>;
