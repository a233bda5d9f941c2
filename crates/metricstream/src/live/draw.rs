//! Rows of text into cells of a terminal: colours and nothing else.

use metricstream_report::live::Row;
use metricstream_report::view::Tone;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;

/// Draws the rows from the top; what does not fit is cut. The terminal may have been resized since they were laid out.
pub(super) fn rows(rows: &[Row], colour: bool, area: Rect, buffer: &mut Buffer) {
    for (row, place) in rows.iter().zip(area.rows()) {
        let spans = row.spans.iter().map(|span| Span::styled(span.text.as_str(), style(span.tone, span.bold, colour)));
        Line::from_iter(spans).render(place, buffer);
    }
}

/// Faint and bold are no colours: NO_COLOR leaves them.
fn style(tone: Tone, bold: bool, colour: bool) -> Style {
    let style = match (tone, colour) {
        (Tone::Faint, _) => Style::new().add_modifier(Modifier::DIM),
        (Tone::Good, true) => Style::new().fg(Color::Green),
        (Tone::Bad, true) => Style::new().fg(Color::Red),
        (Tone::Warn, true) => Style::new().fg(Color::Yellow),
        (Tone::Plain, _) | (_, false) => Style::new(),
    };
    if bold { style.add_modifier(Modifier::BOLD) } else { style }
}

#[cfg(test)]
mod tests;
