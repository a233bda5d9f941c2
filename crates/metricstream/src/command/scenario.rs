//! `scenario list｜show｜validate`.

use metricstream_report::text::wrap;
use metricstream_scenario::{builtin, explain, parse, to_toml};
use serde_json::json;

use crate::cli::{Format, ScenarioCommand};
use crate::exit::{Code, Ending, Failure};
use crate::{output, source};

pub(crate) fn run(what: ScenarioCommand) -> Ending {
    match what {
        ScenarioCommand::List { format } => list(format),
        ScenarioCommand::Show { name, set, profile } => {
            let scenario = source::load(&name, &set, profile)?;
            output::print(&format!("{}\n{}", to_toml(&scenario), explain(&scenario)));
            Ok(Code::Pass)
        }
        ScenarioCommand::Validate { file } => {
            let text = source::file(&file)?;
            let scenario = parse(&text).map_err(|e| Failure::usage(format!("{}\n{e}", file.display())))?;
            output::print(&format!(
                "{}: scenario {} is valid: {} steps, {} claims\n",
                file.display(),
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
    fn the_gist_of_a_description_is_a_whole_statement() {
        assert_eq!(gist("With min.insync.replicas=1: it\ngoes on."), "With min.insync.replicas=1");
        assert_eq!(gist("A broker\nstands still. And more."), "A broker stands still");
        assert_eq!(gist("Nothing else."), "Nothing else");
    }
}
