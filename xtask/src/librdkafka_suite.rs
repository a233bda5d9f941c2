//! librdkafka's own tests against the embedded cluster. They come with the sources that this workspace links, inside the
//! crate `rdkafka-sys`; they are copied out, built once, and run one process a test, each told whether it passed.
//!
//! Which tests count is what Apache Kafka 4.1 passes; the others want an installation of Kafka, an authorizer, or settings
//! that no broker of today takes. What does not pass, and why, is in `docs/conformance.md`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use metricstream_cluster::{Cluster, Profile};

use crate::product;

/// What Apache Kafka 4.1 passes, of librdkafka 2.12.1.
const TESTS: &str = "0001 0002 0003 0005 0007 0008 0011 0012 0013 0014 0015 0016 0017 0018 0019 0020 0021 0026 0029 0030 \
    0035 0036 0038 0040 0041 0042 0044 0045 0048 0050 0051 0054 0056 0057 0059 0060 0061 0063 0064 0065 0067 0069 0070 \
    0073 0083 0084 0085 0086 0089 0090 0091 0093 0099 0103 0112 0113 0114 0118 0122 0123 0127 0130 0132 0137 0139 0140 \
    0150";
/// A test that has not ended by then has failed.
const PATIENCE: Duration = Duration::from_secs(150);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these, by their numbers; default: all that Apache Kafka passes
    #[arg(value_name = "TEST")]
    tests: Vec<String>,
    /// The protocol of groups: `classic` or `consumer`
    #[arg(long, default_value = "classic", value_parser = ["classic", "consumer"])]
    group_protocol: String,
    /// `apache` or `fast`
    #[arg(long, default_value = "fast", value_parser = ["apache", "fast"])]
    profile: String,
    /// How many must pass; default: all that are run
    #[arg(long)]
    at_least: Option<usize>,
    /// Run them against this cluster instead, for comparison
    #[arg(long, value_name = "HOST:PORT,…")]
    bootstrap: Option<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let folder = product::target().join("librdkafka-suite");
    let sources = build(&folder)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let cluster = match &args.bootstrap {
        Some(_) => None,
        None => Some(runtime.block_on(start(&args.profile))?),
    };
    let bootstrap = args.bootstrap.clone().or_else(|| cluster.as_ref().map(Cluster::bootstrap)).unwrap_or_default();
    fs::write(sources.join("tests/test.conf"), format!("bootstrap.servers={bootstrap}\n"))?;
    let logs = folder.join(format!("logs-{}", args.group_protocol));
    fs::create_dir_all(&logs)?;
    let tests: Vec<String> = match args.tests.as_slice() {
        [] => TESTS.split_whitespace().map(str::to_owned).collect(),
        some => some.to_vec(),
    };
    let mut passed = 0;
    for test in &tests {
        let log = logs.join(format!("{test}.log"));
        let begun = Instant::now();
        let outcome = one(&sources, test, &args.group_protocol, &log)?;
        println!("{test}  {outcome:<8} {:>6.1} s", begun.elapsed().as_secs_f64());
        passed += usize::from(outcome == "passed");
    }
    println!("{passed} of {} passed; their output is in {}", tests.len(), logs.display());
    let wanted = args.at_least.unwrap_or(tests.len());
    if passed < wanted {
        bail!("{passed} passed, {wanted} are wanted");
    }
    Ok(())
}

/// As the suite wants its broker: topics made by asking for them, with four partitions and three replicas.
async fn start(profile: &str) -> anyhow::Result<Cluster> {
    let profile = if profile == "fast" { Profile::Fast } else { Profile::Apache };
    let cluster = Cluster::builder()
        .profile(profile)
        .set("num.partitions", "4")
        .set("default.replication.factor", "3")
        .set("min.insync.replicas", "1");
    Ok(cluster.start().await?)
}

/// The folder with librdkafka's sources and its test program, built if it is not there yet.
fn build(folder: &Path) -> anyhow::Result<PathBuf> {
    let crate_folder = sources_of_rdkafka_sys()?;
    let version = crate_folder.file_name().context("a folder has a name")?;
    let sources = folder.join(version);
    if sources.join("tests/test-runner").exists() {
        return Ok(sources);
    }
    fs::create_dir_all(folder)?;
    let from = crate_folder.join("librdkafka");
    product::succeed(Command::new("cp").args(["-r", "--no-target-directory"]).arg(from).arg(&sources))?;
    println!("building librdkafka's tests in {} (minutes)", sources.display());
    let build = "./configure --disable-curl --disable-sasl && make libs && make -C tests build";
    let log = File::create(folder.join("build.log"))?;
    let mut command = Command::new("sh");
    command.args(["-c", build]).current_dir(&sources).stdout(log.try_clone()?).stderr(log);
    product::succeed(&mut command).with_context(|| format!("see {}", folder.join("build.log").display()))?;
    Ok(sources)
}

/// Where cargo has the crate that this workspace links.
fn sources_of_rdkafka_sys() -> anyhow::Result<PathBuf> {
    let told = product::cargo().args(["metadata", "--format-version", "1", "--locked"]).output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&told.stdout).context("cargo metadata")?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    let found = packages.iter().find(|p| p["name"] == "rdkafka-sys").context("the workspace links no rdkafka-sys")?;
    let manifest = Path::new(found["manifest_path"].as_str().context("a package has a manifest")?);
    Ok(manifest.parent().context("a manifest lies in a folder")?.to_path_buf())
}

/// Runs one test to its end, or to the end of our patience.
fn one(sources: &Path, test: &str, group_protocol: &str, log: &Path) -> anyhow::Result<&'static str> {
    let output = File::create(log)?;
    let libraries = std::env::join_paths([sources.join("src"), sources.join("src-cpp")])?;
    let mut child: Child = Command::new("./test-runner")
        .args(["-p1", "-Q", "-E", "-L"])
        .current_dir(sources.join("tests"))
        .env("LD_LIBRARY_PATH", libraries)
        .env("TEST_KAFKA_VERSION", "4.1.0")
        .env("TEST_CONSUMER_GROUP_PROTOCOL", group_protocol)
        .env("TESTS", test)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
        .context("the test program does not start")?;
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            // The suite skips by itself what the broker or the protocol does not have.
            let name = format!("Test {test}_");
            let said = fs::read(log)?;
            let told = String::from_utf8_lossy(&said).lines().any(|l| l.contains(&name) && l.contains("PASSED"));
            return Ok(match (status.success(), told) {
                (true, true) => "passed",
                (true, false) => "skipped",
                (false, _) => "FAILED",
            });
        }
        if begun.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            return Ok("TOO LONG");
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}
