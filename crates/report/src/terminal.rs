//! The view model as text for a terminal of a given width.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use metricstream_ledger::result::Verdict;

use crate::text::{NO_BREAK, clean, columns, fit, pad, wrap};
use crate::view::{Block, Grid, Mark, Section, StoryLine, Tone, View};

/// The narrowest terminal that is drawn for.
pub const WIDTH_MIN: usize = 60;
/// The widest; longer lines are hard to read.
pub const WIDTH_MAX: usize = 160;

/// How to draw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Columns; brought into [`WIDTH_MIN`]`..=`[`WIDTH_MAX`].
    pub width: usize,
    /// Whether to write ANSI colours.
    pub colour: bool,
    /// The run directory, shown with the verdict.
    pub run_dir: Option<String>,
}

/// Columns of a section's label.
const LABEL: usize = 12;
/// Columns of a time in the story.
const TIME: usize = 7;
/// Longest cell of a table.
const CELL_MAX: usize = 60;

/// Draws it. Lines end with a newline and carry no spaces at their end.
pub fn render(view: &View, options: &Options) -> String {
    let mut page =
        Page { out: String::new(), width: options.width.clamp(WIDTH_MIN, WIDTH_MAX), colour: options.colour };
    page.header(view);
    page.story(view);
    for section in &view.sections {
        page.section(section);
    }
    page.verdict(view, options.run_dir.as_deref());
    page.out
}

fn sgr(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "",
        Tone::Good => "32",
        Tone::Bad => "31",
        Tone::Warn => "33",
        Tone::Faint => "2",
    }
}

/// Text with ANSI colours around it, if wanted.
pub(crate) fn paint(text: &str, code: &str, colour: bool) -> String {
    if colour && !code.is_empty() && !text.is_empty() {
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}

struct Page {
    out: String,
    width: usize,
    colour: bool,
}

impl Page {
    fn paint(&self, text: &str, code: &str) -> String {
        paint(text, code, self.colour)
    }

    /// `line` is clean already, and may be coloured.
    fn push(&mut self, line: &str) {
        self.out.push_str(line.replace(NO_BREAK, " ").trim_end_matches(' '));
        self.out.push('\n');
    }

    fn header(&mut self, view: &View) {
        let name = clean(&view.scenario);
        let name = fit(&name, self.width);
        let parts: Vec<String> =
            view.header.iter().map(|part| fit(&clean(part), self.width / 2).replace(' ', "\u{a0}")).collect();
        let indent = if columns(&name) + 3 <= self.width / 2 { columns(&name) + 3 } else { 2 };
        let lines = wrap(&parts.join(" · "), self.width - indent);
        let painted = self.paint(&name, "1");
        if indent == 2 {
            self.push(&painted);
        }
        for (index, line) in lines.iter().enumerate() {
            let margin = if index == 0 && indent > 2 { format!("{painted}   ") } else { " ".repeat(indent) };
            // A line neither ends nor begins with the separator.
            self.push(&format!("{margin}{}", line.trim_end_matches(" ·").trim_start_matches("· ")));
        }
    }

    fn story(&mut self, view: &View) {
        if view.story.is_empty() {
            return;
        }
        self.push("");
        let gap = if view.story_left_out > 0 { Some(view.story.len() / 2) } else { None };
        for (index, line) in view.story.iter().enumerate() {
            if gap == Some(index) {
                let text = format!("{}  … {} lines more in events.jsonl", " ".repeat(TIME), view.story_left_out);
                let text = self.paint(&text, sgr(Tone::Faint));
                self.push(&text);
            }
            self.story_line(line);
        }
    }

    fn story_line(&mut self, line: &StoryLine) {
        let time = if line.at_s.is_finite() { format!("{:.1}", line.at_s) } else { "?".to_owned() };
        // No run shows "-0.0".
        let time = if time == "-0.0" { "0.0".to_owned() } else { time };
        let indent = if line.indent { 4 } else { 2 };
        let margin = TIME + indent;
        for (index, text) in wrap(&clean(&line.text), self.width - margin - 2).iter().enumerate() {
            let left = if index == 0 { pad(&format!("{time:>TIME$}"), margin) } else { " ".repeat(margin + 2) };
            let text = self.paint(text, sgr(line.tone));
            self.push(&format!("{left}{text}"));
        }
    }

    fn section(&mut self, section: &Section) {
        self.push("");
        let margin = if section.label.is_empty() { 0 } else { LABEL };
        let mut label = Some(pad(&fit(&clean(&section.label), LABEL - 1), margin));
        for block in &section.blocks {
            for line in self.block(block, section, self.width - margin) {
                let left = label.take().unwrap_or_else(|| " ".repeat(margin));
                let left = self.paint(&left, if left.trim().is_empty() { "" } else { "1" });
                self.push(&format!("{left}{line}"));
            }
        }
    }

    fn block(&self, block: &Block, section: &Section, width: usize) -> Vec<String> {
        match block {
            Block::Text { tone, indent, text } => {
                let first = if *indent { 2 } else { 0 };
                let lines = wrap(&clean(text), width - first - 2);
                let left = |index: usize| " ".repeat(if index == 0 { first } else { first + 2 });
                lines
                    .iter()
                    .enumerate()
                    .map(|(index, line)| format!("{}{}", left(index), self.paint(line, sgr(*tone))))
                    .collect()
            }
            Block::Check { mark, text, value, note } => {
                let values = section.blocks.iter().map(|block| match block {
                    Block::Check { value, .. } => columns(&clean(value)),
                    _ => 0,
                });
                let texts = section.blocks.iter().map(|block| match block {
                    Block::Check { text, .. } => columns(&clean(text)),
                    _ => 0,
                });
                let value_width = values.max().unwrap_or(0).min(width / 3);
                let text_max = width - 4 - if value_width > 0 { value_width + 2 } else { 0 };
                // A column of values stays near its texts.
                let text_max = if value_width > 0 { text_max.min(44) } else { text_max };
                let text_width = texts.max().unwrap_or(0).min(text_max);
                self.check(*mark, [text, value, note], [text_width, value_width, width])
            }
            Block::Table(grid) => table(grid, width),
        }
    }

    /// `✓ text  value  note`; a note that does not fit beside them goes below.
    fn check(&self, mark: Mark, parts: [&String; 3], widths: [usize; 3]) -> Vec<String> {
        let [text, value, note] = parts.map(|part| clean(part));
        let [text_width, value_width, width] = widths;
        let (sign, tone) = match mark {
            Mark::Held => ("✓", Tone::Good),
            Mark::Broken => ("✗", Tone::Bad),
            Mark::Unknown => ("?", Tone::Warn),
            Mark::Void => ("–", Tone::Faint),
        };
        let texts = wrap(&text, text_width.max(8));
        let values = if value.is_empty() { Vec::new() } else { wrap(&value, value_width.max(1)) };
        let beside = 2 + text_width + 2 + if value_width > 0 { value_width + 2 } else { 0 };
        let note_fits = texts.len() == 1 && values.len() <= 1 && beside + columns(&note) <= width;
        let mut lines = Vec::new();
        for index in 0..texts.len().max(values.len()) {
            let cell = |cells: &[String], width| pad(cells.get(index).map_or("", String::as_str), width);
            let sign = if index == 0 { self.paint(sign, sgr(tone)) } else { " ".to_owned() };
            let mut line = format!("{sign} {}", cell(&texts, text_width));
            if value_width > 0 {
                line += &format!("  {}", cell(&values, value_width));
            }
            if note_fits && !note.is_empty() {
                line += &format!("  {}", self.paint(&note, sgr(Tone::Faint)));
            }
            lines.push(line);
        }
        if !note_fits && !note.is_empty() {
            lines.extend(wrap(&note, width - 4).iter().map(|l| format!("    {}", self.paint(l, sgr(Tone::Faint)))));
        }
        lines
    }

    fn verdict(&mut self, view: &View, run_dir: Option<&str>) {
        let (word, code) = match view.verdict {
            Verdict::Pass => ("PASS", "1;32"),
            Verdict::Fail => ("FAIL", "1;31"),
            Verdict::Inconclusive => ("INCONCLUSIVE", "1;33"),
        };
        let word = self.paint(word, code);
        let margin = if view.verdict == Verdict::Inconclusive { 14 } else { 6 };
        let mut lines = wrap(&clean(&view.verdict_text), self.width - margin);
        self.push("");
        let dir = run_dir.map(clean).filter(|dir| !dir.is_empty());
        let mut below = None;
        if let Some(dir) = dir {
            let used = margin + lines.last().map_or(0, |line| columns(line));
            if lines.len() == 1 && used + 3 + columns(&dir) <= self.width {
                let gap = " ".repeat(self.width - used - columns(&dir));
                lines[0] += &format!("{gap}{dir}");
            } else {
                below = Some(dir);
            }
        }
        for (index, line) in lines.iter().enumerate() {
            let left = if index == 0 { format!("{word}  ") } else { " ".repeat(margin) };
            self.push(&format!("{left}{line}"));
        }
        // Whole, even where it is longer than the line: a path is there to be copied.
        if let Some(dir) = below {
            self.push(&format!("{}{dir}", " ".repeat(margin)));
        }
    }
}

/// A table's lines, at most `width` columns wide.
pub(crate) fn table(grid: &Grid, width: usize) -> Vec<String> {
    let cell = |text: &String| fit(&clean(text), CELL_MAX);
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
    table.set_header(grid.head.iter().map(cell));
    for row in &grid.rows {
        table.add_row(row.iter().map(cell));
    }
    let last = grid.head.len().saturating_sub(1);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if index == last { 0 } else { 2 }));
        if grid.numbers && index > 0 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.replace(NO_BREAK, " ").trim_end().to_owned()).collect()
}
