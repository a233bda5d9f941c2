//! docs/scenario.md holds every key, measure and clock: its tables are generated from the data that the code uses.
//! `UPDATE_DOCS=1 cargo test -p metricstream-scenario --test docs` writes them anew.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use metricstream_scenario::measures::{self, Need, OfKind};
use metricstream_scenario::timers::{self, Side};
use metricstream_scenario::{GroupProtocol, Profile, kafka_config, librdkafka, parse, schema};

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/scenario.md")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn keys() -> String {
    let mut out = String::new();
    for table in schema::TABLES {
        let title = if table.title.starts_with('[') { format!("`{}`", table.title) } else { "At the top".to_owned() };
        let _ = writeln!(out, "### {title}\n\n| key | value | default | meaning |\n|---|---|---|---|");
        for key in table.keys {
            let row = [key.form, key.default, key.doc].map(cell);
            let _ = writeln!(out, "| `{}` | {} | {} | {} |", key.name, row[0], row[1], row[2]);
        }
        out.push('\n');
    }
    out
}

fn measures_table() -> String {
    let mut out = String::from(
        "Terms of this table:\n\n\
         - **t0** is when the claim's step was carried out; times count from it.\n\
         - The **window** of a fault begins at t0 and ends when a later step, or the healing at the end of the run, starts \
         or resumes one of the nodes that it hit. The window of a member step ends at the next step about the same group, \
         that of a start or resume at the next fault of a node. Every window ends with the run.\n\
         - What did not happen by the end of the run is measured as `never`, and the claim does not hold.\n\
         - The **gap threshold** is max(3 × p99.9 before the first fault, 250 ms).\n\n\
         | measure | value | `step` | `of` | `after_s` | definition |\n|---|---|---|---|---|---|\n",
    );
    let need = |need: Need| match need {
        Need::Required => "yes",
        Need::Optional => "may",
        Need::Never => "–",
    };
    for spec in measures::ALL {
        let of = match spec.of {
            OfKind::Nothing => "–".to_owned(),
            OfKind::Partition => format!("{}, partition", need(spec.of_need)),
            OfKind::Group => format!("{}, group", need(spec.of_need)),
            OfKind::Member => format!("{}, member", need(spec.of_need)),
        };
        let value = if spec.unit.is_empty() { spec.value_form().to_owned() } else { format!("number, {}", spec.unit) };
        let (step, after, doc) = (need(spec.step), need(spec.after), cell(spec.doc));
        let _ = writeln!(out, "| `{}` | {value} | {step} | {of} | {after} | {doc} |", spec.id);
    }
    out
}

fn clocks() -> String {
    let mut out = format!(
        "| setting | Apache Kafka {}, librdkafka {} | `fast` | governs | meaning |\n|---|---|---|---|---|\n",
        kafka_config::VERSION,
        librdkafka::VERSION
    );
    let mut fast = timers::profile_broker_config(Profile::Fast);
    fast.extend(timers::profile_group_config(Profile::Fast, GroupProtocol::Classic));
    for clock in timers::CLOCKS {
        let set = fast.remove(clock.name).unwrap_or_default();
        let side = if clock.side == Side::Client { ", set at the client" } else { "" };
        let _ =
            writeln!(out, "| `{}` | {} | {set} | {}{side} | {} |", clock.name, clock.default, clock.area, clock.doc);
    }
    let rest: Vec<String> = fast.into_iter().map(|(name, value)| format!("`{name}={value}`")).collect();
    let _ = writeln!(out, "\n`fast` also sets {}.", rest.join(", "));
    out
}

fn with_section(text: &str, name: &str, content: &str) -> String {
    let open = format!("<!-- generated: {name} -->\n");
    let start = text.find(&open).unwrap_or_else(|| panic!("docs/scenario.md has no section {name}")) + open.len();
    let end = start + text[start..].find("<!-- end -->").unwrap_or_else(|| panic!("section {name} does not end"));
    format!("{}\n{}\n{}", &text[..start], content.trim(), &text[end..]).replace("\r\n", "\n")
}

#[test]
fn the_tables_are_those_of_the_code() {
    let found = std::fs::read_to_string(file()).expect("docs/scenario.md is there");
    let mut wanted = with_section(&found, "keys", &keys());
    wanted = with_section(&wanted, "measures", &measures_table());
    wanted = with_section(&wanted, "clocks", &clocks());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(file(), &wanted).expect("docs/scenario.md can be written");
        return;
    }
    assert!(
        found == wanted,
        "docs/scenario.md is not up to date: UPDATE_DOCS=1 cargo test -p metricstream-scenario --test docs"
    );
}

#[test]
fn every_example_of_the_document_is_a_scenario() {
    let text = std::fs::read_to_string(file()).expect("docs/scenario.md is there");
    let examples: Vec<&str> = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!examples.is_empty());
    for example in examples {
        parse(example).unwrap_or_else(|errors| panic!("{example}\n{errors}"));
    }
}

#[test]
fn what_can_be_done_and_waited_for_is_explained() {
    let text = std::fs::read_to_string(file()).expect("docs/scenario.md is there");
    let step = schema::STEP.keys.iter().filter(|key| matches!(key.name, "do" | "on" | "target"));
    for word in step.flat_map(|key| key.form.split('"').skip(1).step_by(2)) {
        assert!(text.contains(&format!("`{word}`")), "docs/scenario.md does not explain `{word}`");
    }
}
