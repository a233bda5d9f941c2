//! What is wrong with a scenario file, where, and what is allowed there. No parsing lives here.

use std::fmt;
use std::ops::Range;

/// At most this many problems are reported of one file; the rest are counted.
pub const MAX_REPORTED: usize = 20;
const MAX_SHOWN_CHARS: usize = 160;

/// Everything found wrong with one scenario, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ScenarioErrors {
    /// The problems, at most [`MAX_REPORTED`].
    pub errors: Vec<ScenarioError>,
    /// How many more there were.
    pub omitted: usize,
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ScenarioError {
    /// Where the text stands that is wrong.
    pub origin: Origin,
    /// Line within the origin, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The line as it stands, control characters replaced.
    pub source_line: String,
    /// How many characters are wrong, from `column`; at least 1.
    pub width: usize,
    /// The value's path, such as `topology.brokers`; empty where the TOML itself is broken.
    pub path: String,
    /// What is wrong and what is allowed.
    pub message: String,
}

/// Where a piece of scenario text came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The scenario file.
    File,
    /// An override of the command line, counted from 0.
    Override(usize),
}

impl fmt::Display for ScenarioErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, error) in self.errors.iter().enumerate() {
            if nth > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        if self.omitted > 0 {
            write!(f, "\nand {} more", self.omitted)?;
        }
        Ok(())
    }
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = match self.origin {
            Origin::File => {
                writeln!(f, "line {}, column {}: {}", self.line, self.column, self.message)?;
                self.line.to_string()
            }
            Origin::Override(_) => {
                writeln!(f, "override `{}`: {}", self.source_line, self.message)?;
                "--set".to_owned()
            }
        };
        let indent = " ".repeat(label.len());
        // A tab before the caret must stay a tab, or the caret stands elsewhere than the eye does.
        let pad: String =
            self.source_line.chars().take(self.column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        writeln!(f, "  {label} | {}", self.source_line)?;
        write!(f, "  {indent} | {pad}{}", "^".repeat(self.width))
    }
}

/// The texts that one scenario is read from, as one range of byte positions: the file, then each override.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    file: &'a str,
    overrides: &'a [String],
}

impl<'a> Source<'a> {
    pub(crate) fn new(file: &'a str, overrides: &'a [String]) -> Self {
        Self { file, overrides }
    }

    /// Where the text of override `nth` begins.
    pub(crate) fn override_start(&self, nth: usize) -> usize {
        self.file.len() + 1 + self.overrides[..nth].iter().map(|text| text.len() + 1).sum::<usize>()
    }

    pub(crate) fn error(&self, span: &Range<usize>, path: String, message: String) -> ScenarioError {
        let (origin, text, base) = self.locate(span.start);
        let start = floor_boundary(text, span.start.saturating_sub(base));
        let end = floor_boundary(text, span.end.saturating_sub(base)).max(start);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let whole = text[line_start..line_end].trim_end_matches('\r');
        let column = text[line_start..start].chars().count() + 1;
        // A very long line is shown from a little before the place that is wrong.
        let skip = if column > MAX_SHOWN_CHARS { column - MAX_SHOWN_CHARS / 2 } else { 0 };
        let shown: String = whole.chars().skip(skip).take(MAX_SHOWN_CHARS).map(printable).collect();
        let column_shown = column - skip;
        let wrong = text[start..end.min(line_end)].trim_end().chars().count();
        let room = shown.chars().count().saturating_sub(column_shown - 1);
        ScenarioError {
            origin,
            line: text[..start].matches('\n').count() + 1,
            column: column_shown,
            source_line: shown,
            width: wrong.min(room).max(1),
            path,
            message,
        }
    }

    fn locate(&self, at: usize) -> (Origin, &'a str, usize) {
        for nth in (0..self.overrides.len()).rev() {
            let start = self.override_start(nth);
            if at >= start {
                return (Origin::Override(nth), &self.overrides[nth], start);
            }
        }
        (Origin::File, self.file, 0)
    }
}

/// Collects problems; sorted by place and capped when it becomes an error.
pub(crate) fn report(source: &Source<'_>, mut found: Vec<Problem>) -> ScenarioErrors {
    found.sort_by_key(|problem| (problem.span.start, problem.span.end));
    let omitted = found.len().saturating_sub(MAX_REPORTED);
    found.truncate(MAX_REPORTED);
    let errors = found.into_iter().map(|p| source.error(&p.span, p.path, p.message)).collect();
    ScenarioErrors { errors, omitted }
}

/// A problem whose place is still a byte range.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) span: Range<usize>,
    pub(crate) path: String,
    pub(crate) message: String,
}

/// "; did you mean `x`?" when one of the allowed words is close to what stands there, else nothing.
pub(crate) fn did_you_mean<'a>(word: &str, allowed: impl IntoIterator<Item = &'a str>) -> String {
    let nearest = allowed.into_iter().map(|candidate| (distance(word, candidate), candidate)).min();
    match nearest {
        Some((steps, candidate)) if steps <= 1 + word.chars().count() / 6 => format!("; did you mean `{candidate}`?"),
        _ => String::new(),
    }
}

/// Edit distance of two words (insert, delete, replace).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().take(100).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

fn printable(c: char) -> char {
    if c.is_control() && c != '\t' { '\u{fffd}' } else { c }
}

fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_what_is_wrong() {
        let text = "a = 1\n\tdéjà = 22\n";
        let start = text.find("22").expect("is there");
        let error = Source::new(text, &[]).error(&(start..start + 2), "x".into(), "too old".into());
        assert_eq!((error.line, error.column, error.width), (2, 9, 2));
        assert_eq!(error.to_string(), "line 2, column 9: too old\n  2 | \tdéjà = 22\n    | \t       ^^");
    }

    #[test]
    fn an_override_is_shown_as_it_was_given() {
        let overrides = ["a=1".to_owned(), "b.c=oops".to_owned()];
        let source = Source::new("z = 1", &overrides);
        let at = source.override_start(1) + 4;
        let error = source.error(&(at..at + 4), "b.c".into(), "no".into());
        assert_eq!(error.origin, Origin::Override(1));
        assert_eq!(error.to_string(), "override `b.c=oops`: no\n  --set | b.c=oops\n        |     ^^^^");
    }

    #[test]
    fn a_place_beyond_or_inside_a_character_does_not_panic() {
        let source = Source::new("é", &[]);
        for (from, to) in [(0, 1), (1, 2), (2, 9), (50, 60)] {
            assert!(source.error(&(from..to), String::new(), "m".into()).width >= 1);
        }
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("x = \"{}\" !", "y".repeat(5000));
        let error = Source::new(&text, &[]).error(&(5007..5008), String::new(), "m".into());
        assert!(error.source_line.chars().count() <= MAX_SHOWN_CHARS);
        assert_eq!(error.source_line.chars().nth(error.column - 1), Some('!'));
    }

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        assert_eq!(did_you_mean("brokerz", ["brokers", "topics"]), "; did you mean `brokers`?");
        assert_eq!(did_you_mean("weather", ["brokers", "topics"]), "");
    }
}
