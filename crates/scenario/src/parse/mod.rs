//! From TOML text to a [`Scenario`], or to everything that is wrong with it. One file per part of the format.

mod claims;
mod links;
mod reader;
mod timeline;
mod topology;
mod workload;

use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::DeTable;

use crate::error::{Problem, ScenarioErrors, Source, report};
use crate::model::{Baseline, SCHEMA, Scenario, Settle};
use crate::{profiles, schema};
use reader::{Problems, Section};

/// The largest scenario file that is read, bytes.
pub const MAX_FILE_BYTES: usize = 512 * 1024;
/// The longest run, seconds.
pub const MAX_DURATION_S: f64 = 86_400.0;
/// The longest single wait, seconds.
pub(crate) const MAX_WAIT_S: f64 = 3_600.0;

/// Reads a scenario file, as it is in the profile that it names; in the others it must be sound too.
///
/// # Errors
/// Everything that is wrong with the file, each with its line and what is allowed there.
pub fn parse(text: &str) -> Result<Scenario, ScenarioErrors> {
    let source = Source::new(text, &[]);
    let table = parse_table(&source, text)?;
    let plain = read(&source, &table, 0..0)?;
    profiles::of_file(&source, &table, plain)
}

/// Reads the TOML itself.
pub(crate) fn parse_table<'a>(source: &Source<'_>, text: &'a str) -> Result<DeTable<'a>, ScenarioErrors> {
    if text.len() > MAX_FILE_BYTES {
        let message = format!("the file has {} bytes; at most {MAX_FILE_BYTES} are read", text.len());
        let problem = Problem { span: 0..0, path: String::new(), message };
        return Err(report(source, vec![problem]));
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(table.into_inner());
    }
    let problems = errors.into_iter().map(|error| Problem {
        span: error.span().unwrap_or(0..0),
        path: String::new(),
        message: format!("not TOML: {}", error.message().replace('\n', ", ")),
    });
    Err(report(source, problems.collect()))
}

/// Reads a scenario from its table; `head` is the place for what is missing at the top.
pub(crate) fn read<'a>(
    source: &Source<'_>,
    table: &'a DeTable<'a>,
    head: Range<usize>,
) -> Result<Scenario, ScenarioErrors> {
    let problems = Problems::default();
    let scenario = read_root(table, head, &problems);
    let found = problems.into_inner();
    if found.is_empty() { Ok(scenario) } else { Err(report(source, found)) }
}

fn read_root<'a>(table: &'a DeTable<'a>, head: Range<usize>, problems: &Problems) -> Scenario {
    // The section borrows the problems as long as the table; both live for this call.
    let root = Section::open(table, head, String::new(), &schema::ROOT, problems);
    let schema = root.integer("schema", 1..=i64::from(SCHEMA)).map_or(SCHEMA, |_| SCHEMA);
    if !root.has("name") {
        root.problem("name", "`name` is missing: give the scenario a short name, such as name = \"my-scenario\"");
    }
    let name = root.name("name").map(|at| at.value).unwrap_or_default();
    let description = root.text("description").map(|at| at.value.trim().to_owned()).unwrap_or_default();
    let topology = topology::read(&root.child("topology", &schema::TOPOLOGY));
    let has_steps = table.get("timeline").and_then(|steps| steps.get_ref().as_array()).is_some_and(|s| !s.is_empty());
    let of_workload = root.child("workload", &schema::WORKLOAD);
    let workload = workload::read(&of_workload, &topology, has_steps);
    let (timeline, broken) = timeline::read(&root, &topology, &workload);
    let settle = read_settle(&root.child("settle", &schema::SETTLE));
    let baseline = read_baseline(&root.child("baseline", &schema::BASELINE));
    let claims = claims::read(&root, &topology, &workload, (&timeline, &broken));
    let scenario = Scenario { schema, name, description, topology, workload, timeline, settle, baseline, claims };
    workload::check_messages(&of_workload, &scenario);
    scenario
}

fn read_baseline(section: &Section<'_>) -> Baseline {
    const PERCENT_MAX: f64 = 1_000.0;
    let default = Baseline::default();
    let tolerance = section.number("tolerance_percent", 0.0..=PERCENT_MAX).map(|at| at.value / 100.0);
    let mut thresholds = BTreeMap::new();
    for (name, value) in section.config("thresholds") {
        match value.value.parse::<f64>() {
            Ok(percent) if (0.0..=PERCENT_MAX).contains(&percent) => {
                thresholds.insert(name.value, percent / 100.0);
            }
            _ => {
                section.problems.at(&value, format!("`{}` is no percentage; allowed: 0 to {PERCENT_MAX}", value.value))
            }
        }
    }
    Baseline { tolerance: tolerance.unwrap_or(default.tolerance), thresholds }
}

fn read_settle(section: &Section<'_>) -> Settle {
    let seconds = |key: &str, default: f64| section.number(key, 0.0..=MAX_WAIT_S).map_or(default, |at| at.value);
    Settle {
        isr_full_s: seconds("isr_full_s", 120.0),
        drain_s: seconds("drain_s", 90.0),
        group_catch_up_s: seconds("group_catch_up_s", 60.0),
        heal: section.boolean("heal").is_none_or(|at| at.value),
    }
}
