//! Keeps docs/anomalies.md current: the definitions, the pairs, the bugs and what each shows as.

use std::fmt::Write;
use std::path::PathBuf;

use super::model::Bug;
use super::model_tests::{named, shown_by};
use crate::anomaly::AnomalyKind;

fn document() -> String {
    let mut text = String::from(
        "# Anomalies\n\n\
         Generated from the checker and its mutants. After a change: `UPDATE_DOCS=1 cargo test -p metricstream-ledger`.\n\n\
         ## What each is\n\n\
         | anomaly | definition | judged | found by |\n|---|---|---|---|\n",
    );
    for kind in AnomalyKind::ALL {
        let (name, definition, rule, how) = (kind.as_str(), kind.definition(), kind.rule(), kind.how());
        let how = how.replace('|', "\\|");
        writeln!(text, "| `{name}` | {definition} | {rule} | {how} |").expect("text");
    }
    text.push_str(
        "\n## Histories that must be flagged, and near twins that must not\n\n\
         | anomaly | flagged | as | not flagged |\n|---|---|---|---|\n",
    );
    for kind in AnomalyKind::ALL {
        for pair in super::pairs().iter().filter(|pair| pair.kind == kind) {
            let (name, verdict) = (kind.as_str(), pair.verdict.as_str());
            writeln!(text, "| `{name}` | {} | {verdict} | {} |", pair.fails.0, pair.passes.0).expect("text");
        }
    }
    text.push_str(
        "\n## Bugs of a model cluster\n\n\
         A model with failovers, lost responses, takeovers and control markers runs with one bug at a time; without a bug \
         it gives no violation, whatever the seed. What a bug also shows as follows from it.\n\n\
         | bug | caught as | also seen as |\n|---|---|---|\n",
    );
    for bug in Bug::ALL {
        let main = named(bug);
        let also = shown_by(bug).into_keys().filter(|kind| *kind != main).map(|kind| format!("`{}`", kind.as_str()));
        let also = also.collect::<Vec<_>>().join(", ");
        let also = if also.is_empty() { "–".to_owned() } else { also };
        writeln!(text, "| {} | `{}` | {also} |", bug.text(), main.as_str()).expect("text");
    }
    text
}

#[test]
fn the_document_is_current() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/anomalies.md");
    let document = document();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &document).expect("docs/anomalies.md");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == document, "docs/anomalies.md is not current: UPDATE_DOCS=1 cargo test -p metricstream-ledger");
}
