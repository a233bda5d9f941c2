//! `consume`: reads a topic as a member of a group and tells of every rebalance.

use std::sync::atomic::Ordering;

use metricstream_load::tools::{self, Seen};
use metricstream_report::text::{columns, fit, thousands};
use serde_json::json;

use super::produce::stop_on_interrupt;
use super::{blocking, client_of, client_settings};
use crate::cli::{ConsumeArgs, Format};
use crate::exit::{Code, Ending, Failure};
use crate::output;

pub(crate) async fn run(args: ConsumeArgs) -> Ending {
    let mut at = args.at.clone();
    let [topic, group] = match args.what.as_slice() {
        [brokers, topic, group] => {
            at.bootstrap = Some(brokers.clone());
            [topic.clone(), group.clone()]
        }
        [topic, group] => [topic.clone(), group.clone()],
        _ => return Err(Failure::usage("want [BROKERS] TOPIC GROUP")),
    };
    let settings = client_settings(&args.config)?;
    let assignment = assignment(&args)?;
    let mut client = client_of(&at).await?;
    // Members of a group are told apart by it: several of these in their terminals.
    let client_id = format!("metricstream-consume-{}", std::process::id());
    client.set("group.id", &group).set("client.id", client_id);
    client.set("auto.offset.reset", if args.from_beginning { "earliest" } else { "latest" });
    for (key, value) in assignment {
        client.set(key, value);
    }
    for (key, value) in settings {
        client.set(key, value);
    }
    let who = client.get("client.id").unwrap_or_default();
    output::note(&format!(
        "{who} reads {topic} in group {group}; `metricstream group describe {group}` shows it by that name"
    ));
    let stop = stop_on_interrupt()?;
    let format = args.format;
    let work = move || {
        let mut tell = |seen| {
            print(&seen, format);
            // `| head` has what it wanted.
            stop.fetch_or(output::is_over(), Ordering::Relaxed);
        };
        tools::consume(&client, &topic, args.count, &stop, &mut tell)
    };
    let read = blocking(work).await?;
    output::note(&format!("{read} messages read"));
    // Ctrl-C is how a person ends a consumer: nothing went wrong.
    Ok(Code::Pass)
}

/// Who assigns partitions, as librdkafka is told; checked before any cluster is asked.
fn assignment(args: &ConsumeArgs) -> Result<Vec<(&'static str, &str)>, Failure> {
    match (args.protocol.as_str(), args.assignor.as_deref()) {
        ("consumer", Some(assignor @ ("uniform" | "range"))) => {
            Ok(vec![("group.protocol", "consumer"), ("group.remote.assignor", assignor)])
        }
        ("consumer", None) => Ok(vec![("group.protocol", "consumer")]),
        ("consumer", Some(other)) => Err(Failure::usage(format!(
            "--assignor {other}: in the protocol `consumer` the cluster assigns; allowed: uniform, range"
        ))),
        (_, Some("uniform")) => Err(Failure::usage("--assignor uniform: it belongs to --protocol consumer")),
        (_, assignor) => Ok(vec![("partition.assignment.strategy", assignor.unwrap_or("roundrobin"))]),
    }
}

/// A value on one line of a terminal, which it cannot command. A pipe gets it as it is.
fn readable(value: &str, width: usize) -> String {
    let plain: String = value.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if columns(&plain) <= width {
        return plain;
    }
    let size = format!(" {} bytes", thousands(value.len() as u64));
    format!("{}{size}", fit(&plain, width.saturating_sub(columns(&size))))
}

fn print(seen: &Seen, format: Format) {
    let line = match (seen, format) {
        (Seen::Message { value, .. }, Format::Text) => match output::terminal_width() {
            Some(width) => readable(value, width),
            None => value.clone(),
        },
        (Seen::Message { partition, offset, value }, Format::Json) => {
            json!({"partition": partition, "offset": offset, "value": value}).to_string()
        }
        (Seen::Rebalanced { before, after }, Format::Text) => format!("Rebalancing: {before:?} → {after:?}"),
        (Seen::Rebalanced { before, after }, Format::Json) => json!({"before": before, "after": after}).to_string(),
        (Seen::Resumed { paused }, Format::Text) => format!("Resumed after {:.1} s", paused.as_secs_f64()),
        (Seen::Resumed { paused }, Format::Json) => json!({"paused_s": paused.as_secs_f64()}).to_string(),
        (Seen::Trouble(error), _) => {
            output::note(&format!("trouble: {error}"));
            return;
        }
    };
    output::print(&format!("{line}\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_takes_one_line_of_a_terminal_and_a_short_one_stays() {
        assert_eq!(readable("cpu=0.75", 80), "cpu=0.75");
        assert_eq!(readable("a\u{1b}[2Jb\n", 80), "a\u{fffd}[2Jb\u{fffd}");
        let long = readable(&format!("metric-7 {}", ".".repeat(1191)), 80);
        assert!(long.starts_with("metric-7 ....") && long.ends_with("… 1,200 bytes"), "{long}");
        assert_eq!(columns(&long), 80);
    }
}
