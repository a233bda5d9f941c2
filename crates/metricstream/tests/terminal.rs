//! What a person at a terminal sees, and what a pipe, a full disk and a signal make of it.
#![allow(missing_docs)]

mod common;

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{BIN, finish, kafka_can_run, metricstream, wait_for};

const ENTER: &str = "\u{1b}[?1049h";
const LEAVE: &str = "\u{1b}[?1049l";
const SHOW_CURSOR: &str = "\u{1b}[?25h";

/// The program on a terminal of 80×24, made by `script`; what it wrote, and the terminal's settings before and after.
struct OnTerminal {
    child: Child,
    keys: ChildStdin,
    wrote: Arc<Mutex<Vec<u8>>>,
    dir: tempfile::TempDir,
}

impl OnTerminal {
    /// `line` is the shell's; `"$M"` in it is the program.
    fn start(line: &str, env: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // The shell outlives Ctrl-C, to tell what the terminal is like afterwards.
        let line =
            format!("trap : INT; stty cols 80 rows 24; stty -g > before; {line}; code=$?; stty -g > after; exit $code");
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"]);
        command
            .current_dir(dir.path())
            .env("TERM", "xterm-256color")
            .env("SHELL", "/bin/sh")
            .env("M", BIN)
            .env_remove("NO_COLOR");
        command.envs(env.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("script of util-linux");
        let keys = child.stdin.take().unwrap();
        let mut out = child.stdout.take().unwrap();
        let wrote = Arc::new(Mutex::new(Vec::new()));
        let reader = Arc::clone(&wrote);
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(read @ 1..) = out.read(&mut part) {
                reader.lock().unwrap().extend_from_slice(&part[..read]);
            }
        });
        Self { child, keys, wrote, dir }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.wrote.lock().unwrap()).into_owned()
    }

    fn wait_for_text(&self, what: &str, within: Duration) {
        wait_for(&format!("`{what}` written"), within, || self.text().contains(what).then_some(()));
    }

    /// Waits until the view shows it.
    fn wait_for_sight(&self, what: &str, within: Duration) {
        wait_for(&format!("`{what}` on the terminal"), within, || screen(&self.text()).contains(what).then_some(()));
    }

    /// Its exit code, everything that it wrote, and whether the terminal's settings are as they were.
    fn end(mut self, within: Duration) -> (i32, String, bool) {
        let status = wait_for("the program to end", within, || self.child.try_wait().unwrap());
        let settings = |name: &str| std::fs::read_to_string(self.dir.path().join(name)).unwrap();
        wait_for("the reader to have it all", Duration::from_secs(5), || {
            (Arc::strong_count(&self.wrote) == 1).then_some(())
        });
        (status.code().unwrap(), self.text(), settings("before") == settings("after"))
    }
}

/// A run that is not ended by its test is ended like one whose terminal was closed.
impl Drop for OnTerminal {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.keys.write_all(b"\x03\x03\x03");
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// What stands on the view's screen after all that was written to it. A view writes what differs, so that no line of it
/// is in the stream as a whole. Knows what a view writes: text, positions, colours, and clearing everything.
fn screen(wrote: &str) -> String {
    let mut cells = vec![vec![' '; 80]; 24];
    let (mut row, mut column) = (0, 0);
    let mut rest = wrote.split_once(ENTER).map_or("", |(_, view)| view).chars();
    while let Some(c) = rest.next() {
        if c == '\u{1b}' {
            // `ESC [ 3 ; 14 H`
            let mut sequence = String::new();
            for part in rest.by_ref().skip(1) {
                sequence.push(part);
                if part.is_ascii_alphabetic() {
                    break;
                }
            }
            let numbers: Vec<usize> = sequence.split(|c: char| !c.is_ascii_digit()).flat_map(str::parse).collect();
            match sequence.chars().last() {
                Some('H') => {
                    row = numbers.first().map_or(0, |row| row - 1);
                    column = numbers.get(1).map_or(0, |column| column - 1);
                }
                Some('J') => cells.iter_mut().for_each(|row| row.fill(' ')),
                _ => {}
            }
        } else if let Some(cell) = cells.get_mut(row).and_then(|row| row.get_mut(column)) {
            *cell = c;
            column += 1;
        }
    }
    cells.into_iter().map(|row| String::from_iter(row).trim_end().to_owned() + "\n").collect()
}

/// After the view ended, the terminal shows what it showed before, with a cursor; returns what was written then.
#[track_caller]
fn after_the_view(wrote: &str) -> &str {
    assert_eq!(wrote.matches(ENTER).count(), 1, "one view:\n{wrote}");
    assert_eq!(wrote.matches(LEAVE).count(), 1, "given back once:\n{wrote}");
    let (_, after) = wrote.split_once(LEAVE).unwrap();
    assert!(after.contains(SHOW_CURSOR), "no cursor:\n{after}");
    after
}

#[test]
fn a_run_on_a_terminal_shows_one_live_view_and_ctrl_c_gives_the_terminal_back() {
    if !kafka_can_run() {
        return;
    }
    let mut run = OnTerminal::start("\"$M\" run broker-failure --engine kafka --out run", &[]);
    run.wait_for_text(ENTER, Duration::from_secs(30));
    run.wait_for_sight("starting the cluster", Duration::from_secs(30));
    // Brokers, leaders, steps to come, and then the load in numbers.
    for what in ["1 starting", "load starts in", "leader, ISR", "kill broker 2", "per second", "acked/s", "healthy"] {
        run.wait_for_sight(what, Duration::from_secs(90));
    }
    run.keys.write_all(b"\x03").unwrap();
    let out = run.dir.path().join("run").join("result.json");
    wait_for("what was measured", Duration::from_secs(90), || out.exists().then_some(()));
    let (code, wrote, restored) = run.end(Duration::from_secs(60));
    assert_eq!(code, 130, "{wrote}");
    assert!(restored, "echo and keys are as they were");
    // The report stands where the shell goes on, not on the screen that is gone.
    let report = after_the_view(&wrote);
    assert!(report.contains("INCONCLUSIVE") && report.contains("interrupted"), "{report}");
    assert!(!wrote.contains("panicked"), "{wrote}");
}

#[test]
fn a_panic_is_read_on_a_terminal_that_was_given_back() {
    if !kafka_can_run() {
        return;
    }
    let run =
        OnTerminal::start("\"$M\" run broker-failure --engine kafka --out run", &[("METRICSTREAM_PANIC_AT_S", "0")]);
    run.wait_for_text(ENTER, Duration::from_secs(30));
    let (code, wrote, restored) = run.end(Duration::from_secs(120));
    assert_ne!(code, 0);
    assert!(restored, "echo and keys are as they were");
    assert!(after_the_view(&wrote).contains("panicked"), "{wrote}");
}

/// A machine without Java, for the program only.
const NO_JAVA: &str = "env -u JAVA_HOME PATH=/nonexistent";

#[test]
fn an_error_is_read_on_a_terminal_that_was_given_back() {
    let run = OnTerminal::start(&format!("{NO_JAVA} \"$M\" run broker-failure --engine kafka --out run"), &[]);
    let (code, wrote, restored) = run.end(Duration::from_secs(60));
    assert_eq!(code, 3, "{wrote}");
    assert!(restored, "echo and keys are as they were");
    let after = after_the_view(&wrote);
    assert!(after.contains("no Java found"), "{after}");
    let plain = after.lines().filter(|line| !line.contains('\u{1b}'));
    let longest = plain.map(|line| line.trim_end().chars().count()).max();
    assert!(longest.is_some_and(|columns| columns <= 80), "{longest:?} columns:\n{after}");
}

#[test]
fn what_is_no_terminal_to_draw_on_gets_plain_lines() {
    let run = "\"$M\" run --engine kafka --out run";
    for line in [
        format!("{NO_JAVA} TERM=dumb {run}"),
        format!("{NO_JAVA} {run} --format json"),
        format!("{NO_JAVA} {run} | cat"),
        format!("{NO_JAVA} {run} 2>&1 | cat"),
        // A job in the background has no terminal of its own.
        format!("setsid -w {NO_JAVA} {run}"),
    ] {
        let (_, wrote, restored) = OnTerminal::start(&line, &[]).end(Duration::from_secs(60));
        assert!(wrote.contains("no Java found"), "{line}:\n{wrote}");
        assert!(!wrote.contains("starting the cluster"), "what it needs is looked for first; {line}:\n{wrote}");
        assert!(!wrote.contains('\u{1b}') && restored, "{line}:\n{wrote}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error_and_a_full_disk_is_one() {
    for args in [&["scenario", "list"][..], &["scenario", "show", "chaos"], &["run", "--help"], &["--version"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let said = metricstream(args).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        let words = String::from_utf8_lossy(&said.stderr);
        assert_eq!(said.status.code(), Some(0), "{args:?}: {words}");
        assert!(!words.contains("panicked") && !words.contains("error"), "{args:?}: {words}");
        let Ok(full) = OpenOptions::new().write(true).open("/dev/full") else { continue };
        let said = metricstream(args).stdout(full).stderr(Stdio::piped()).output().unwrap();
        let words = String::from_utf8_lossy(&said.stderr);
        assert_eq!(said.status.code(), Some(3), "{args:?}: {words}");
        assert!(words.contains("standard output could not be written"), "{args:?}: {words}");
    }
}

#[test]
fn lists_and_help_keep_to_the_width_that_there_is() {
    for width in ["60", "80"] {
        let columns: usize = width.parse().unwrap();
        for args in [
            &["--help"][..],
            &["run", "--help"],
            &["consume", "--help"],
            &["cluster", "--help"],
            &["scenario", "list"],
            &["scenario", "show", "broker-failure"],
        ] {
            // A scenario is a file: what is written in one stands as it was written, for a usual width.
            if args.contains(&"show") && columns < 80 {
                continue;
            }
            let said = finish(metricstream(args).env("COLUMNS", width), Duration::from_secs(20)).expect(0);
            // An example is there to be copied: it is not broken.
            let prose = said.stdout.lines().take_while(|line| !line.starts_with("Example"));
            for line in prose {
                assert!(line.chars().count() <= columns, "{args:?} at {width}: {line}");
            }
        }
    }
}

#[test]
fn a_run_that_never_began_leaves_no_directory_behind() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let mut none = metricstream(&["run", "broker-failure", "--engine", "kafka"]);
    none.current_dir(path).env("PATH", path).env_remove("JAVA_HOME");
    finish(&mut none, Duration::from_secs(30)).expect(3);
    let left: Vec<_> = std::fs::read_dir(dir.path().join("runs")).into_iter().flatten().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}
