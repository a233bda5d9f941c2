//! Writing to the terminal: what goes to standard output, what to standard error, how wide, and whether in colour.

use std::io::{IsTerminal, Write};

use crate::exit::{Code, Failure};

/// How standard output is to be written to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stdout {
    pub(crate) width: usize,
    pub(crate) colour: bool,
}

/// Looks at standard output, `COLUMNS` and `NO_COLOR`.
pub(crate) fn stdout() -> Stdout {
    let terminal = std::io::stdout().is_terminal();
    let asked = std::env::var("COLUMNS").ok().and_then(|c| c.parse::<usize>().ok());
    let seen = if terminal { crossterm::terminal::size().ok().map(|(w, _)| usize::from(w)) } else { None };
    let dumb = std::env::var("TERM").is_ok_and(|t| t == "dumb");
    Stdout { width: seen.or(asked).unwrap_or(80).clamp(60, 160), colour: terminal && !no_colour() && !dumb }
}

/// <https://no-color.org>: set and not empty.
pub(crate) fn no_colour() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
}

/// Writes to standard output. A reader that went away (`| head`) is no error worth a word: the program just ends its
/// output, and keeps its exit code.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// A line of progress or of a log, on standard error.
pub(crate) fn note(text: &str) {
    let mut err = std::io::stderr().lock();
    let _ = writeln!(err, "{text}");
}

/// The one message of a failure.
pub(crate) fn error(failure: &Failure) {
    let word = if failure.code == Code::Interrupted { "interrupted" } else { "error" };
    note(&format!("{word}: {:#}", failure.error));
}
