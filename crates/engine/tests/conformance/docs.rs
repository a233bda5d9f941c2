//! The table in `docs/conformance.md` is the list of stories.

use std::fmt::Write as _;

use crate::STORIES;
use crate::on::{NO_LINKS, Needs, On};

const BEGIN: &str =
    "<!-- The table of stories: checked by `cargo test -p metricstream-engine --test conformance docs` -->\n";
const END: &str = "<!-- End of the table -->";

fn cell(on: On, needs: Needs) -> String {
    match (on.lacks(needs), on, needs) {
        (Some(why), ..) => format!("not told: {why}"),
        (None, On::Kafka, Needs::Links) => format!("not told: {NO_LINKS}"),
        _ => "told".to_owned(),
    }
}

fn table() -> String {
    let engines = [On::Memory, On::Files, On::Kafka];
    let mut table = format!("| story | {} |\n|---|---|---|---|\n", engines.map(On::name).join(" | "));
    for story in STORIES {
        let cells = engines.map(|on| cell(on, story.needs)).join(" | ");
        writeln!(table, "| {} | {cells} |", story.name.replace('_', " ")).expect("text");
    }
    table
}

#[test]
fn every_story_stands_in_the_documents_with_the_engines_that_it_is_told_on() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/conformance.md");
    let text = std::fs::read_to_string(path).expect("the document");
    let (_, rest) = text.split_once(BEGIN).expect("the table's beginning");
    let (written, _) = rest.split_once(END).expect("the table's end");
    let wanted = table();
    assert!(written == wanted, "docs/conformance.md should hold this table:\n{wanted}");
}
