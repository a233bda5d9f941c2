//! `serve`: the ingest, before a cluster of its own or one that is there. What it answers is decided in
//! `metricstream-ingest`; what is sent, in `metricstream-load`; here the two are joined.

use std::sync::Arc;
use std::time::Duration;

use metricstream_engine::Engine;
use metricstream_ingest::{Appended, Limits, Log, MetricLimits, Rate, Receipt, Records, Refused, Server, Tls};
use metricstream_load::ClientConfig;
use metricstream_load::keyed::{KeyedProducer, KeyedSettings, NotTaken, refuse_fewer_acks};
use metricstream_load::tools;
use metricstream_scenario::{Controllers, Topic, Topology};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::{blocking, client_of, client_properties, client_settings};
use crate::cli::serve::{BoundArgs, ClientRate, OwnClusterArgs, ServeArgs};
use crate::cli::{ClientArgs, OwnEngine};
use crate::drive::engine;
use crate::drive::own::{self, Own, Wish};
use crate::exit::{Code, Ending, Failure};
use crate::interrupt::Interrupt;
use crate::output;
use crate::source;
use crate::spinner::Spinner;

/// File descriptors that are not connections of clients: the cluster's, the program's own.
const OTHER_FILES: u64 = 512;
/// How long the topic's leaders may take.
const READY: Duration = Duration::from_secs(60);
/// A client's burst, where it is not given: what it may send in this many seconds.
const BURST_S: f64 = 2.0;

pub(crate) async fn run(args: ServeArgs) -> Ending {
    let mut interrupt = Interrupt::listen()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let settings = client_settings(&args.config)?;
    refuse_fewer_acks(settings.iter().map(|(key, value)| (key, value))).map_err(Failure::usage)?;
    let limits = limits(&args.bounds)?;
    let tls = match (&args.tls_certificate, &args.tls_key) {
        (Some(certificate), Some(key)) => Some(Tls::from_pem(certificate, key).map_err(Failure::usage)?),
        _ => None,
    };
    let secure = tls.is_some();
    // Before the cluster: whether the port is free is known at once.
    let server = Server::bind(args.listen, tls, limits)
        .await
        .map_err(|error| Failure::environment(format!("cannot listen at {}: {error}; see --listen", args.listen)))?;
    let address = server.local_addr()?;
    let preparing = Box::pin(prepare(&args, settings));
    let (cluster, log) = tokio::select! {
        prepared = preparing => prepared?,
        () = interrupt.wait() => return Err(Failure::interrupted("while the cluster was being reached")),
    };
    output::print(&format!("bootstrap {}\n", cluster.bootstrap));
    output::print(&format!("listening {}://{address}\n", if secure { "https" } else { "http" }));

    let mut hurry = interrupt.clone();
    let mut terminated = false;
    let stop = async {
        tokio::select! {
            () = interrupt.wait() => {}
            _ = terminate.recv() => terminated = true,
        }
        // Both tell of SIGTERM, in no order.
        let also = std::future::poll_fn(|cx| std::task::Poll::Ready(terminate.poll_recv(cx).is_ready()));
        terminated = also.await || terminated;
        output::note("stopping: what was taken is answered; again to end at once");
    };
    let ended = tokio::select! {
        ended = server.serve(log, stop) => Some(ended),
        () = hurry.wait_for(2) => None,
    };
    cluster.end().await;
    match ended {
        Some(ended) if ended.broken_off > 0 => {
            output::note(&format!("{} requests had no answer in time and were broken off", ended.broken_off));
            Ok(Code::Violated)
        }
        // A server that is asked to end and does has done its work; Ctrl-C is Ctrl-C.
        Some(_) if terminated => Ok(Code::Pass),
        _ => Ok(Code::Interrupted),
    }
}

/// The cluster behind the door.
struct Behind {
    bootstrap: String,
    /// If it was started here.
    own: Option<Own>,
}

impl Behind {
    async fn end(self) {
        if let Some(own) = self.own {
            own.end().await;
        }
    }
}

/// The cluster, and the log that the front door writes to.
async fn prepare(args: &ServeArgs, settings: Vec<(String, String)>) -> Result<(Behind, Arc<dyn Log>), Failure> {
    let at = &args.at;
    let (behind, mut client) = if at.bootstrap.is_some() || at.client_config.is_some() || at.name.is_some() {
        let (bootstrap, client_config) = (at.bootstrap.clone(), at.client_config.clone());
        let properties = client_properties(client_config.as_deref())?;
        if at.name.is_none() && bootstrap.is_none() && !properties.contains_key("bootstrap.servers") {
            return Err(Failure::usage("--client-config names no bootstrap.servers: add --bootstrap, or --name"));
        }
        let name = at.name.clone().unwrap_or_else(|| "default".to_owned());
        let client = client_of(&ClientArgs { bootstrap, client_config, name }).await?;
        let bootstrap = client.get("bootstrap.servers").unwrap_or_default().to_owned();
        (Behind { bootstrap, own: None }, client)
    } else {
        let behind = start(&args.own, &args.topic).await?;
        let client = metricstream_load::config::base(&behind.bootstrap, &Default::default());
        (behind, client)
    };
    for (key, value) in settings {
        client.set(key, value);
    }
    match log(args, &behind, client).await {
        Ok(log) => Ok((behind, log)),
        Err(failure) => {
            behind.end().await;
            Err(failure)
        }
    }
}

async fn log(args: &ServeArgs, behind: &Behind, client: ClientConfig) -> Result<Arc<dyn Log>, Failure> {
    if behind.own.is_none() {
        let (of_thread, topic) = (client.clone(), args.topic.clone());
        let partitions = blocking(move || tools::describe_topic(&of_thread, &topic)).await?;
        if let Some(alone) = partitions.iter().find(|row| row.replicas.len() < 2) {
            output::note(&format!(
                "note: {}-{} has one replica: what is acknowledged is lost with its broker",
                args.topic, alone.partition
            ));
        }
    }
    let settings = KeyedSettings {
        in_flight_max: args.bounds.max_in_flight as usize,
        ack_timeout: args.bounds.ack_timeout,
        linger: args.bounds.linger,
    };
    let producer = KeyedProducer::new(&client, &args.topic, &settings).map_err(Failure::usage)?;
    Ok(Arc::new(Cluster(producer)))
}

/// Starts a cluster with the topic.
async fn start(args: &OwnClusterArgs, topic: &str) -> Result<Behind, Failure> {
    let kind = args.engine.unwrap_or(OwnEngine::Embedded);
    if kind == OwnEngine::Embedded && args.kafka_version.is_some() {
        return Err(Failure::usage("--kafka-version is of Apache Kafka: --engine kafka"));
    }
    let topics = [topic_of(args, topic)?];
    let topology = Topology {
        brokers: args.brokers,
        controllers: Controllers::Combined,
        profile: source::profile_of(args.profile),
        broker_config: Default::default(),
        topics: topics.to_vec(),
    };
    let spinner = Spinner::begin();
    let wish = Wish {
        name: "serve",
        kind,
        topology,
        // The data may be of an earlier time, with the topic in it.
        topics: &[],
        port: args.port,
        data: args.data.clone(),
        kafka_version: args.kafka_version.clone(),
        flaws: Vec::new(),
    };
    let own = Own::start(wish, spinner.teller()).await?;
    drop(spinner);
    if let Err(failure) = with_topic(&own.engine, topics).await {
        own.engine.stop().await;
        return Err(failure);
    }
    if args.data.is_none() {
        output::note("note: the cluster ends with this program, and its data with it; --data DIR keeps it");
    }
    Ok(Behind { bootstrap: own.engine.bootstrap(), own: Some(own) })
}

/// Creates the topic, unless it is there already.
async fn with_topic(engine: &Engine, mut topics: [Topic; 1]) -> Result<(), Failure> {
    let client = metricstream_load::config::base(&engine.bootstrap(), &Default::default());
    let there = blocking(move || tools::list_topics(&client)).await?;
    match there.iter().find(|(name, _)| *name == topics[0].name) {
        Some((_, partitions)) => topics[0].partitions = i32::try_from(*partitions).unwrap_or(i32::MAX),
        None => engine.create_topics(&topics).await.map_err(engine::failure)?,
    }
    engine.wait_ready(&topics, READY).await.map_err(engine::failure)
}

/// As many replicas as Kafka's users have, three, where there are as many brokers.
fn topic_of(args: &OwnClusterArgs, name: &str) -> Result<Topic, Failure> {
    own::check_topic_name(name).map_err(|why| Failure::usage(format!("--topic {name}: {why}")))?;
    let replication_factor = i16::try_from(args.brokers.min(3)).unwrap_or(3);
    Ok(own::topic(name, args.partitions, replication_factor))
}

fn limits(args: &BoundArgs) -> Result<Limits, Failure> {
    if args.max_batch > args.max_in_flight {
        return Err(Failure::usage("--max-in-flight is less than --max-batch: such a batch could never be taken"));
    }
    for (option, value) in [("--ack-timeout", args.ack_timeout), ("--body-timeout", args.body_timeout)] {
        if value.as_millis() == 0 {
            return Err(Failure::usage(format!("{option}: want 1ms or more")));
        }
    }
    let default = Limits::default();
    let rate = match args.client_rate {
        ClientRate::Unlimited => None,
        ClientRate::PerSecond(metrics_per_s) => {
            let burst = args.client_burst.map_or_else(|| (metrics_per_s * BURST_S).max(1.0), f64::from);
            Some(Rate { metrics_per_s, burst })
        }
    };
    let drain_timeout = args.ack_timeout.max(args.body_timeout) + Duration::from_secs(5);
    Ok(Limits {
        body_max_bytes: args.max_body_bytes as usize,
        metric: MetricLimits { batch_max: args.max_batch as usize, ..default.metric },
        rate,
        connections_max: connections(args.max_connections as usize),
        body_timeout: args.body_timeout,
        ack_timeout: args.ack_timeout,
        drain_timeout,
        ..default
    })
}

/// So many connections, or as many as there are file descriptors for; the soft limit is raised as far as it may be.
fn connections(wanted: usize) -> usize {
    let now = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: now.maximum, maximum: now.maximum };
    let have = if setrlimit(Resource::Nofile, raised).is_ok() { now.maximum } else { now.current };
    let Some(have) = have else { return wanted };
    let room = have.saturating_sub(OTHER_FILES).max(have / 2).max(1);
    let most = wanted.min(usize::try_from(room).unwrap_or(wanted));
    if most < wanted {
        output::note(&format!("note: at most {most} connections: there are {have} file descriptors (ulimit -n)"));
    }
    most
}

/// The cluster as the front door's log.
struct Cluster(KeyedProducer);

impl Log for Cluster {
    fn append(&self, key: &str, records: Records) -> Result<Receipt, Refused> {
        let (tell, receipt) = oneshot::channel();
        let done = move |outcome: metricstream_load::keyed::Outcome| {
            let appended = Appended {
                acknowledged: outcome.acknowledged,
                not_written: outcome.not_written,
                unknown: outcome.unknown,
                why: outcome.why,
            };
            // Who asked may have gone away.
            let _ = tell.send(appended);
        };
        self.0.send(key.as_bytes(), records.len(), records.iter(), done).map_err(|error| match error {
            NotTaken::Full => Refused::Full,
            NotTaken::NoClient(error) => Refused::Closed(error.to_string()),
        })?;
        Ok(receipt)
    }

    fn ready(&self) -> Result<(), String> {
        self.0.trouble().map_or(Ok(()), Err)
    }
}
