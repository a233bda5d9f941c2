//! The binary: command line, the tokio drive of the conductor, the supervisor of detached clusters, the live view.
//!
//! Protocol rules live in `wire`, checker rules in `ledger`; here things are only connected.

mod cli;
mod clock;
mod command;
mod drive;
mod exit;
mod interrupt;
mod live;
mod output;
mod reach;
mod rundir;
mod source;
mod spinner;
mod supervisor;

use clap::Parser;
use cli::{Cli, Command};
use exit::{Code, Ending, Failure};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> std::process::ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|said| {
        // Help is output like any other: a full disk is an error, a reader that went away is not.
        if said.use_stderr() {
            said.exit();
        }
        output::print(&said.render().to_string());
        std::process::exit(output::finish(Code::Pass) as i32)
    });
    start_log();
    let ending = match cli.command {
        // These two live on threads and signals of their own making: no runtime around them.
        Command::Guardian { args } => metricstream_engine::guardian_main(args),
        Command::Member => return metricstream_load::member::main(),
        command => in_runtime(command),
    };
    let code = ending.unwrap_or_else(|failure| {
        output::error(&failure);
        failure.code
    });
    std::process::ExitCode::from(output::finish(code) as u8)
}

fn in_runtime(command: Command) -> Ending {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::environment(format!("cannot start: {e}")))?;
    let ending = runtime.block_on(async {
        survive_file_size_limits()?;
        dispatch(command).await
    });
    // Whatever still blocks (a client library's thread) must not keep a finished program alive.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    ending
}

/// A file that may not grow further (`ulimit -f`) is then refused like one on a full disk, instead of the signal's end of
/// the program where it stands. Caught, not ignored: what this program starts has the signal's own meaning again.
fn survive_file_size_limits() -> std::io::Result<()> {
    let kind = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    // The handler stays when its listener goes.
    signal(kind).map(drop)
}

async fn dispatch(command: Command) -> Ending {
    match command {
        Command::Run(args) => Box::pin(command::run::run(args)).await,
        Command::Scenario(what) => command::scenario::run(what),
        Command::Cluster(what) => Box::pin(command::cluster::run(what)).await,
        Command::Topic(what) => command::topic::run(what).await,
        Command::Group(what) => command::group::run(what).await,
        Command::Produce(args) => command::produce::run(args).await,
        Command::Consume(args) => command::consume::run(args).await,
        Command::Supervisor => Box::pin(supervisor::server::main()).await,
        Command::Serve(args) => Box::pin(command::serve::run(*args)).await,
        Command::Check(args) => command::check::run(&args),
        Command::Kafka(what) => command::kafka::run(what).await,
        Command::Guardian { .. } | Command::Member => Ok(Code::Usage),
    }
}

/// Logs go to standard error, and only when asked for with `METRICSTREAM_LOG` (`debug`, `metricstream_engine=trace`).
fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("METRICSTREAM_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
