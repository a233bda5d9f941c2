//! `scenario list｜show｜validate`.

use metricstream_report::text::{columns, wrap};
use metricstream_scenario::{builtin, explain, parse, to_toml};
use serde_json::json;

use crate::cli::{Format, ScenarioCommand};
use crate::exit::{Code, Ending, Failure};
use crate::{output, source};

/// How much further in the rest of a broken line stands, columns.
const FURTHER: usize = 5;

pub(crate) fn run(what: ScenarioCommand) -> Ending {
    match what {
        ScenarioCommand::List { format } => list(format),
        ScenarioCommand::Show { name, set, profile } => {
            let scenario = source::load(&name, &set, profile)?;
            let comments = wrapped(&explain(&scenario), output::stdout().width);
            output::print(&format!("{}\n{comments}", to_toml(&scenario)));
            Ok(Code::Pass)
        }
        ScenarioCommand::Validate { file } => {
            let text = source::text(&file)?;
            let scenario = parse(&text).map_err(|e| Failure::usage(format!("{file}\n{e}")))?;
            output::print(&format!(
                "{file}: scenario {} is valid: {} steps, {} claims\n",
                scenario.name,
                scenario.timeline.len(),
                scenario.claims.len()
            ));
            Ok(Code::Pass)
        }
    }
}

fn list(format: Format) -> Ending {
    let mut rows = Vec::new();
    for one in builtin::all() {
        let scenario = parse(one.text).map_err(|e| Failure::environment(format!("built-in {}: {e}", one.name)))?;
        rows.push((one.name, scenario.description));
    }
    match format {
        Format::Json => {
            let rows: Vec<_> = rows.iter().map(|(name, text)| json!({"name": name, "description": text})).collect();
            output::print(&format!("{:#}\n", json!(rows)));
        }
        Format::Text => {
            let width = output::stdout().width;
            let names = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 2;
            // Names beside what they stand for, where that leaves room for a sentence.
            let beside = width >= names + 40;
            let indent = if beside { names } else { 4 };
            for (name, text) in &rows {
                let mut left = if beside { format!("{name:names$}") } else { format!("{name}\n{:indent$}", "") };
                for line in wrap(&gist(text), width - indent) {
                    output::print(&format!("{left}{line}\n"));
                    left = " ".repeat(indent);
                }
            }
        }
    }
    Ok(Code::Pass)
}

/// Comment lines, broken where they are too long; what follows stands further in.
fn wrapped(comments: &str, width: usize) -> String {
    let mut out = String::new();
    for line in comments.lines() {
        let text = line.trim_start_matches(['#', ' ']);
        let indent = columns(line) - columns(text);
        if columns(line) <= width || !line.starts_with('#') {
            out.push_str(&format!("{line}\n"));
            continue;
        }
        let mut left = line[..line.len() - text.len()].to_owned();
        for part in wrap(text, width.saturating_sub(indent + FURTHER).max(1)) {
            out.push_str(&format!("{left}{part}\n"));
            left = format!("#{:1$}", "", indent + FURTHER - 1);
        }
    }
    out
}

/// The first statement of a description.
fn gist(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let end = [". ", ": ", "; "].iter().filter_map(|end| text.find(end)).min().unwrap_or(text.len());
    text[..end].trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_comment_is_broken_into_comments() {
        let long = "# short\n#   yes  nothing acknowledged in metrics is lost: acks=all, no unclean election\n";
        let short = wrapped(long, 40);
        assert_eq!(
            short,
            "# short\n#   yes  nothing acknowledged in\n#        metrics is lost: acks=all, no\n#        unclean election\n"
        );
        assert_eq!(wrapped(long, 90), long);
    }

    #[test]
    fn the_gist_of_a_description_is_a_whole_statement() {
        assert_eq!(gist("With min.insync.replicas=1: it\ngoes on."), "With min.insync.replicas=1");
        assert_eq!(gist("A broker\nstands still. And more."), "A broker stands still");
        assert_eq!(gist("Nothing else."), "Nothing else");
    }
}
