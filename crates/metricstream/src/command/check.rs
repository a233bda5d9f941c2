//! `check`: the ledger alone, on a recorded history.

use metricstream_ledger::Expected;
use metricstream_ledger::result::Verdict;
use metricstream_report::text::{thousands, wrap};
use serde_json::json;

use crate::cli::{CheckArgs, Format};
use crate::exit::{Code, Ending, Failure};
use crate::output;
use crate::spinner::Spinner;

/// Causes of losses that are shown to people.
const LOSSES_SHOWN: usize = 12;

pub(crate) fn run(args: &CheckArgs) -> Ending {
    let stated = args.acks.as_deref().zip(args.min_insync_replicas).map(|(acks, min_insync_replicas)| {
        Expected::of_settings(matches!(acks, "all" | "-1"), min_insync_replicas, args.unclean_election)
    });
    if !args.history.exists() {
        return Err(Failure::usage(format!(
            "there is no {}; want a run directory, its history folder, or a JSON-lines file",
            args.history.display()
        )));
    }
    let spinner = Spinner::on_terminal("reading the history");
    let checked = metricstream_ledger::check_against(&args.history, stated).map_err(Failure::usage);
    drop(spinner);
    let checked = checked?;
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
        Format::Text => output::print(&text_of(&checked, verdict)),
    }
    Ok(match verdict {
        Verdict::Pass => Code::Pass,
        Verdict::Fail => Code::Violated,
        Verdict::Inconclusive => Code::Inconclusive,
    })
}

/// What was found, for people.
fn text_of(checked: &metricstream_ledger::check::Checked, verdict: Verdict) -> String {
    let accounting = &checked.accounting;
    let c = &accounting.counts;
    let [sent, acked, in_log] = [c.sent, c.acked, c.in_log].map(thousands);
    let [lost, predicted] = [c.lost, c.lost_predicted].map(thousands);
    let [duplicates, reordered] = [c.duplicates, c.reordered].map(thousands);
    let mut messages = format!("{sent} sent · {acked} acked");
    // Without its audit nobody knows what the log has.
    if accounting.inconclusive.is_empty() || c.lost > 0 {
        messages.push_str(&format!(
            " · {in_log} in the log · {lost} lost ({predicted} of them predicted) · {duplicates} duplicated · \
             {reordered} reordered"
        ));
    }
    let mut text = labelled("messages", &messages);
    text.push_str(&labelled("guarantee", &accounting.durable_why));
    for a in &accounting.anomalies {
        let place = match (&a.topic, a.partition) {
            (Some(topic), Some(partition)) => format!(" {topic}-{partition}"),
            _ => String::new(),
        };
        let count = thousands(a.count);
        text.push_str(&labelled(a.verdict.as_str(), &format!("{}{place}: {count} ({})", a.kind.as_str(), a.evidence)));
    }
    for loss in accounting.losses.iter().take(LOSSES_SHOWN) {
        text.push_str(&labelled("cause", &loss.cause));
    }
    if accounting.losses.len() > LOSSES_SHOWN {
        let more = accounting.losses.len() - LOSSES_SHOWN;
        text.push_str(&format!("           … {more} more, all of them with --format json\n"));
    }
    for damage in &checked.damage {
        text.push_str(&labelled("damaged", &format!("{}: {}", damage.path.display(), damage.error)));
    }
    for why in &accounting.inconclusive {
        text.push_str(&labelled("unknown", &why.to_string()));
    }
    let word = match verdict {
        Verdict::Pass => "PASS",
        Verdict::Fail => "FAIL",
        Verdict::Inconclusive => "INCONCLUSIVE",
    };
    text.push_str(&format!("\n{word}\n"));
    text
}

/// A label and what belongs to it, wrapped beside it.
fn labelled(label: &str, text: &str) -> String {
    /// Columns of a label, as in a run's report.
    const LABEL: usize = 12;
    let lines = wrap(text, output::stdout().width - LABEL);
    let left = |index: usize| if index == 0 { label } else { "" };
    lines.iter().enumerate().map(|(index, line)| format!("{:LABEL$}{line}\n", left(index))).collect()
}
