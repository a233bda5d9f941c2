//! `produce`: lines of standard input, or generated messages, to a topic.

use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use metricstream_load::tools;
use metricstream_report::text::thousands;

use super::{blocking, client_of, client_settings};
use crate::cli::ProduceArgs;
use crate::exit::{Code, Ending, Failure};
use crate::interrupt::Interrupt;
use crate::output;
use crate::spinner::Spinner;

pub(crate) async fn run(args: ProduceArgs) -> Ending {
    if args.rate.is_some_and(|r| !r.is_finite() || r <= 0.0) {
        return Err(Failure::usage("--rate: want a number above 0"));
    }
    let settings = client_settings(&args.config)?;
    let mut client = client_of(&args.at).await?;
    client.set("acks", &args.acks);
    if args.acks == "all" || args.acks == "-1" {
        client.set("enable.idempotence", "true");
    }
    for (key, value) in settings {
        client.set(key, value);
    }
    let stop = stop_on_interrupt()?;
    let stopped = Arc::clone(&stop);
    // Not while a person may be typing the lines.
    let telling = |count| Spinner::on_terminal(&format!("sending {} messages to {}", thousands(count), args.topic));
    let spinner = args.count.map(telling);
    let sent = blocking(move || {
        let size = args.size as usize;
        match args.count {
            Some(count) => {
                let mut values = (0..count).map(|n| {
                    let mut value = format!("metric-{n} ").into_bytes();
                    value.resize(size.max(1), b'.');
                    value
                });
                tools::produce(&client, &args.topic, &mut values, args.rate, &stop)
            }
            None => {
                let mut lines = std::io::stdin().lock().lines().map_while(Result::ok).map(String::into_bytes);
                tools::produce(&client, &args.topic, &mut lines, args.rate, &stop)
            }
        }
    })
    .await;
    drop(spinner);
    let sent = sent?;
    output::print(&format!("{sent} messages acknowledged\n"));
    Ok(if stopped.load(Ordering::Relaxed) { Code::Interrupted } else { Code::Pass })
}

/// A flag that the first signal sets.
pub(super) fn stop_on_interrupt() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut interrupt = Interrupt::listen()?;
    let flag = Arc::clone(&stop);
    tokio::spawn(async move {
        interrupt.wait().await;
        flag.store(true, Ordering::Relaxed);
    });
    Ok(stop)
}
