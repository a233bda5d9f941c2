//! `check`: the ledger alone, on a recorded history.

use metricstream_ledger::result::Verdict;
use serde_json::json;

use crate::cli::{CheckArgs, Format};
use crate::exit::{Code, Ending, Failure};
use crate::output;

pub(crate) fn run(args: &CheckArgs) -> Ending {
    if !args.history.exists() {
        return Err(Failure::usage(format!(
            "there is no {}; want a run directory, its history folder, or a JSON-lines file",
            args.history.display()
        )));
    }
    let checked = metricstream_ledger::check(&args.history).map_err(Failure::usage)?;
    let accounting = &checked.accounting;
    let verdict = checked.verdict();
    match args.format {
        Format::Json => {
            let (messages, anomalies, losses) = metricstream_ledger::verdict::rows_of(accounting);
            let inconclusive: Vec<String> = accounting.inconclusive.iter().map(ToString::to_string).collect();
            let answer = json!({
                "verdict": verdict, "messages": messages, "anomalies": anomalies, "losses": losses,
                "inconclusive": inconclusive, "records": checked.records,
            });
            output::print(&format!("{answer:#}\n"));
        }
        Format::Text => {
            let c = &accounting.counts;
            let mut text = format!(
                "messages   {} sent · {} acked · {} in the log · {} lost ({} of them predicted) · {} duplicated · {} reordered\n",
                c.sent, c.acked, c.in_log, c.lost, c.lost_predicted, c.duplicates, c.reordered
            );
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
