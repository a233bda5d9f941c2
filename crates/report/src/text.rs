//! Text as it reaches a terminal: without control characters, measured in columns, wrapped, with readable numbers.

/// Longest text from outside that is shown; the rest is cut. The files hold all of it.
const TEXT_MAX_CHARS: usize = 2_000;

/// A space at which no line is broken: between a number and its unit.
pub(crate) const NO_BREAK: char = '\u{a0}';

/// Takes out what would move the cursor, change colours or reorder the line, and cuts what is endless.
pub(crate) fn clean(text: &str) -> String {
    let mut kept: String = text.chars().filter_map(printable).take(TEXT_MAX_CHARS).collect();
    if text.chars().nth(TEXT_MAX_CHARS).is_some() {
        kept.push('…');
    }
    kept
}

fn printable(c: char) -> Option<char> {
    match c {
        '\n' | '\r' | '\t' => Some(' '),
        // Zero width, bidirectional overrides and isolates, byte order mark.
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => None,
        c if c.is_control() => None,
        c => Some(c),
    }
}

/// Columns that a character takes. Wide are East Asian scripts and pictures; combining marks take none.
pub(crate) fn char_columns(c: char) -> usize {
    match u32::from(c) {
        0x0300..=0x036f | 0x1ab0..=0x1aff | 0x1dc0..=0x1dff | 0x20d0..=0x20ff | 0xfe00..=0xfe0f | 0xfe20..=0xfe2f => 0,
        0x1100..=0x115f | 0x2e80..=0x303e | 0x3041..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f => 2,
        0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1f64f | 0x1f680..=0x1faff | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// Columns that a text takes.
#[must_use]
pub fn columns(text: &str) -> usize {
    text.chars().map(char_columns).sum()
}

/// Cuts to at most `width` columns, with an ellipsis where something is missing.
#[must_use]
pub fn fit(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        if used + char_columns(c) + 1 > width {
            break;
        }
        used += char_columns(c);
        out.push(c);
    }
    if width > 0 {
        out.push('…');
    }
    out
}

/// Fills up with spaces to `width` columns.
pub(crate) fn pad(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(columns(text));
    format!("{text}{}", " ".repeat(missing))
}

/// Breaks at spaces into lines of at most `width` columns; a word that is longer is cut into pieces.
#[must_use]
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for (index, word) in text.split(' ').enumerate() {
        let space = usize::from(index > 0 && (used > 0 || word.is_empty()));
        if used > 0 && used + space + columns(word) > width {
            lines.push(std::mem::take(&mut line));
            used = 0;
        } else if space > 0 && used > 0 {
            line.push(' ');
            used += 1;
        }
        for c in word.chars() {
            if used > 0 && used + char_columns(c) > width {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            line.push(c);
            used += char_columns(c);
        }
    }
    lines.push(line);
    for line in &mut lines {
        line.truncate(line.trim_end_matches(' ').len());
    }
    lines
}

/// `50,000`.
#[must_use]
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The same for offsets, of which −1 means unknown.
pub(crate) fn thousands_signed(n: i64) -> String {
    let sign = if n < 0 { "-" } else { "" };
    format!("{sign}{}", thousands(n.unsigned_abs()))
}

/// A number with about three digits: `0.15`, `9.3`, `14`, `1,250`.
pub(crate) fn number(x: f64) -> String {
    if !x.is_finite() {
        return "–".to_owned();
    }
    let sign = if x < 0.0 { "-" } else { "" };
    let size = x.abs();
    let text = if size >= 99.95 {
        thousands(size.round() as u64)
    } else if size >= 9.995 {
        format!("{size:.1}")
    } else if size >= 0.01 {
        format!("{size:.2}")
    } else {
        format!("{size:.4}")
    };
    let short = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if short == "0" { short.to_owned() } else { format!("{sign}{short}") }
}

/// A latency in milliseconds, without the unit: `0.15`, `2.1`, `14`, `9,312`.
pub(crate) fn millis(ms: Option<f64>) -> String {
    match ms {
        Some(ms) if ms.is_finite() && ms >= 9.95 => thousands(ms.round() as u64),
        Some(ms) if ms.is_finite() && ms >= 1.0 => format!("{ms:.1}"),
        Some(ms) if ms.is_finite() => format!("{ms:.2}"),
        _ => "–".to_owned(),
    }
}

/// A duration: `47 ms`, `9.3 s`, `1,204 s`; number and unit stay together.
pub(crate) fn seconds(s: f64) -> String {
    if !s.is_finite() {
        return "–".to_owned();
    }
    if s != 0.0 && s.abs() < 0.095 {
        return format!("{}{NO_BREAK}ms", number((s * 1_000.0).round()));
    }
    if s.abs() >= 999.95 {
        return format!("{}{NO_BREAK}s", number(s.round()));
    }
    format!("{s:.1}{NO_BREAK}s")
}

/// A duration that may be unknown.
pub(crate) fn maybe_seconds(s: Option<f64>) -> String {
    s.map_or_else(|| "–".to_owned(), seconds)
}

/// A share as people read it: `99.96 %`. Rounded down, so that only all of it is 100 %; and only none of it is 0 %.
pub(crate) fn percent(share: f64) -> String {
    if !share.is_finite() {
        return "–".to_owned();
    }
    // A share that is meant to have two digits may be a hair below them.
    let hundredths = (share * 10_000.0 + 1e-9).floor();
    let hundredths = match share {
        some if some > 0.0 && some < 1.0 => hundredths.clamp(1.0, 9_999.0),
        _ => hundredths,
    };
    let text = format!("{:.2}", hundredths / 100.0);
    format!("{}{NO_BREAK}%", text.trim_end_matches('0').trim_end_matches('.'))
}

/// `1 partition`, `6 partitions`.
pub(crate) fn count(n: usize, one: &str, many: &str) -> String {
    format!("{}{NO_BREAK}{}", thousands(n as u64), if n == 1 { one } else { many })
}

/// `[2,1,3]`.
pub(crate) fn ids(ids: &[i32]) -> String {
    format!("[{}]", ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
}

/// Ascending indices as `0–5,7`.
pub(crate) fn ranges(indices: &[i32]) -> String {
    let mut out: Vec<String> = Vec::new();
    let mut at = 0;
    while at < indices.len() {
        let mut end = at;
        while end + 1 < indices.len() && indices[end].checked_add(1) == Some(indices[end + 1]) {
            end += 1;
        }
        if end >= at + 2 {
            out.push(format!("{}–{}", indices[at], indices[end]));
        } else {
            out.extend(indices[at..=end].iter().map(ToString::to_string));
        }
        at = end + 1;
    }
    out.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(clean("a\u{1b}[31mred\u{7}\nnext\u{202e}x\u{9b}2J"), "a[31mred nextx2J");
        assert_eq!(clean(&"x".repeat(3_000)).chars().count(), TEXT_MAX_CHARS + 1);
    }

    #[test]
    fn wraps_at_spaces_and_cuts_long_words() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrap("", 10), [""]);
        assert_eq!(wrap("took 9.3\u{a0}s", 9), ["took", "9.3\u{a0}s"]);
        assert_eq!(wrap("1: 0,3  2: 1,4", 80), ["1: 0,3  2: 1,4"]);
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands_signed(-1), "-1");
        assert_eq!([0.1, 8.6, 12.0, 12.34, 99.97, 0.001_25].map(number), ["0.1", "8.6", "12", "12.3", "100", "0.0013"]);
        assert_eq!([-0.0, -3.5, 100.0, 1_200.4].map(number), ["0", "-3.5", "100", "1,200"]);
        assert_eq!([0.0, 0.047, 9.31, 120.04].map(seconds), ["0.0\u{a0}s", "47\u{a0}ms", "9.3\u{a0}s", "120.0\u{a0}s"]);
        assert_eq!(seconds(f64::NAN), "–");
        assert_eq!(millis(Some(f64::INFINITY)), "–");
        assert_eq!([0.15, 2.14, 9_312.4].map(|ms| millis(Some(ms))), ["0.15", "2.1", "9,312"]);
    }

    #[test]
    fn shares_are_rounded_down_so_that_only_all_of_it_is_100() {
        // 25,371 of 27,989 is 90.6463 %: rounded to the nearest it would be 90.65 %.
        assert_eq!(percent(25_371.0 / 27_989.0), "90.64\u{a0}%");
        assert_eq!([0.999_96, 0.999_999_999, 1.0].map(percent), ["99.99\u{a0}%", "99.99\u{a0}%", "100\u{a0}%"]);
        assert_eq!([0.0, 1e-9, 0.5].map(percent), ["0\u{a0}%", "0.01\u{a0}%", "50\u{a0}%"]);
        // What two digits can say is said, though as a double it is a little less.
        assert_eq!([0.57, 0.29, 0.578_7, 0.9].map(percent), ["57\u{a0}%", "29\u{a0}%", "57.87\u{a0}%", "90\u{a0}%"]);
        assert_eq!(percent(f64::NAN), "–");
    }

    #[test]
    fn indices_are_told_as_ranges() {
        assert_eq!(ranges(&[0, 1, 2, 3, 5, 7, 8]), "0–3,5,7,8");
        assert_eq!(ranges(&[]), "");
        assert_eq!(ranges(&[i32::MAX]), "2147483647");
    }

    #[test]
    fn columns_count_what_is_seen() {
        assert_eq!(columns("ISR → é"), 7);
        assert_eq!(columns("日本"), 4);
        assert_eq!(fit("日本語", 5), "日本…");
        assert_eq!(fit("abc", 3), "abc");
        assert_eq!(pad("ab", 4), "ab  ");
    }
}
