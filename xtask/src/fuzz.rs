//! The long fuzz run: damaged input for every decoder of `metricstream-wire`, for as long as somebody has patience. The
//! first finding ends it and is kept as a file. The short one, which counts allocations too, is a test of that crate.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use metricstream_wire::fuzz::{self, Target};

/// Inputs between two looks at the clock.
const ROUND: u64 = 5_000;
/// A decoder that needs longer for one input can be kept busy by anybody. Generous: the machine may be.
const SLOW: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long, over all decoders together
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    seconds: u64,
    /// Only decoders whose name contains this, such as `FetchRequest`
    #[arg(long)]
    decoder: Option<String>,
    /// Decides every input; the same seed tries the same ones
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where a finding is written
    #[arg(long, value_name = "DIR", default_value = "fuzz-findings")]
    out: PathBuf,
}

/// What one decoder was fed.
#[derive(Debug, Default, Clone, Copy)]
struct Fed {
    inputs: u64,
    taken: u64,
    took: Duration,
}

/// An input that a decoder does not bear.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    what: String,
    seed: u64,
    input: Vec<u8>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let wanted = |target: &Target| args.decoder.as_ref().is_none_or(|part| target.name.contains(part.as_str()));
    let targets: Vec<Target> = fuzz::targets().into_iter().filter(wanted).collect();
    ensure!(!targets.is_empty(), "no decoder has {:?} in its name", args.decoder.as_deref().unwrap_or_default());
    let count = u32::try_from(targets.len()).context("decoders")?;
    let share = Duration::from_secs(args.seconds) / count;
    println!("{count} decoders, {:.2} s each, seed {}", share.as_secs_f64(), args.seed);
    println!("{:45} {:>12} {:>12} {:>8}", "decoder", "inputs", "inputs/s", "taken %");
    let mut all = Fed::default();
    for target in &targets {
        match feed_for(target, share, args.seed) {
            Ok(fed) => {
                println!("{}", line(&target.name, fed));
                all = Fed { inputs: all.inputs + fed.inputs, taken: all.taken + fed.taken, took: all.took + fed.took };
            }
            Err(finding) => {
                let path = keep(&args.out, &target.name, &finding)?;
                let (what, seed) = (&finding.what, finding.seed);
                bail!("{}: {what} (seed {seed}); the input is in {}", target.name, path.display());
            }
        }
    }
    println!("{}", line("all", all));
    println!("no finding");
    Ok(())
}

fn line(name: &str, fed: Fed) -> String {
    let per_s = fed.inputs as f64 / fed.took.as_secs_f64().max(1e-9);
    let taken = fed.taken as f64 * 100.0 / fed.inputs.max(1) as f64;
    format!("{name:45} {:>12} {per_s:>12.0} {taken:>8.1}", fed.inputs)
}

/// Feeds rounds until the time is up: at least one.
fn feed_for(target: &Target, share: Duration, seed: u64) -> Result<Fed, Finding> {
    let begun = Instant::now();
    let mut all = Fed::default();
    for round in 0.. {
        let fed = feed_round(target, seed.wrapping_mul(1 << 32).wrapping_add(round))?;
        all.inputs += fed.inputs;
        all.taken += fed.taken;
        all.took = begun.elapsed();
        if all.took >= share {
            break;
        }
    }
    Ok(all)
}

fn feed_round(target: &Target, seed: u64) -> Result<fuzz::Fed, Finding> {
    let mut found = None;
    let fed = fuzz::feed(target, seed, ROUND, |input, decode| {
        if found.is_some() {
            return;
        }
        let begun = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(decode));
        let took = begun.elapsed();
        let what = match outcome {
            Err(panic) => format!("it panics: {}", message(&*panic)),
            Ok(()) if took > SLOW => format!("one input takes {:.1} s", took.as_secs_f64()),
            Ok(()) => return,
        };
        found = Some(Finding { what, seed, input: input.to_vec() });
    });
    found.map_or(Ok(fed), Err)
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a word".to_owned())
}

/// Writes the input that was found to a file of its own.
fn keep(folder: &Path, decoder: &str, finding: &Finding) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
    let name: String = decoder.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let path = folder.join(format!("{name}-{}.bin", finding.seed));
    std::fs::write(&path, &finding.input).with_context(|| format!("{}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(decode: fn(&[u8]) -> bool) -> Target {
        let valid = |_: &mut metricstream_wire::sample::Random| (&[0_u8, 0, 0, 2, 7, 8][..]).into();
        Target::new("a flawed one", valid, move |input| decode(&input))
    }

    #[test]
    fn an_input_at_which_a_decoder_panics_ends_the_run_and_is_kept_as_it_was() {
        let reads_past_the_end = target(|input| input[5] == 8);
        let finding = feed_for(&reads_past_the_end, Duration::from_secs(60), 1).expect_err("some inputs are cut");
        assert!(finding.what.contains("it panics: index out of bounds"), "{}", finding.what);
        assert!(finding.input.len() <= 5, "{:?}", finding.input);
        let folder = tempfile::tempdir().expect("a folder");
        let path = keep(&folder.path().join("new"), "a flawed one", &finding).expect("written");
        assert_eq!(path.file_name().and_then(|n| n.to_str()), Some(&*format!("a-flawed-one-{}.bin", finding.seed)));
        assert_eq!(std::fs::read(path).expect("there"), finding.input);
        let again = feed_for(&reads_past_the_end, Duration::from_secs(60), 1);
        assert_eq!(again.expect_err("the same seed"), finding);
    }

    #[test]
    fn a_sound_decoder_is_fed_until_the_time_is_up() {
        let fed = feed_for(&target(|input| input.get(5) == Some(&8)), Duration::ZERO, 1).expect("no finding");
        assert_eq!(fed.inputs, ROUND);
        assert!(fed.taken > 0 && fed.taken < fed.inputs, "{fed:?}");
    }
}
