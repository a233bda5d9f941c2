//! The run directory: its name, its making, and what is written there while the run goes on. Everything that was
//! measured before a failure is on disk when the failure comes.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use metricstream_ledger::result::RunResult;
use metricstream_ledger::timeline::TimelineEvent;

use crate::exit::Failure;

/// One run's directory.
#[derive(Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
    events: BufWriter<File>,
}

impl RunDir {
    /// Makes the directory: `out` if it was asked for (it must be absent or empty), else `runs/SCENARIO-TIME-SEED`.
    ///
    /// # Errors
    /// Exit 2 if `out` is not empty or no directory, exit 3 if it cannot be made.
    pub(crate) fn create(out: Option<&Path>, scenario: &str, seed: u64) -> Result<Self, Failure> {
        let path = match out {
            Some(out) => refuse_what_is_not_empty(out)?.to_path_buf(),
            None => free_default(scenario, seed),
        };
        fs::create_dir_all(path.join("history"))
            .with_context(|| format!("cannot make the run directory {}", path.display()))?;
        let path = path.canonicalize().unwrap_or(path);
        let events = File::create(path.join("events.jsonl"))
            .with_context(|| format!("cannot write to the run directory {}", path.display()))?;
        Ok(Self { path, events: BufWriter::new(events) })
    }

    /// Makes the folder for the trials of a repeated run: `out` if it was asked for (it must be absent or empty), else
    /// `runs/SCENARIO-TIME-SEED`.
    ///
    /// # Errors
    /// As [`RunDir::create`].
    pub(crate) fn of_trials(out: Option<&Path>, scenario: &str, seed: u64) -> Result<PathBuf, Failure> {
        let path = match out {
            Some(out) => refuse_what_is_not_empty(out)?.to_path_buf(),
            None => free_default(scenario, seed),
        };
        fs::create_dir_all(&path).with_context(|| format!("cannot make the directory {}", path.display()))?;
        Ok(path)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// As a person would type it: relative to the working directory where that is shorter.
    pub(crate) fn shown(&self) -> String {
        std::env::current_dir()
            .ok()
            .and_then(|cwd| self.path.strip_prefix(cwd).ok().map(Path::to_path_buf))
            .unwrap_or_else(|| self.path.clone())
            .display()
            .to_string()
    }

    /// Appends one event and pushes it to the system, so that it outlives this process.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn event(&mut self, event: &TimelineEvent) -> io::Result<()> {
        serde_json::to_writer(&mut self.events, event)?;
        self.events.write_all(b"\n")?;
        self.events.flush()
    }

    /// Writes one file whole, by rename: a reader never sees half of it.
    ///
    /// # Errors
    /// What the disk says, with the file's name.
    pub(crate) fn write(&self, name: &str, content: &str) -> anyhow::Result<()> {
        let path = self.path.join(name);
        let half = self.path.join(format!(".{name}.half"));
        fs::write(&half, content)
            .and_then(|()| fs::rename(&half, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Writes `result.json` and `junit.xml`.
    ///
    /// # Errors
    /// As [`RunDir::write`].
    pub(crate) fn result(&self, result: &RunResult, strict: bool) -> anyhow::Result<()> {
        self.write("result.json", &metricstream_report::json::result(result))?;
        self.write("junit.xml", &metricstream_report::junit::render(result, strict))
    }
}

/// Takes a run directory away in which nothing happened: no event, no history, no log of a node.
pub(crate) fn forget_if_nothing_happened(path: &Path) {
    let made = ["scenario.toml", "events.jsonl", "history"];
    let others = fs::read_dir(path).into_iter().flatten().flatten().any(|e| !made.iter().any(|m| e.file_name() == *m));
    let told = fs::metadata(path.join("events.jsonl")).map_or(0, |m| m.len());
    // The folder is removed only if it is empty.
    if !others && told == 0 && fs::remove_dir(path.join("history")).is_ok() {
        let _ = fs::remove_file(path.join("events.jsonl"));
        let _ = fs::remove_file(path.join("scenario.toml"));
        let _ = fs::remove_dir(path);
    }
}

fn refuse_what_is_not_empty(out: &Path) -> Result<&Path, Failure> {
    match fs::read_dir(out) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(out),
        Err(e) => Err(Failure::usage(format!("--out {}: {e}", out.display()))),
        Ok(mut entries) => match entries.next() {
            None => Ok(out),
            Some(_) => Err(Failure::usage(format!(
                "--out {}: the directory is not empty; name another one, or leave --out away",
                out.display()
            ))),
        },
    }
}

fn free_default(scenario: &str, seed: u64) -> PathBuf {
    let time = jiff::Zoned::now().strftime("%Y%m%d-%H%M%S").to_string();
    let name = format!("{scenario}-{time}-{seed}");
    let first = Path::new("runs").join(&name);
    if !first.exists() {
        return first;
    }
    (2..).map(|n| Path::new("runs").join(format!("{name}.{n}"))).find(|p| !p.exists()).unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Code;

    #[test]
    fn a_directory_that_is_not_empty_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("precious"), "x").unwrap();
        let refused = RunDir::create(Some(dir.path()), "s", 1).unwrap_err();
        assert_eq!(refused.code, Code::Usage);
        assert!(refused.error.to_string().contains("not empty"), "{}", refused.error);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_in_which_nothing_happened_is_taken_away_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let made = |name: &str| {
            let run = RunDir::create(Some(&dir.path().join(name)), "s", 1).unwrap();
            run.write("scenario.toml", "schema = 1").unwrap();
            run.path().to_path_buf()
        };
        let (silent, logged) = (made("silent"), made("logged"));
        fs::write(logged.join("broker-1.log"), "it says why it did not start").unwrap();
        [&silent, &logged].into_iter().for_each(|path| forget_if_nothing_happened(path));
        assert!(!silent.exists() && logged.join("broker-1.log").exists());
    }

    #[test]
    fn an_empty_or_absent_directory_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(Some(&dir.path().join("deep/er")), "s", 1).unwrap();
        run.write("scenario.toml", "schema = 1").unwrap();
        assert_eq!(fs::read_to_string(run.path().join("scenario.toml")).unwrap(), "schema = 1");
        assert!(run.path().join("history").is_dir());
        RunDir::create(Some(dir.path().join("empty").as_path()), "s", 1).unwrap();
    }
}
