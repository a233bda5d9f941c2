//! `cluster …`: one that stays, in the foreground or detached.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::cli::{ClusterCommand, Format, NodeArgs, OwnEngine, UpArgs};
use crate::exit::{Code, Ending, Failure};
use crate::interrupt::Interrupt;
use crate::output;
use crate::spinner::Spinner;
use crate::supervisor::protocol::{self, Answer, NodeAction, Request, Status};
use crate::supervisor::server;

pub(crate) async fn run(what: ClusterCommand) -> Ending {
    match what {
        ClusterCommand::Up(args) => up(args).await,
        ClusterCommand::Status { name, format } => {
            let status = protocol::status(&name).await?;
            if format == Format::Json {
                output::print(&format!("{:#}\n", json!(status)));
            } else {
                output::print(&describe(&status));
            }
            Ok(Code::Pass)
        }
        ClusterCommand::Wait { name, isr_full, timeout } => wait(&name, isr_full, timeout).await,
        ClusterCommand::Kill(node) => act(NodeAction::Kill, &node).await,
        ClusterCommand::Stop(node) => act(NodeAction::Stop, &node).await,
        ClusterCommand::Start(node) => act(NodeAction::Start, &node).await,
        ClusterCommand::Pause(node) => act(NodeAction::Pause, &node).await,
        ClusterCommand::Resume(node) => act(NodeAction::Resume, &node).await,
        ClusterCommand::Down { name } => {
            let spinner = Spinner::on_terminal("ending the cluster");
            let answer = protocol::ask(&name, &Request::Down, Duration::from_secs(90)).await;
            drop(spinner);
            say(answer?);
            // Its socket goes last: until then the name is not free.
            let path = protocol::socket_path(&name)?;
            let deadline = Instant::now() + Duration::from_secs(10);
            while path.exists() && Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(Code::Pass)
        }
    }
}

fn say(answer: Answer) {
    if let Answer::Done { text } = answer {
        output::print(&format!("{text}\n"));
    }
}

async fn act(action: NodeAction, node: &NodeArgs) -> Ending {
    let request = Request::Node { action, node: node.node };
    let spinner = Spinner::on_terminal(&format!("{} node {}", action.doing(), node.node));
    let answer = protocol::ask(&node.name, &request, Duration::from_secs(90)).await;
    drop(spinner);
    say(answer?);
    Ok(Code::Pass)
}

async fn wait(name: &str, isr_full: bool, timeout: Duration) -> Ending {
    let begun = Instant::now();
    let spinner = Spinner::begin();
    let mut told = String::new();
    loop {
        let status = protocol::status(name).await?;
        let missing = if isr_full { status.missing() } else { status.leaderless() };
        if missing.is_empty() {
            drop(spinner);
            let what = if isr_full { "every ISR is full" } else { "every partition has a leader" };
            output::note(&format!("{what} ({:.1} s)", begun.elapsed().as_secs_f64()));
            return Ok(Code::Pass);
        }
        if begun.elapsed() >= timeout {
            return Err(Failure {
                code: Code::Violated,
                error: anyhow::anyhow!("waited {} s; {missing}", timeout.as_secs_f64()),
            });
        }
        if missing != told {
            spinner.step(&missing);
            told = missing;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn describe(status: &Status) -> String {
    let mut text = format!(
        "{}   {} {}   profile {}\nbootstrap {}\n\n",
        status.name, status.engine, status.version, status.profile, status.bootstrap
    );
    if !status.flaws.is_empty() {
        text.push_str(&format!("flaws that are switched on: {}\n\n", status.flaws.join(", ")));
    }
    for n in &status.nodes {
        // The last that was known to be active may be gone.
        let active =
            if status.active_controller == Some(n.id) && n.state == "running" { "   active controller" } else { "" };
        let fenced = if n.fenced == Some(true) { ", fenced" } else { "" };
        text.push_str(&format!("{} {}   {}{fenced}   port {}{active}\n", n.role, n.id, n.state, n.port));
    }
    if !status.partitions.is_empty() {
        text.push('\n');
    }
    for p in &status.partitions {
        let list = |ids: &[i32]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let leader = if p.leader < 0 { "none".to_owned() } else { p.leader.to_string() };
        let (replicas, isr) = (list(&p.replicas), list(&p.isr));
        let short = if p.isr.len() < p.replicas.len() { "   not full" } else { "" };
        text.push_str(&format!(
            "{}-{}   leader {leader}   replicas [{replicas}]   ISR [{isr}]{short}\n",
            p.topic, p.partition
        ));
    }
    text
}

async fn up(args: UpArgs) -> Ending {
    if args.engine == OwnEngine::Kafka && !args.flaws.is_empty() {
        return Err(Failure::usage("--flaw is of the embedded cluster: --engine embedded"));
    }
    if args.engine == OwnEngine::Embedded && args.kafka_version.is_some() {
        return Err(Failure::usage("--kafka-version is of Apache Kafka: --engine kafka"));
    }
    if args.detach {
        return detach(&args).await;
    }
    let spinner = Spinner::begin();
    let progress = spinner.teller();
    let ready = |bootstrap: &str| {
        drop(spinner);
        output::print(&format!("bootstrap {bootstrap}\n"));
    };
    server::own(&args, ready, progress).await
}

/// Ends a supervisor that is not wanted any more, unless it was let go.
struct Starting(Option<Child>);

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // Its guardian takes the rest.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

async fn detach(args: &UpArgs) -> Ending {
    let mut interrupt = Interrupt::listen()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("__supervisor").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn()?;
    let line = serde_json::to_string(args).map_err(Failure::environment)?;
    if let Some(mut stdin) = child.stdin.take() {
        writeln!(stdin, "{line}")?;
    }
    let Some(stdout) = child.stdout.take() else { return Err(Failure::environment("the supervisor has no output")) };
    let mut starting = Starting(Some(child));
    let spinner = Spinner::begin();
    let (tx, mut lines) = tokio::sync::mpsc::channel::<String>(64);
    std::thread::spawn(move || {
        BufReader::new(stdout).lines().map_while(Result::ok).all(|line| tx.blocking_send(line).is_ok())
    });
    loop {
        let line = tokio::select! {
            line = lines.recv() => line,
            () = interrupt.wait() => return Err(Failure::interrupted("while the cluster was starting")),
        };
        let Some(line) = line else { return Err(Failure::environment("the supervisor ended without a word")) };
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match word {
            "progress" => spinner.step(rest),
            "ready" => {
                drop(spinner);
                starting.0.take();
                output::print(&format!("bootstrap {rest}\n"));
                return Ok(Code::Pass);
            }
            "failed" => {
                let (code, message) = rest.split_once(' ').unwrap_or(("3", rest));
                let message = message.replace('\u{2028}', "\n");
                return Err(if code == "2" { Failure::usage(message) } else { Failure::environment(message) });
            }
            _ => {}
        }
    }
}
