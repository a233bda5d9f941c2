//! `result.json`: the result exactly as the ledger gave it, readable, fields in a fixed order.

use metricstream_ledger::result::RunResult;

/// The file's text, with a newline at its end. What is not a finite number is written as `null`.
pub fn result(result: &RunResult) -> String {
    // Strings for keys, plain data for values, a string to write to: nothing of this can fail.
    let mut text = serde_json::to_string_pretty(result).expect("a result is plain data");
    text.push('\n');
    text
}
