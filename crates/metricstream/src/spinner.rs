//! What a long step is at: one line that turns on a terminal, plain lines in a pipe. For commands without a live view.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use metricstream_report::text::fit;

use crate::output;

const TURN: Duration = Duration::from_millis(125);
const SIGNS: [&str; 4] = ["|", "/", "-", "\\"];

/// Tells of long steps until it is dropped; then its line is gone. Steps that are over stay as lines.
pub(crate) struct Spinner {
    shared: Arc<Shared>,
    turning: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    step: Option<(String, Instant)>,
    /// Whether there is a line to turn.
    turns: bool,
    ended: bool,
}

impl Spinner {
    /// One step, told on a terminal only: in a script, that the command goes on says it.
    pub(crate) fn on_terminal(step: &str) -> Option<Self> {
        let spinner = std::io::stderr().is_terminal().then(Self::begin)?;
        spinner.step(step);
        Some(spinner)
    }

    /// Nothing is told yet.
    pub(crate) fn begin() -> Self {
        let dumb = std::env::var("TERM").map_or(true, |term| term.is_empty() || term == "dumb");
        let turns = std::io::stderr().is_terminal() && !dumb;
        let state = Mutex::new(State { step: None, turns, ended: false });
        let shared = Arc::new(Shared { state, changed: Condvar::new() });
        let turning = turns.then(|| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name("spinner".to_owned()).spawn(move || shared.turn()).ok()
        });
        let turning = turning.flatten();
        shared.state().turns = turning.is_some();
        Self { shared, turning }
    }

    /// Tells of steps from elsewhere.
    pub(crate) fn teller(&self) -> impl Fn(&str) + Send + Sync + use<> {
        let shared = Arc::clone(&self.shared);
        move |step| shared.step(step)
    }

    /// A step begins, and the one before is over.
    pub(crate) fn step(&self, text: &str) {
        self.shared.step(text);
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.shared.state().ended = true;
        self.shared.changed.notify_all();
        if let Some(turning) = self.turning.take() {
            let _panic_was_told = turning.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step(&self, text: &str) {
        let mut state = self.state();
        if !state.turns || state.ended {
            return output::note(text);
        }
        if let Some((before, _)) = state.step.replace((text.to_owned(), Instant::now())) {
            write(&format!("\r\u{1b}[K{before}\n"));
        }
    }

    fn turn(&self) {
        let mut state = self.state();
        for sign in SIGNS.iter().cycle() {
            if state.ended {
                break;
            }
            if let Some((text, since)) = &state.step {
                let width = crossterm::terminal::size().map_or(80, |(width, _)| usize::from(width));
                let line = format!("{sign} {text}  {} s", since.elapsed().as_secs());
                write(&format!("\r\u{1b}[K{}", fit(&line, width.saturating_sub(1))));
            }
            let waited = self.changed.wait_timeout_while(state, TURN, |state| !state.ended);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        write("\r\u{1b}[K");
    }
}

fn write(text: &str) {
    let mut err = std::io::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}
