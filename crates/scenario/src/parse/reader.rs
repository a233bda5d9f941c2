//! Typed access to TOML tables that remembers places: a wrong value is reported and its default used,
//! so that one reading of the file finds every problem. What keys mean is unknown here.

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::{Problem, did_you_mean};
use crate::schema;

/// Longest text of a name, reference or setting, characters.
pub(super) const MAX_TEXT_CHARS: usize = 4_000;
/// Most entries of one configuration map.
const MAX_CONFIG_ENTRIES: usize = 200;

/// A value with its place.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
    pub(super) path: String,
}

/// The problems found so far.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: RefCell<Vec<Problem>>,
}

impl Problems {
    pub(super) fn add(&self, span: &Range<usize>, path: &str, message: impl Into<String>) {
        let problem = Problem { span: span.clone(), path: path.to_owned(), message: message.into() };
        self.found.borrow_mut().push(problem);
    }

    pub(super) fn at<T>(&self, at: &At<T>, message: impl Into<String>) {
        self.add(&at.span, &at.path, message);
    }

    pub(super) fn into_inner(self) -> Vec<Problem> {
        self.found.into_inner()
    }
}

/// One table of the file, or one that the file leaves out.
#[derive(Debug)]
pub(super) struct Section<'a> {
    table: Option<&'a DeTable<'a>>,
    /// Place of the table's head, for problems of the table as a whole.
    pub(super) span: Range<usize>,
    pub(super) path: String,
    pub(super) problems: &'a Problems,
}

impl<'a> Section<'a> {
    /// Opens a table, reporting keys that `schema` does not allow.
    pub(super) fn open(
        table: &'a DeTable<'a>,
        span: Range<usize>,
        path: String,
        schema: &schema::Table,
        problems: &'a Problems,
    ) -> Self {
        let section = Self { table: Some(table), span, path, problems };
        for key in table.keys() {
            let word: &str = key.get_ref();
            if !schema.keys.iter().any(|allowed| allowed.name == word) {
                let names = || schema.keys.iter().map(|allowed| allowed.name);
                let hint = did_you_mean(word, names());
                let list = names().collect::<Vec<_>>().join(", ");
                let shown = shorten(word);
                problems.add(
                    &key.span(),
                    &section.path_of(word),
                    format!("unknown key `{shown}` in {}; allowed: {list}{hint}", schema.title),
                );
            }
        }
        section
    }

    fn absent(path: String, span: Range<usize>, problems: &'a Problems) -> Self {
        Self { table: None, span, path, problems }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn raw(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table?.get(key)
    }

    /// Whether the file has this key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.raw(key).is_some()
    }

    /// Reports a problem of one key's value, or of the table where the key is not there.
    pub(super) fn problem(&self, key: &str, message: impl Into<String>) {
        let span = self.raw(key).map_or_else(|| self.span.clone(), Spanned::span);
        self.problems.add(&span, &self.path_of(key), message);
    }

    /// Reports a key that has no place here although the table knows it.
    pub(super) fn refuse(&self, key: &str, why: &str) {
        let found = self.table.and_then(|table| table.get_key_value(key));
        if let Some((name, _)) = found {
            self.problems.add(&name.span(), &self.path_of(key), format!("`{key}` {why}"));
        }
    }

    fn typed<T>(&self, key: &str, wanted: &str, read: impl Fn(&'a DeValue<'a>) -> Option<T>) -> Option<At<T>> {
        let raw = self.raw(key)?;
        match read(raw.get_ref()) {
            Some(value) => Some(At { value, span: raw.span(), path: self.path_of(key) }),
            None => {
                self.problem(key, format!("`{key}` is {}; wanted: {wanted}", describe(raw.get_ref())));
                None
            }
        }
    }

    pub(super) fn text(&self, key: &str) -> Option<At<String>> {
        let text = self.typed(key, "text in quotes", |v| v.as_str().map(str::to_owned))?;
        if text.value.chars().count() > MAX_TEXT_CHARS {
            self.problems.at(&text, format!("`{key}` is longer than {MAX_TEXT_CHARS} characters"));
            return None;
        }
        Some(text)
    }

    /// A name: letters, digits, `.`, `_`, `-`, starting with a letter or digit.
    pub(super) fn name(&self, key: &str) -> Option<At<String>> {
        let text = self.text(key)?;
        match check_name(&text.value) {
            Ok(()) => Some(text),
            Err(wrong) => {
                self.problems.at(&text, format!("`{key}`: {wrong}"));
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let found = words.iter().find(|(word, _)| *word == text.value).map(|(_, value)| *value);
        if found.is_none() {
            let list = words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
            let hint = did_you_mean(&text.value, words.iter().map(|(word, _)| *word));
            self.problems.at(&text, format!("`{key}` cannot be \"{}\"; allowed: {list}{hint}", shorten(&text.value)));
        }
        found
    }

    pub(super) fn integer(&self, key: &str, range: RangeInclusive<i64>) -> Option<At<i64>> {
        let number = self.typed(key, "a whole number", integer_of)?;
        if range.contains(&number.value) {
            return Some(number);
        }
        self.problems
            .at(&number, format!("`{key}` is {}; allowed: {} to {}", number.value, range.start(), range.end()));
        None
    }

    /// A number in a range; whole numbers are numbers too.
    pub(super) fn number(&self, key: &str, range: RangeInclusive<f64>) -> Option<At<f64>> {
        let number = self.typed(key, "a number", number_of)?;
        if range.contains(&number.value) {
            return Some(number);
        }
        // Beyond what can be counted, digits say nothing.
        let given = if number.value.abs() < 1e15 { number.value.to_string() } else { format!("{:e}", number.value) };
        self.problems.at(&number, format!("`{key}` is {given}; allowed: {} to {}", range.start(), range.end()));
        None
    }

    pub(super) fn boolean(&self, key: &str) -> Option<At<bool>> {
        self.typed(key, "true or false", DeValue::as_bool)
    }

    /// A value of any type, for those whose type depends on something else.
    pub(super) fn any(&self, key: &str) -> Option<At<&'a DeValue<'a>>> {
        self.typed(key, "a value", Some)
    }

    /// A list of at most `max` entries.
    pub(super) fn list(&self, key: &str, max: usize) -> Option<Vec<At<&'a DeValue<'a>>>> {
        let found = self.typed(key, "a list in square brackets", DeValue::as_array)?;
        if found.value.len() > max {
            self.problems.at(&found, format!("`{key}` has {} entries; at most {max}", found.value.len()));
            return None;
        }
        let path = self.path_of(key);
        let entry = |(nth, raw): (usize, &'a Spanned<DeValue<'a>>)| At {
            value: raw.get_ref(),
            span: raw.span(),
            path: format!("{path}.{nth}"),
        };
        Some(found.value.iter().enumerate().map(entry).collect())
    }

    /// A list of texts.
    pub(super) fn texts(&self, key: &str, max: usize) -> Option<Vec<At<String>>> {
        let mut texts = Vec::new();
        for entry in self.list(key, max)? {
            match entry.value.as_str() {
                Some(text) if text.chars().count() <= MAX_TEXT_CHARS => {
                    texts.push(At { value: text.to_owned(), span: entry.span, path: entry.path });
                }
                Some(_) => self.problems.at(&entry, format!("longer than {MAX_TEXT_CHARS} characters")),
                None => {
                    let message = format!("`{key}` holds {}; wanted: texts in quotes", describe(entry.value));
                    self.problems.at(&entry, message);
                }
            }
        }
        Some(texts)
    }

    /// A table under this one; where the file leaves it out, one that has no key.
    pub(super) fn child(&self, key: &str, schema: &schema::Table) -> Self {
        let path = self.path_of(key);
        let wanted = format!("a table, written {}", schema.title);
        match self.typed(key, &wanted, DeValue::as_table) {
            Some(at) => Self::open(at.value, at.span, path, schema, self.problems),
            None => Self::absent(path, self.span.clone(), self.problems),
        }
    }

    /// The tables of a list; `None` if the file has no such list.
    pub(super) fn children(&self, key: &str, schema: &schema::Table, max: usize) -> Option<Vec<Self>> {
        let mut sections = Vec::new();
        for entry in self.list(key, max)? {
            match entry.value.as_table() {
                Some(table) => {
                    sections.push(Self::open(table, entry.span, entry.path, schema, self.problems));
                }
                None => {
                    let message = format!("{}; wanted: tables, written {}", describe(entry.value), schema.title);
                    self.problems.at(&entry, message);
                }
            }
        }
        Some(sections)
    }

    /// A map of settings; numbers and booleans are taken as their text. Dotted keys may be left unquoted.
    pub(super) fn config(&self, key: &str) -> Vec<(At<String>, At<String>)> {
        let Some(map) = self.typed(key, "a table of settings", DeValue::as_table) else { return Vec::new() };
        let mut entries = Vec::new();
        self.flatten(map.value, "", &map.path, &mut entries);
        if entries.len() > MAX_CONFIG_ENTRIES {
            self.problems.at(&map, format!("`{key}` has {} settings; at most {MAX_CONFIG_ENTRIES}", entries.len()));
            entries.clear();
        }
        entries
    }

    fn flatten(&self, table: &DeTable<'_>, prefix: &str, base: &str, entries: &mut Vec<(At<String>, At<String>)>) {
        for (key, value) in table {
            let name =
                if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
            if let Some(inner) = value.get_ref().as_table() {
                self.flatten(inner, &name, base, entries);
                continue;
            }
            let path = format!("{base}.\"{name}\"");
            let name = At { value: name, span: key.span(), path: path.clone() };
            match setting_of(value.get_ref()) {
                Some(text) => entries.push((name, At { value: text, span: value.span(), path })),
                None => self.problems.add(
                    &value.span(),
                    &path,
                    format!("a setting is text, a number, true or false, not {}", describe(value.get_ref())),
                ),
            }
        }
    }
}

/// What kind of value stands there, for messages.
pub(super) fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text \"{}\"", shorten(text)),
        DeValue::Integer(number) => format!("the whole number {}", shorten(number.as_str())),
        DeValue::Float(number) => format!("the number {}", shorten(number.as_str())),
        DeValue::Boolean(yes) => format!("{yes}"),
        DeValue::Datetime(_) => "a date or time".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// Text for a message, never longer than a line.
pub(super) fn shorten(text: &str) -> String {
    let clean: String = text.chars().take(60).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().count() > 60 { format!("{clean}…") } else { clean }
}

/// A list of what is allowed, cut where it grows long.
pub(super) fn listed<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let all: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    match all.len() {
        0 => "none".to_owned(),
        1..=12 => all.join(", "),
        more => format!("{}, … ({more} in all)", all[..12].join(", ")),
    }
}

pub(super) fn integer_of(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

pub(super) fn number_of(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Integer(_) => integer_of(value).map(|whole| whole as f64),
        DeValue::Float(number) => number.as_str().parse::<f64>().ok().filter(|n| n.is_finite()),
        _ => None,
    }
}

fn setting_of(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) if text.chars().count() <= MAX_TEXT_CHARS => Some(text.to_string()),
        DeValue::Integer(_) => integer_of(value).map(|whole| whole.to_string()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(yes) => Some(yes.to_string()),
        _ => None,
    }
}

/// Whether a text may name something.
pub(super) fn check_name(text: &str) -> Result<(), String> {
    let sound = text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    match text.len() {
        1..=64 if sound => Ok(()),
        _ => Err(format!(
            "\"{}\" is no name: 1 to 64 letters, digits, `.`, `_` or `-`, starting with a letter or digit",
            shorten(text)
        )),
    }
}
