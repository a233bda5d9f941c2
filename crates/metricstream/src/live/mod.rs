//! The live view: what a person sees on a terminal while a run goes on. What is shown is decided in `report::live`; here it
//! is drawn, on a thread of its own and at most eight times a second, so that no send waits for a terminal.
//!
//! Where there is no terminal to draw on, the same events are plain lines on standard error.

mod draw;
mod screen;

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use metricstream_ledger::timeline::TimelineEvent;
use metricstream_load::Progress;
use metricstream_report::live::{self, Counts, Live, Moment};
use metricstream_scenario::Scenario;

use crate::clock::RunClock;
use crate::drive::Watch;
use crate::output;
use screen::Screen;

/// Between two frames.
const FRAME: Duration = Duration::from_millis(125);
/// Between two readings of the counters: a bar of the curve each.
const READ_EVERY_US: i64 = 500_000;

/// Whoever follows a run: a live view on a terminal, plain lines elsewhere. Its end gives the terminal back.
pub(crate) struct Follower {
    shared: Arc<Shared>,
    drawing: Option<JoinHandle<()>>,
}

/// What is shown of a run while it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// A live view, where there is a terminal to draw on; else the lines.
    View,
    /// Lines on standard error: standard output is for a machine.
    Lines,
    /// Nothing.
    Nothing,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    engine: String,
    show: Show,
}

struct State {
    live: Live,
    load: Option<(RunClock, Progress)>,
    /// Per group of the scenario, the topics that it reads, by index.
    topics: Vec<BTreeSet<u16>>,
    read_us: i64,
    ended: bool,
}

impl Follower {
    /// Begins to follow.
    pub(crate) fn begin(scenario: &Scenario, engine: &str, seed: u64, show: Show) -> Self {
        let state = State {
            live: Live::new(scenario, engine, seed),
            load: None,
            topics: group_topics(scenario),
            read_us: i64::MIN,
            ended: false,
        };
        let engine = engine.to_owned();
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), engine, show });
        let drawing = (show == Show::View && wanted()).then(Screen::open).flatten().and_then(|screen| {
            let shared = Arc::clone(&shared);
            let colour = !output::no_colour();
            // Without a thread to draw on, the screen is closed as it is dropped and lines are told.
            std::thread::Builder::new().name("live-view".to_owned()).spawn(move || shared.draw(screen, colour)).ok()
        });
        Self { shared, drawing }
    }

    /// For the drive of the run.
    pub(crate) fn watch(&self) -> Arc<dyn Watch> {
        Arc::clone(&self.shared) as Arc<dyn Watch>
    }

    /// What the drive tells of every event.
    pub(crate) fn tell(&self) -> impl FnMut(&TimelineEvent) + Send + use<> {
        let shared = Arc::clone(&self.shared);
        move |event| shared.event(event)
    }
}

/// The terminal is as it was when this returns.
impl Drop for Follower {
    fn drop(&mut self) {
        self.shared.state().ended = true;
        self.shared.changed.notify_all();
        if let Some(drawing) = self.drawing.take() {
            let _panic_was_told = drawing.join();
        }
        screen::restore();
    }
}

/// Whether a live view would be read: on a terminal that can move its cursor, and not between the lines of a log.
fn wanted() -> bool {
    let dumb = std::env::var("TERM").map_or(true, |term| term.is_empty() || term == "dumb");
    let logs = std::env::var_os("METRICSTREAM_LOG").is_some_and(|filter| !filter.is_empty());
    std::io::stderr().is_terminal() && std::io::stdout().is_terminal() && !dumb && !logs
}

fn group_topics(scenario: &Scenario) -> Vec<BTreeSet<u16>> {
    let topics = || (0_u16..).zip(&scenario.topology.topics);
    let of = |group: &metricstream_scenario::Group| {
        topics().filter(|(_, topic)| group.topics.contains(&topic.name)).map(|(index, _)| index).collect()
    };
    scenario.workload.groups.iter().map(of).collect()
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn event(&self, event: &TimelineEvent) {
        self.state().live.event(event);
        if !self.tells_lines() {
            return;
        }
        if let Some(line) = live::line(event, &self.engine) {
            output::note(&format!("{:8.2}  {}", event.at_us as f64 / 1e6, line.text));
        }
    }

    /// Whether what happens is told line by line.
    fn tells_lines(&self) -> bool {
        self.show != Show::Nothing && !screen::is_open()
    }

    /// Draws until the end, or until the terminal was given back or refuses.
    fn draw(&self, mut screen: Screen, colour: bool) {
        let begun = Instant::now();
        let mut state = self.state();
        while !state.ended && screen::is_open() {
            state.read();
            let at_us = state.load.as_ref().map(|(clock, _)| clock.now_us());
            let now = Moment { since_begin_s: begun.elapsed().as_secs_f64(), at_us };
            let size = screen.size();
            let rows = live::frame(&state.live, now, usize::from(size.width), usize::from(size.height));
            // A slow terminal must hold up nobody but this thread.
            drop(state);
            if screen.draw(&rows, colour).is_err() {
                break;
            }
            let waited = self.changed.wait_timeout_while(self.state(), FRAME, |state| !state.ended);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl State {
    /// Reads the load's counters, if it is time.
    fn read(&mut self) {
        let Some((clock, progress)) = &self.load else { return };
        let at_us = clock.now_us();
        if at_us < 0 || at_us < self.read_us.saturating_add(READ_EVERY_US) {
            return;
        }
        self.read_us = at_us;
        let lag = |(group, topics): (u16, &BTreeSet<u16>)| progress.lag(group, topics);
        // Outcomes first: nobody sees more of them than sends.
        let (acked, failed, unknown) = (progress.acked(), progress.failed(), progress.unknown());
        self.live.counts(Counts {
            at_us,
            acked,
            failed,
            unknown,
            open: progress.in_flight(),
            sent: progress.sent(),
            owed: progress.owed(),
            delivered: progress.delivered(),
            lags: (0_u16..).zip(&self.topics).map(lag).collect(),
        });
    }
}

impl Watch for Shared {
    fn doing(&self, what: &str) {
        self.state().live.doing(what);
        if self.tells_lines() {
            output::note(what);
        }
    }

    fn load(&self, clock: RunClock, progress: &Progress) {
        self.state().load = Some((clock, progress.clone()));
    }
}
