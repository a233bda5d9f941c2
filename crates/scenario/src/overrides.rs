//! Overrides of a scenario by path: `topology.brokers=5`, `timeline.kill-2.at_s=12`. The file itself stays as it is.
//!
//! A path names keys; within a list it names an entry by its index from 0, or by its `id` or `name`. A key that has
//! dots may be quoted. A value is TOML; what is not TOML is taken as text.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use crate::error::{Origin, Problem, ScenarioError, ScenarioErrors, Source, did_you_mean, report};
use crate::model::Scenario;
use crate::parse::{self, parse_table};
use crate::{profiles, schema, write};

/// Most overrides of one run.
const MAX_OVERRIDES: usize = 200;
/// Longest override, bytes.
const MAX_OVERRIDE_BYTES: usize = 16 * 1024;
/// Tables in which a path's rest may be one setting name with dots.
const SETTINGS: &[&str] = &["broker_config", "config", "thresholds"];

/// Splits `path=value` at the first `=` outside quotes.
///
/// # Errors
/// Says what an override looks like, if there is no `=`.
pub fn split(text: &str) -> Result<(String, String), ScenarioErrors> {
    let mut quoted = None;
    for (at, c) in text.char_indices() {
        match (quoted, c) {
            (None, '"' | '\'') => quoted = Some(c),
            (Some(open), _) if open == c => quoted = None,
            (None, '=') => return Ok((text[..at].trim().to_owned(), text[at + 1..].trim().to_owned())),
            _ => {}
        }
    }
    let message = "an override is PATH=VALUE, such as topology.brokers=5".to_owned();
    let all = [text.to_owned()];
    let source = Source::new("", &all);
    let start = source.override_start(0);
    Err(report(&source, vec![Problem { span: start..start + text.len(), path: String::new(), message }]))
}

/// Reads a scenario with some of its values replaced.
///
/// # Errors
/// What is wrong with the file as it is; then what is wrong with the overrides, each shown as it was given.
pub fn apply(text: &str, overrides: &[(String, String)]) -> Result<Scenario, ScenarioErrors> {
    let plain = parse::parse(text)?;
    if overrides.is_empty() {
        return Ok(plain);
    }
    let shown: Vec<String> = overrides.iter().map(|(path, value)| format!("{path}={value}")).collect();
    let source = Source::new(text, &shown);
    let mut table = parse_table(&source, text)?;
    // Where the file leaves a table out, its defaults are what the path leads through.
    let defaults_text = write::to_toml(&plain);
    let defaults_source = Source::new(&defaults_text, &[]);
    let defaults = parse_table(&defaults_source, &defaults_text)?;
    let mut problems = Vec::new();
    let mut changes = Vec::new();
    for (nth, (path, value)) in overrides.iter().enumerate() {
        let start = source.override_start(nth);
        let refused = |message| Problem { span: start..start + path.len().max(1), path: path.clone(), message };
        let change = if nth >= MAX_OVERRIDES {
            Err(refused(format!("more than {MAX_OVERRIDES} overrides")))
        } else if shown[nth].len() > MAX_OVERRIDE_BYTES {
            Err(refused(format!("longer than {MAX_OVERRIDE_BYTES} bytes")))
        } else {
            Change::of_override(start, path, value)
        };
        match change.and_then(|change| change.put(&mut table, &defaults).map(|()| change)) {
            Ok(change) => changes.push(change),
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(report(&source, problems));
    }
    let of_profile = profiles::changes(&table, profiles::chosen(&table).unwrap_or(plain.topology.profile));
    // What a profile changes lies beneath what the command line says, which is put once more.
    for change in of_profile.map_err(|found| report(&source, found))?.iter().chain(&changes) {
        change.put(&mut table, &defaults).map_err(|problem| report(&source, vec![problem]))?;
    }
    parse::read(&source, &table, 0..0).map_err(|errors| name_the_override(errors, overrides))
}

/// An error that an override causes elsewhere in the file says that the file alone is sound.
fn name_the_override(mut errors: ScenarioErrors, overrides: &[(String, String)]) -> ScenarioErrors {
    let given = overrides.iter().map(|(path, value)| format!("{path}={value}")).collect::<Vec<_>>().join(" ");
    let in_file = |error: &&mut ScenarioError| error.origin == Origin::File;
    for error in errors.errors.iter_mut().filter(in_file) {
        error.message = format!("{} (with {given}; the file alone is sound)", error.message);
    }
    errors
}

/// One value that is to stand at a path, with the places of both.
pub(crate) struct Change<'t> {
    pub(crate) path: String,
    pub(crate) parts: Vec<Part>,
    pub(crate) value: DeValue<'t>,
    pub(crate) value_span: Range<usize>,
}

/// One part of a path and where it stands.
pub(crate) struct Part {
    pub(crate) text: String,
    pub(crate) span: Range<usize>,
}

/// Splits a path at its dots, quoted keys apart; `start` is where its text begins.
pub(crate) fn parts(path: &str, start: usize) -> Result<Vec<Part>, Problem> {
    let problem = |from: usize, message: String| {
        let to = path.len().max(from + 1);
        Problem { span: start + from..start + to, path: path.to_owned(), message }
    };
    let mut parts = Vec::new();
    let mut at = 0;
    loop {
        let rest = &path[at..];
        let (text, length) = match rest.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let end = rest[1..].find(quote);
                let end = end.ok_or_else(|| problem(at, format!("the quote {quote} is not closed")))?;
                (rest[1..=end].to_owned(), end + 2)
            }
            _ => {
                let end = rest.find('.').unwrap_or(rest.len());
                (rest[..end].trim().to_owned(), end)
            }
        };
        if text.is_empty() {
            return Err(problem(at, "a part of the path is empty".to_owned()));
        }
        parts.push(Part { text, span: start + at..start + at + length });
        at += length;
        match path[at..].chars().next() {
            None => return Ok(parts),
            Some('.') => at += 1,
            Some(_) => return Err(problem(at, "after a quoted key, a dot or `=` follows".to_owned())),
        }
    }
}

impl<'t> Change<'t> {
    /// An override of the command line, whose text begins at `start`.
    fn of_override(start: usize, path: &str, value: &'t str) -> Result<Self, Problem> {
        let value_from = start + path.len() + 1;
        let value_span = value_from..value_from + value.len();
        let parts = parts(path, start)?;
        // Bare text such as `broker 2` is no TOML value, and is what people mean.
        let read = DeValue::parse(value).map_or_else(|_| DeValue::String(value.into()), Spanned::into_inner);
        let change = Self { path: path.to_owned(), value: respan(read, &value_span), value_span, parts };
        match change.parts.first() {
            Some(first) if first.text == "profiles" => {
                Err(change
                    .at(first, "what a profile changes is said in the file; here, set the value itself".to_owned()))
            }
            _ => Ok(change),
        }
    }

    pub(crate) fn at(&self, part: &Part, message: String) -> Problem {
        Problem { span: part.span.clone(), path: self.path.clone(), message }
    }

    /// Puts the value into the table of a file; `defaults` is what it leaves out.
    pub(crate) fn put(&self, table: &mut DeTable<'t>, defaults: &DeTable<'t>) -> Result<(), Problem> {
        self.put_in_table(table, Some(defaults), &self.parts, &schema::ROOT)
    }

    fn put_in_table(
        &self,
        table: &mut DeTable<'t>,
        defaults: Option<&DeTable<'t>>,
        parts: &[Part],
        allowed: &schema::Table,
    ) -> Result<(), Problem> {
        // A path has a part at least.
        let Some((part, rest)) = parts.split_first() else { return Ok(()) };
        let key = part.text.as_str();
        if !allowed.keys.iter().any(|known| known.name == key) {
            let names = || allowed.keys.iter().map(|known| known.name);
            let hint = did_you_mean(key, names());
            let list = names().collect::<Vec<_>>().join(", ");
            return Err(self.at(part, format!("unknown key `{key}` in {}; allowed: {list}{hint}", allowed.title)));
        }
        if rest.is_empty() {
            self.insert(table, part, key);
            return Ok(());
        }
        let default = defaults.and_then(|defaults| defaults.get(key)).map(Spanned::get_ref);
        if SETTINGS.contains(&key) {
            return self.put_setting(table, part, rest);
        }
        if table.get(key).is_none() {
            let copy = default.cloned().unwrap_or_else(|| DeValue::Table(DeTable::new()));
            self.insert_value(table, part, key, copy);
        }
        let inner = under(allowed, key).ok_or_else(|| {
            self.at(part, format!("`{key}` in {} is a value; nothing can stand below it", allowed.title))
        })?;
        match table.get_mut(key).map(Spanned::get_mut) {
            Some(DeValue::Table(below)) => self.put_in_table(below, default.and_then(DeValue::as_table), rest, inner),
            Some(DeValue::Array(entries)) => {
                let default_entries = default.and_then(DeValue::as_array);
                let nth = self.entry(entries, default_entries, &rest[0], key)?;
                let default = default_entries.and_then(|all| all.get(nth)).map(Spanned::get_ref);
                let below = rest.get(1..).filter(|below| !below.is_empty());
                let below = below.ok_or_else(|| self.at(&rest[0], format!("name a key of {}", inner.title)))?;
                match entries.get_mut(nth).map(Spanned::get_mut) {
                    Some(DeValue::Table(entry)) => {
                        self.put_in_table(entry, default.and_then(DeValue::as_table), below, inner)
                    }
                    _ => Err(self.at(&rest[0], format!("this entry of `{key}` is not a table"))),
                }
            }
            _ => Err(self.at(part, format!("`{key}` is not a table in this file"))),
        }
    }

    /// Which entry of a list a part of the path names: by `id`, `name` (defaults included), or index.
    fn entry(
        &self,
        entries: &DeArray<'t>,
        defaults: Option<&DeArray<'t>>,
        part: &Part,
        list: &str,
    ) -> Result<usize, Problem> {
        let name_of = |value: &DeValue<'_>| {
            let named = value.get("id").or_else(|| value.get("name"));
            named.and_then(|name| name.get_ref().as_str()).map(str::to_owned)
        };
        let mut names: Vec<Option<String>> = entries.iter().map(|entry| name_of(entry.get_ref())).collect();
        for (nth, name) in names.iter_mut().enumerate().filter(|(_, name)| name.is_none()) {
            *name = defaults.and_then(|all| all.get(nth)).and_then(|entry| name_of(entry.get_ref()));
        }
        let by_name = names.iter().position(|name| name.as_deref() == Some(part.text.as_str()));
        let by_index = part.text.parse::<usize>().ok().filter(|nth| *nth < names.len());
        by_name.or(by_index).ok_or_else(|| {
            let known: Vec<String> = names.into_iter().flatten().collect();
            let hint = did_you_mean(&part.text, known.iter().map(String::as_str));
            let list_of = if known.is_empty() { "it is empty".to_owned() } else { known.join(", ") };
            self.at(
                part,
                format!("`{list}` has no entry `{}`; allowed: an index, or one of: {list_of}{hint}", part.text),
            )
        })
    }

    /// Sets one setting; its name is all that is left of the path, dots included.
    fn put_setting(&self, table: &mut DeTable<'t>, part: &Part, rest: &[Part]) -> Result<(), Problem> {
        let key = part.text.as_str();
        if table.get(key).is_none() {
            self.insert_value(table, part, key, DeValue::Table(DeTable::new()));
        }
        let name = rest.iter().map(|part| part.text.as_str()).collect::<Vec<_>>().join(".");
        let to = rest.last().map_or(part.span.end, |part| part.span.end);
        let whole = Part { text: name, span: rest[0].span.start..to };
        match table.get_mut(key).map(Spanned::get_mut) {
            Some(DeValue::Table(settings)) => {
                forget(settings, &whole.text);
                self.insert(settings, &whole, &whole.text.clone());
                Ok(())
            }
            _ => Err(self.at(part, format!("`{key}` is not a table of settings"))),
        }
    }

    fn insert(&self, table: &mut DeTable<'t>, part: &Part, key: &str) {
        table.remove(key);
        let value = Spanned::new(self.value_span.clone(), self.value.clone());
        table.insert(Spanned::new(part.span.clone(), key.to_owned().into()), value);
    }

    /// Puts what the path leads through where the file leaves it out.
    fn insert_value(&self, table: &mut DeTable<'t>, part: &Part, key: &str, value: DeValue<'t>) {
        let value = Spanned::new(self.value_span.clone(), respan(value, &self.value_span));
        table.insert(Spanned::new(part.span.clone(), key.to_owned().into()), value);
    }
}

/// The table that stands below a key, as the schema knows it.
fn under(table: &schema::Table, key: &str) -> Option<&'static schema::Table> {
    match (table.title, key) {
        (title, "topology") if title == schema::ROOT.title => Some(&schema::TOPOLOGY),
        (title, "workload") if title == schema::ROOT.title => Some(&schema::WORKLOAD),
        (title, "timeline") if title == schema::ROOT.title => Some(&schema::STEP),
        (title, "settle") if title == schema::ROOT.title => Some(&schema::SETTLE),
        (title, "baseline") if title == schema::ROOT.title => Some(&schema::BASELINE),
        (title, "claims") if title == schema::ROOT.title => Some(&schema::CLAIM),
        (title, "topics") if title == schema::TOPOLOGY.title => Some(&schema::TOPIC),
        (title, "producers") if title == schema::WORKLOAD.title => Some(&schema::PRODUCER),
        (title, "groups") if title == schema::WORKLOAD.title => Some(&schema::GROUP),
        _ => None,
    }
}

/// Gives a value and everything in it one place: that of the override which it comes from.
fn respan<'t>(value: DeValue<'t>, span: &Range<usize>) -> DeValue<'t> {
    match value {
        DeValue::Array(entries) => DeValue::Array(
            entries.into_iter().map(|entry| Spanned::new(span.clone(), respan(entry.into_inner(), span))).collect(),
        ),
        DeValue::Table(table) => DeValue::Table(
            table
                .into_iter()
                .map(|(key, value)| {
                    let key = Spanned::new(span.clone(), key.into_inner());
                    (key, Spanned::new(span.clone(), respan(value.into_inner(), span)))
                })
                .collect(),
        ),
        plain => plain,
    }
}

/// Removes a setting however its dots were written: `a.b` as one quoted key or as tables in one another.
fn forget(settings: &mut DeTable<'_>, name: &str) {
    settings.remove(name);
    for (at, _) in name.match_indices('.') {
        let (first, rest) = (&name[..at], &name[at + 1..]);
        if let Some(DeValue::Table(below)) = settings.get_mut(first).map(Spanned::get_mut) {
            forget(below, rest);
        }
    }
}
