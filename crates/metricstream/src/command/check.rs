//! `check`: the ledger alone, on a recorded history.

use metricstream_ledger::Expected;
use metricstream_ledger::result::Verdict;
use serde_json::json;

use crate::cli::{CheckArgs, Format};
use crate::exit::{Code, Ending, Failure};
use crate::output;

/// Causes of losses that are shown to people.
const LOSSES_SHOWN: usize = 12;

pub(crate) fn run(args: &CheckArgs) -> Ending {
    let stated = args.acks.as_deref().zip(args.min_insync_replicas).map(|(acks, min_insync_replicas)| {
        Expected::of_settings(matches!(acks, "all" | "-1"), min_insync_replicas, args.unclean_election)
    });
    let checked = metricstream_ledger::check_against(&args.history, stated).map_err(Failure::usage)?;
    let accounting = &checked.accounting;
    let verdict = checked.verdict();
    match args.format {
        Format::Json => {
            let (messages, anomalies, losses) = metricstream_ledger::verdict::rows_of(accounting);
            let inconclusive: Vec<String> = accounting.inconclusive.iter().map(ToString::to_string).collect();
            let answer = json!({
                "verdict": verdict, "messages": messages, "anomalies": anomalies, "losses": losses,
                "inconclusive": inconclusive, "records": checked.records,
                "guarantee": { "durable": accounting.durable, "why": accounting.durable_why },
            });
            output::print(&format!("{answer:#}\n"));
        }
        Format::Text => {
            let c = &accounting.counts;
            let mut text = format!("messages   {} sent · {} acked", c.sent, c.acked);
            // Without its audit nobody knows what the log has.
            if accounting.inconclusive.is_empty() || c.lost > 0 {
                text.push_str(&format!(
                    " · {} in the log · {} lost ({} of them predicted) · {} duplicated · {} reordered",
                    c.in_log, c.lost, c.lost_predicted, c.duplicates, c.reordered
                ));
            }
            text.push('\n');
            text.push_str(&format!("guarantee  {}\n", accounting.durable_why));
            for a in &accounting.anomalies {
                let place = match (&a.topic, a.partition) {
                    (Some(topic), Some(partition)) => format!(" {topic}-{partition}"),
                    _ => String::new(),
                };
                text.push_str(&format!(
                    "{:10} {}{place}: {} ({})\n",
                    a.verdict.as_str(),
                    a.kind.as_str(),
                    a.count,
                    a.evidence
                ));
            }
            for loss in accounting.losses.iter().take(LOSSES_SHOWN) {
                text.push_str(&format!("cause      {}\n", loss.cause));
            }
            if accounting.losses.len() > LOSSES_SHOWN {
                let more = accounting.losses.len() - LOSSES_SHOWN;
                text.push_str(&format!("           … {more} more, all of them with --format json\n"));
            }
            for damage in &checked.damage {
                text.push_str(&format!("damaged    {}: {}\n", damage.path.display(), damage.error));
            }
            for why in &accounting.inconclusive {
                text.push_str(&format!("unknown    {why}\n"));
            }
            let word = match verdict {
                Verdict::Pass => "PASS",
                Verdict::Fail => "FAIL",
                Verdict::Inconclusive => "INCONCLUSIVE",
            };
            text.push_str(&format!("\n{word}\n"));
            output::print(&text);
        }
    }
    Ok(match verdict {
        Verdict::Pass => Code::Pass,
        Verdict::Fail => Code::Violated,
        Verdict::Inconclusive => Code::Inconclusive,
    })
}
