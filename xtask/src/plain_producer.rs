//! A producer as plain as can be: one message after the other at a fixed rate to one partition, acks=all, and the longest
//! time between two acknowledgements. It shares no code with the product's load, so that the two can contradict each
//! other. It ends when its standard input does, and prints what it saw as JSON.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};

/// How long it may take to create the topic.
const CREATE: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Addresses of the cluster
    #[arg(long)]
    bootstrap: String,
    /// Topic to create and to send to: one partition
    #[arg(long)]
    topic: String,
    /// Its replicas, the leader first
    #[arg(long, value_delimiter = ',')]
    replicas: Vec<i32>,
    /// Messages per second
    #[arg(long)]
    rate_per_s: u32,
}

/// What the acknowledgements were like.
#[derive(Debug, Default)]
struct Acks {
    count: u64,
    failed: u64,
    last: Option<Instant>,
    longest: Duration,
}

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Acks>>);

impl ClientContext for Heard {}

impl ProducerContext for Heard {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let now = Instant::now();
        let mut acks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if result.is_err() {
            acks.failed += 1;
            return;
        }
        if let Some(last) = acks.last {
            acks.longest = acks.longest.max(now - last);
        }
        acks.last = Some(now);
        acks.count += 1;
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &args.bootstrap);
    create_topic(&config, args)?;
    config.set("acks", "all");
    let heard = Heard::default();
    let producer: BaseProducer<Heard> = config.create_with_context(heard.clone())?;
    let ended = Arc::new(AtomicBool::new(false));
    let end = Arc::clone(&ended);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        end.store(true, Ordering::Relaxed);
    });
    let begun = Instant::now();
    let mut sent = 0_u32;
    while !ended.load(Ordering::Relaxed) {
        let due = begun + Duration::from_secs(1) * sent / args.rate_per_s;
        producer.poll(due.saturating_duration_since(Instant::now()));
        while Instant::now() < due {
            producer.poll(due.saturating_duration_since(Instant::now()));
        }
        // What the client does not take stays due.
        if producer.send(BaseRecord::<(), _>::to(&args.topic).partition(0).payload(&[0_u8; 100][..])).is_ok() {
            sent += 1;
        }
    }
    producer.purge(rdkafka::producer::PurgeConfig::default().queue().inflight());
    let acks = heard.0.lock().unwrap_or_else(PoisonError::into_inner);
    let longest_gap_ms = acks.longest.as_secs_f64() * 1e3;
    let seen = serde_json::json!({ "sent": sent, "acked": acks.count, "longest_gap_ms": longest_gap_ms });
    println!("{seen}");
    Ok(())
}

fn create_topic(config: &ClientConfig, args: &Args) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    let replicas = [args.replicas.as_slice()];
    let topic = NewTopic::new(&args.topic, 1, TopicReplication::Variable(&replicas)).set("min.insync.replicas", "2");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let options = AdminOptions::new().operation_timeout(Some(CREATE));
    let created = runtime.block_on(admin.create_topics([&topic], &options))?;
    let created = created.into_iter().next().context("no answer for the topic")?;
    created.map(|_| ()).map_err(|(name, why)| anyhow!("topic {name} was not created: {why}"))
}
