//! Writing to the terminal: what goes to standard output, what to standard error, how wide, and whether in colour.

use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use metricstream_report::text::{columns, wrap};

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

/// Columns of the terminal that standard output is; none if it is none.
pub(crate) fn terminal_width() -> Option<usize> {
    std::io::stdout().is_terminal().then(|| stdout().width)
}

/// <https://no-color.org>: set and not empty.
pub(crate) fn no_colour() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
}

/// What became of standard output.
static STDOUT: Mutex<Fate> = Mutex::new(Fate::Open);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    Open,
    /// Its reader went away.
    Gone,
    /// It could not be written to.
    Failed(String),
}

fn fate() -> MutexGuard<'static, Fate> {
    STDOUT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes to standard output. A reader that went away (`| head`) is no error worth a word: the program just ends its
/// output, and keeps its exit code. A full disk is: [`finish`] says so.
pub(crate) fn print(text: &str) {
    let mut fate = fate();
    if *fate != Fate::Open {
        return;
    }
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        let gone = error.kind() == ErrorKind::BrokenPipe;
        *fate = if gone { Fate::Gone } else { Fate::Failed(error.to_string()) };
    }
}

/// Whether nobody will see what is printed from now on: whatever goes on only to print can stop.
pub(crate) fn is_over() -> bool {
    *fate() != Fate::Open
}

/// The exit code, when everything was printed: what could not be is an error of the environment, unless there is worse.
pub(crate) fn finish(code: Code) -> Code {
    let Fate::Failed(why) = fate().clone() else { return code };
    note(&format!("error: standard output could not be written: {why}"));
    if code == Code::Pass { Code::Environment } else { code }
}

/// A line of progress or of a log, on standard error.
pub(crate) fn note(text: &str) {
    let mut err = std::io::stderr().lock();
    let _ = writeln!(err, "{text}");
}

/// The one message of a failure, wrapped where a terminal would break words.
pub(crate) fn error(failure: &Failure) {
    let word = if failure.code == Code::Interrupted { "interrupted" } else { "error" };
    let text = format!("{word}: {:#}", failure.error);
    if !std::io::stderr().is_terminal() {
        return note(&text);
    }
    let width = crossterm::terminal::size().map_or(80, |(width, _)| usize::from(width)).clamp(40, 120);
    for line in text.lines() {
        // Lines of a file with a mark below them stay as they are.
        if columns(line) <= width || line.contains(" | ") {
            note(line);
        } else {
            let wrapped = wrap(line, width - 2);
            wrapped
                .iter()
                .enumerate()
                .for_each(|(index, l)| note(&format!("{}{l}", if index > 0 { "  " } else { "" })));
        }
    }
}
