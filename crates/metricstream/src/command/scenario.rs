//! `scenario list｜show｜validate`.

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
            let first = |text: &str| text.split(['.', ':', ';']).next().unwrap_or_default().trim().replace('\n', " ");
            for (name, text) in &rows {
                output::print(&format!("{name:38} {}\n", first(text)));
            }
        }
    }
    Ok(Code::Pass)
}
