//! The terminal, taken and given back. Taken: its alternate screen, so that what was on it stays; no echo, so that keys do
//! not write into the view; and no key that stops or kills the program where it stands. Ctrl-C stays what it is.
//!
//! Given back on every way out that a program can notice, a panic of any thread included.

use std::io::{self, BufWriter, Stderr, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crossterm::{cursor, execute, terminal as term};
use metricstream_report::live::Row;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Size;
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcsetattr,
};

use super::draw;

/// The terminal's settings before it was taken; `None` while it is not. Held while a frame is written.
static TAKEN: Mutex<Option<Termios>> = Mutex::new(None);
/// The same for those who only ask, and must not wait for a frame.
static OPEN: AtomicBool = AtomicBool::new(false);
/// How long a panic waits for a frame that is being written by another thread.
const PATIENCE: Duration = Duration::from_millis(300);
/// Below this there is nothing to see.
const SIZE_MIN: Size = Size { width: 20, height: 6 };

/// A terminal that was taken.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stderr>>>,
}

impl Screen {
    /// Takes the terminal; `None` if it is not ours to take, or cannot be.
    pub(super) fn open() -> Option<Self> {
        let size = size()?;
        let terminal = Terminal::new(CrosstermBackend::new(BufWriter::with_capacity(1 << 16, io::stderr()))).ok()?;
        if size.width < SIZE_MIN.width || size.height < SIZE_MIN.height || !in_foreground() {
            return None;
        }
        restore_on_panic();
        let mut taken = lock();
        let before = tcgetattr(io::stderr()).ok()?;
        let mut ours = before.clone();
        ours.local_modes -= LocalModes::ECHO | LocalModes::ICANON;
        // Ctrl-S would hold up the view, Ctrl-Z the load of a cluster that goes on, Ctrl-\ would leave the terminal taken.
        ours.input_modes -= InputModes::IXON;
        for key in [SpecialCodeIndex::VSUSP, SpecialCodeIndex::VQUIT] {
            ours.special_codes[key] = DISABLED;
        }
        tcsetattr(io::stderr(), OptionalActions::Now, &ours).ok()?;
        *taken = Some(before);
        drop(taken);
        OPEN.store(true, Ordering::Release);
        if execute!(io::stderr(), term::EnterAlternateScreen, cursor::Hide).is_err() {
            restore();
            return None;
        }
        Some(Self { terminal })
    }

    /// The terminal's size now: it may have been resized.
    pub(super) fn size(&self) -> Size {
        size().unwrap_or(SIZE_MIN)
    }

    /// Writes a frame: what differs from the last.
    pub(super) fn draw(&mut self, rows: &[Row], colour: bool) -> io::Result<()> {
        let taken = lock();
        if taken.is_none() {
            return Err(io::Error::other("the terminal was given back"));
        }
        self.terminal.draw(|frame| draw::rows(rows, colour, frame.area(), frame.buffer_mut()))?;
        self.terminal.backend_mut().flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// `_POSIX_VDISABLE` on Linux and macOS is 0 and 255.
const DISABLED: u8 = if cfg!(target_os = "linux") { 0 } else { 0xff };

fn lock() -> MutexGuard<'static, Option<Termios>> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn size() -> Option<Size> {
    let (width, height) = term::size().ok().filter(|(width, height)| *width > 0 && *height > 0)?;
    Some(Size { width, height })
}

/// A job in the background that changes its terminal is stopped by the system.
fn in_foreground() -> bool {
    tcgetpgrp(io::stderr()).is_ok_and(|group| group == rustix::process::getpgrp())
}

/// Whether the terminal is taken.
pub(super) fn is_open() -> bool {
    OPEN.load(Ordering::Acquire)
}

/// Gives the terminal back; does nothing if it was already.
pub(super) fn restore() {
    give_back(&mut lock());
}

fn give_back(taken: &mut Option<Termios>) {
    let Some(before) = taken.take() else { return };
    OPEN.store(false, Ordering::Release);
    let mut err = io::stderr();
    // The terminal may be gone; then there is nobody to tell.
    let _ = execute!(err, term::LeaveAlternateScreen, cursor::Show);
    let _ = tcsetattr(&err, OptionalActions::Now, &before);
    let _ = err.flush();
}

/// Before a panic is told, wherever it is.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore_within(PATIENCE);
            told(panic);
        }));
    });
}

/// The panicking thread may be the one that holds the lock: it does not wait for ever.
fn restore_within(patience: Duration) {
    let deadline = Instant::now() + patience;
    loop {
        match TAKEN.try_lock() {
            Ok(mut taken) => return give_back(&mut taken),
            Err(TryLockError::Poisoned(poisoned)) => return give_back(&mut poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                OPEN.store(false, Ordering::Release);
                let _ = execute!(io::stderr(), term::LeaveAlternateScreen, cursor::Show);
                return;
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}
