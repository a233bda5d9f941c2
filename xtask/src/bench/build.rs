//! How long a developer waits for the binary after a change in it.

use std::fs::{File, FileTimes};
use std::time::{Instant, SystemTime};

use anyhow::{Context, bail};

use super::judged;
use crate::product::{cargo, root, succeed};

/// What must hold, seconds.
const MAX_S: f64 = 5.0;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How often; the median counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let build = || succeed(cargo().args(["build", "--locked", "--quiet"]));
    build()?;
    let main = root().join("crates/metricstream/src/main.rs");
    let mut took_s = Vec::new();
    for _ in 0..args.rounds {
        let file = File::options().append(true).open(&main).with_context(|| format!("{}", main.display()))?;
        file.set_times(FileTimes::new().set_modified(SystemTime::now()))?;
        let begun = Instant::now();
        build()?;
        took_s.push(begun.elapsed().as_secs_f64());
    }
    took_s.sort_by(f64::total_cmp);
    let median_s = took_s[took_s.len() / 2];
    let what = "cargo build after a change in the binary";
    if !judged(what, &format!("{median_s:.1} s"), &format!("at most {MAX_S} s"), median_s <= MAX_S) {
        bail!("the incremental build is too slow: {took_s:.1?} s");
    }
    Ok(())
}
