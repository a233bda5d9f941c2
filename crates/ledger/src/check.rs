//! Checks a stored history: one file, or the history of a run directory with the timeline beside it.
//!
//! Two passes at most: the second narrows to offsets what the first could only tell by block. Nothing is judged here.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::accounting::{Accounting, Inconclusive};
use crate::header::{Expected, Header};
use crate::history::Record;
use crate::jsonl::{JsonlError, JsonlReader, LINE_MAX};
use crate::ledger::Ledger;
use crate::result::Verdict;
use crate::store::{EXTENSION, HistoryReader, MAGIC, StoreError};
use crate::timeline::TimelineEvent;

/// The folder of a run directory that holds its history.
pub const HISTORY_DIR: &str = "history";
/// The timeline of a run directory.
pub const TIMELINE_FILE: &str = "events.jsonl";
/// Files that one history may consist of.
const FILES_MAX: usize = 4_096;

/// What a check found.
#[derive(Debug)]
pub struct Checked {
    /// The history's header.
    pub header: Header,
    /// What the ledger says of everything readable.
    pub accounting: Accounting,
    /// Records read.
    pub records: u64,
    /// Where a file is cut off or damaged; what was before is in the accounting.
    pub damage: Vec<Damage>,
    /// Events of the timeline; `None` if there is none beside the history.
    pub events: Option<usize>,
}

/// A file that could not be read to its end.
#[derive(Debug)]
pub struct Damage {
    /// Which.
    pub path: PathBuf,
    /// Where and how.
    pub error: SourceError,
}

/// Why a file could not be read on.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// In the compact form.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// In the JSON-lines form.
    #[error(transparent)]
    Jsonl(#[from] JsonlError),
}

/// Why nothing can be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A file or folder cannot be opened.
    #[error("{}: {source}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The folder holds no history.
    #[error("{}: no history here; give a run directory, its history folder, a .{EXTENSION} file or a .jsonl file", path.display())]
    Nothing {
        /// Which.
        path: PathBuf,
    },
    /// More files than a history has.
    #[error("{}: more than {FILES_MAX} files in one history", path.display())]
    TooMany {
        /// Which.
        path: PathBuf,
    },
    /// A file whose beginning cannot be read, so that nothing in it can be.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: SourceError,
    },
    /// Files of different runs in one folder.
    #[error("{}: it is of run {found}, the files before it are of run {expected}", path.display())]
    OtherRun {
        /// Which.
        path: PathBuf,
        /// Run of the first file.
        expected: u64,
        /// Its run.
        found: u64,
    },
    /// The header differs from the first file's, so indices mean something else.
    #[error("{}: its header differs from that of the files before it", path.display())]
    OtherHeader {
        /// Which.
        path: PathBuf,
    },
    /// Neither the header nor the caller says what was guaranteed.
    #[error(
        "{}: its header states no guarantee; add \"guarantee\" to it (docs/history.md), or say --acks all --min-insync-replicas N",
        path.display()
    )]
    NoGuarantee {
        /// Which.
        path: PathBuf,
    },
    /// A line of the timeline is no event.
    #[error("{}: line {line}: {source}", path.display())]
    Timeline {
        /// Which.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// A line of the timeline is longer than any event.
    #[error("{}: line {line} is longer than {LINE_MAX} bytes", path.display())]
    TimelineTooLong {
        /// Which.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
    },
}

impl Checked {
    /// The verdict; a damaged history that shows no violation is inconclusive.
    pub fn verdict(&self) -> Verdict {
        self.accounting.verdict()
    }
}

/// Checks the history at `path`: a run directory, its history folder, or one file in either form.
///
/// # Errors
/// [`CheckError`] if nothing can be checked. A history that is cut off or damaged later on is checked up to there.
pub fn check(path: &Path) -> Result<Checked, CheckError> {
    check_against(path, None)
}

/// The same, against a guarantee that is stated here and not in the history's header.
///
/// # Errors
/// As [`check`].
pub fn check_against(path: &Path, guarantee: Option<Expected>) -> Result<Checked, CheckError> {
    let files = files_of(path)?;
    let timeline = read_timeline(path)?;
    let events = timeline.as_deref().unwrap_or(&[]);
    let mut header = open_all(&files)?.header;
    header.guarantee = match guarantee {
        Some(stated) => stated,
        None if header.guarantee.is_unstated() => return Err(CheckError::NoGuarantee { path: path.to_owned() }),
        None => header.guarantee,
    };
    let mut ledger = Ledger::new(header);
    let (records, damage) = pass(&files, &mut ledger)?;
    let header = ledger.header().clone();
    let mut accounting = ledger.finish(events);
    drop(ledger);
    if let Some(suspects) = accounting.suspects.take() {
        let mut second = Ledger::focused(header.clone(), &suspects);
        pass(&files, &mut second)?;
        accounting = second.finish(events);
    }
    let damaged = damage.iter().map(|damage| format!("{}: {}", damage.path.display(), damage.error));
    accounting.inconclusive.extend(damaged.map(Inconclusive::Damaged));
    let events = timeline.as_ref().map(Vec::len);
    Ok(Checked { header, accounting, records, damage, events })
}

/// The second pass for a ledger that ran beside its run: if it had to drop detail, the stored history has it. The
/// history must have been ended or flushed.
///
/// # Errors
/// [`CheckError`] if the history cannot be read; the first accounting then stays true, without the offsets.
pub fn narrow(path: &Path, first: &Accounting, timeline: &[TimelineEvent]) -> Result<Option<Accounting>, CheckError> {
    let Some(suspects) = &first.suspects else { return Ok(None) };
    let files = files_of(path)?;
    let mut second = Ledger::focused(open_all(&files)?.header, suspects);
    pass(&files, &mut second)?;
    Ok(Some(second.finish(timeline)))
}

/// Reads everything once.
fn pass(files: &[PathBuf], ledger: &mut Ledger) -> Result<(u64, Vec<Damage>), CheckError> {
    let mut merge = open_all(files)?;
    let mut records = 0;
    while let Some(record) = merge.next() {
        ledger.apply(&record);
        records += 1;
    }
    Ok((records, merge.damage))
}

/// The records of several files by time. Records without a time keep their place in their file.
struct Merge {
    header: Header,
    sources: Vec<Source>,
    damage: Vec<Damage>,
}

struct Source {
    path: PathBuf,
    form: Form,
    /// The next record, and the latest time in the file so far.
    next: Option<Record>,
    at_us: i64,
}

enum Form {
    Store(Box<HistoryReader<File>>),
    Jsonl(Box<JsonlReader<BufReader<File>>>),
}

impl Form {
    fn header(&self) -> &Header {
        match self {
            Self::Store(reader) => reader.header(),
            Self::Jsonl(reader) => reader.header(),
        }
    }

    fn read(&mut self) -> Result<Option<Record>, SourceError> {
        match self {
            Self::Store(reader) => Ok(reader.read()?),
            Self::Jsonl(reader) => Ok(reader.read()?),
        }
    }
}

impl Merge {
    fn next(&mut self) -> Option<Record> {
        let earliest = match self.sources.as_slice() {
            [_] => 0,
            many => {
                let waiting = many.iter().enumerate().filter(|(_, source)| source.next.is_some());
                waiting.min_by_key(|(index, source)| (source.at_us, *index))?.0
            }
        };
        let source = self.sources.get_mut(earliest)?;
        let record = source.next.take();
        if record.is_some() {
            source.advance(&mut self.damage);
        }
        record
    }
}

impl Source {
    fn advance(&mut self, damage: &mut Vec<Damage>) {
        match self.form.read() {
            Ok(next) => {
                if let Some(at_us) = next.as_ref().and_then(Record::at_us) {
                    self.at_us = self.at_us.max(at_us);
                }
                self.next = next;
            }
            Err(error) => damage.push(Damage { path: self.path.clone(), error }),
        }
    }
}

fn open_all(files: &[PathBuf]) -> Result<Merge, CheckError> {
    let mut sources: Vec<Source> = Vec::new();
    let mut header: Option<Header> = None;
    let mut damage = Vec::new();
    for path in files {
        let form = open(path)?;
        match &header {
            Some(first) if first.run_id != form.header().run_id => {
                let (expected, found) = (first.run_id, form.header().run_id);
                return Err(CheckError::OtherRun { path: path.clone(), expected, found });
            }
            Some(first) if !same_names(first, form.header()) => {
                return Err(CheckError::OtherHeader { path: path.clone() });
            }
            Some(_) => {}
            None => header = Some(form.header().clone()),
        }
        let mut source = Source { path: path.clone(), form, next: None, at_us: i64::MIN };
        source.advance(&mut damage);
        sources.push(source);
    }
    match header {
        Some(header) => Ok(Merge { header, sources, damage }),
        None => Err(CheckError::Nothing { path: files.first().cloned().unwrap_or_default() }),
    }
}

/// Names of producers and members may differ between files; what indices mean may not, nor what is judged by.
fn same_names(a: &Header, b: &Header) -> bool {
    a.topics == b.topics && a.groups == b.groups && a.guarantee == b.guarantee
}

fn open(path: &Path) -> Result<Form, CheckError> {
    use std::io::{Read, Seek, SeekFrom};
    let fail = |source| CheckError::Open { path: path.to_owned(), source };
    let unreadable = |source| CheckError::Unreadable { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(fail)?;
    let mut start = Vec::new();
    file.by_ref().take(MAGIC.len() as u64).read_to_end(&mut start).map_err(fail)?;
    file.seek(SeekFrom::Start(0)).map_err(fail)?;
    // A JSON line begins with a brace; everything else is for the compact reader to name.
    if start.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') {
        let reader = JsonlReader::new(BufReader::new(file)).map_err(|error| unreadable(error.into()))?;
        return Ok(Form::Jsonl(Box::new(reader)));
    }
    let reader = HistoryReader::new(file).map_err(|error| unreadable(error.into()))?;
    Ok(Form::Store(Box::new(reader)))
}

fn files_of(path: &Path) -> Result<Vec<PathBuf>, CheckError> {
    let fail = |source| CheckError::Open { path: path.to_owned(), source };
    if !std::fs::metadata(path).map_err(fail)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let inside = path.join(HISTORY_DIR);
    let folder = if inside.is_dir() { inside } else { path.to_owned() };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(fail)? {
        let file = entry.map_err(fail)?.path();
        let is_history = match file.extension().and_then(|extension| extension.to_str()) {
            Some(EXTENSION) => true,
            Some("jsonl") => file.file_name().is_some_and(|name| name != TIMELINE_FILE),
            _ => false,
        };
        if is_history {
            files.push(file);
        }
        if files.len() > FILES_MAX {
            return Err(CheckError::TooMany { path: folder });
        }
    }
    files.sort();
    if files.is_empty() { Err(CheckError::Nothing { path: path.to_owned() }) } else { Ok(files) }
}

/// The timeline beside the history, if there is one: in the run directory, above its history folder, or beside a file.
fn read_timeline(path: &Path) -> Result<Option<Vec<TimelineEvent>>, CheckError> {
    let own = path.is_dir().then(|| path.join(TIMELINE_FILE));
    let beside = path.parent().map(|parent| parent.join(TIMELINE_FILE));
    let above = path.parent().filter(|parent| parent.ends_with(HISTORY_DIR)).and_then(Path::parent);
    let above = above.map(|run| run.join(TIMELINE_FILE));
    // A folder's own parent counts only for a history folder: beside a run directory lie other runs.
    let beside = beside.filter(|_| !path.is_dir() || path.ends_with(HISTORY_DIR));
    let Some(file) = [own, beside, above].into_iter().flatten().find(|file| file.is_file()) else {
        return Ok(None);
    };
    let fail = |source| CheckError::Open { path: file.clone(), source };
    let mut events = Vec::new();
    let mut lines = BufReader::new(File::open(&file).map_err(fail)?);
    let mut text = String::new();
    let mut line = 0;
    loop {
        text.clear();
        let read = lines.by_ref().take(LINE_MAX).read_line(&mut text).map_err(fail)?;
        if read == 0 {
            return Ok(Some(events));
        }
        line += 1;
        if read as u64 == LINE_MAX && !text.ends_with('\n') {
            return Err(CheckError::TimelineTooLong { path: file, line });
        }
        if text.trim().is_empty() {
            continue;
        }
        match serde_json::from_str(&text) {
            Ok(event) => events.push(event),
            // The last line of a run that was killed may be cut.
            Err(_) if !text.ends_with('\n') => return Ok(Some(events)),
            Err(source) => return Err(CheckError::Timeline { path: file, line, source }),
        }
    }
}
