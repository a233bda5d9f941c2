//! The binary: command line, the tokio drive of the conductor, supervisor of detached clusters.
//!
//! Protocol rules and checker rules live elsewhere.

fn main() -> anyhow::Result<()> {
    anyhow::bail!("this build has no commands yet: see ARCHITECTURE.md for what is being built")
}
