//! Developer programs: structure checks and benchmarks against peers.

fn main() -> anyhow::Result<()> {
    anyhow::bail!("no xtask command is built yet")
}
