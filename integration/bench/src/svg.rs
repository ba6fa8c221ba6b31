//! Bar charts as plain SVG, readable on a light and on a dark page.

use std::fmt::Write as _;

/// One bar.
#[derive(Debug)]
pub(crate) struct Bar {
    pub(crate) label: String,
    pub(crate) value: f64,
    /// Drawn paler: something that others are compared with.
    pub(crate) baseline: bool,
}

/// A chart of bars, one below the other.
#[derive(Debug)]
pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) unit: &'static str,
    pub(crate) bars: Vec<Bar>,
}

const WIDTH: f64 = 760.0;
/// Where bars begin; labels stand before it.
const LEFT: f64 = 210.0;
/// Room for the number behind the longest bar.
const RIGHT: f64 = 110.0;
const TOP: f64 = 44.0;
const ROW: f64 = 26.0;
const BAR: f64 = 16.0;

/// Colours are the reader's: a viewer that does not know the query shows the light ones.
const STYLE: &str = "\
    text { font: 13px system-ui, sans-serif; fill: #1f2328 }\n\
    .title { font-size: 15px; font-weight: 600 }\n\
    .label { text-anchor: end }\n\
    .bar { fill: #0a7a5c }\n\
    .baseline { fill: #8c959f }\n\
    .axis { stroke: #8c959f }\n\
    @media (prefers-color-scheme: dark) {\n\
      text { fill: #e6edf3 }\n\
      .bar { fill: #3fb68b }\n\
      .baseline { fill: #6e7681 }\n\
      .axis { stroke: #6e7681 }\n\
    }\n";

impl Chart {
    /// The chart as a file.
    pub(crate) fn render(&self) -> String {
        let height = TOP + ROW * self.bars.len() as f64 + 12.0;
        let title = escape(&format!("{} ({})", self.title, self.unit));
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n\
             <title>{title}</title>\n<style>\n{STYLE}</style>\n\
             <text class=\"title\" x=\"12\" y=\"24\">{title}</text>\n"
        );
        let longest = self.bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
        for (index, bar) in self.bars.iter().enumerate() {
            self.bar(&mut out, bar, TOP + ROW * index as f64, longest);
        }
        let bottom = height - 8.0;
        let _ = writeln!(
            out,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{LEFT}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\n</svg>"
        );
        out
    }

    fn bar(&self, out: &mut String, bar: &Bar, top: f64, longest: f64) {
        let share = if longest > 0.0 {
            (bar.value / longest).clamp(0.0, 1.0)
        } else {
            0.0
        };
        let width = share * (WIDTH - LEFT - RIGHT);
        let class = if bar.baseline { "baseline" } else { "bar" };
        let text = top + BAR - 3.0;
        let _ = writeln!(
            out,
            "<text class=\"label\" x=\"{}\" y=\"{text:.0}\">{}</text>\n\
             <rect class=\"{class}\" x=\"{LEFT}\" y=\"{top:.0}\" width=\"{width:.1}\" \
             height=\"{BAR}\" rx=\"2\"/>\n\
             <text x=\"{:.1}\" y=\"{text:.0}\">{}</text>",
            LEFT - 8.0,
            escape(&bar.label),
            LEFT + width + 6.0,
            short(bar.value)
        );
    }
}

/// A number with three digits that say something, thousands apart.
pub(crate) fn short(value: f64) -> String {
    if value.abs() < 10.0 {
        return format!("{value:.2}");
    }
    if value.abs() < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        let behind = digits.len() - index;
        let after_digit = out.ends_with(|last: char| last.is_ascii_digit());
        if behind.is_multiple_of(3) && after_digit {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(values: &[(&str, f64)]) -> String {
        let bars = values.iter().map(|(label, value)| Bar {
            label: (*label).to_owned(),
            value: *value,
            baseline: *label == "base",
        });
        Chart {
            title: "Calls & more".to_owned(),
            unit: "req/s",
            bars: bars.collect(),
        }
        .render()
    }

    #[test]
    fn longest_bar_fills_the_room_and_others_their_share() {
        let svg = chart(&[("base", 200.0), ("half", 100.0)]);
        assert!(
            svg.contains("class=\"baseline\" x=\"210\" y=\"44\" width=\"440.0\""),
            "{svg}"
        );
        assert!(
            svg.contains("class=\"bar\" x=\"210\" y=\"70\" width=\"220.0\""),
            "{svg}"
        );
    }

    #[test]
    fn text_is_escaped_and_elements_are_closed() {
        let svg = chart(&[("a<b", 1.0)]);
        assert!(
            svg.contains("<title>Calls &amp; more (req/s)</title>"),
            "{svg}"
        );
        assert!(svg.contains(">a&lt;b</text>"), "{svg}");
        assert!(
            svg.starts_with("<svg ") && svg.ends_with("</svg>\n"),
            "{svg}"
        );
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    }

    #[test]
    fn chart_is_readable_on_a_dark_page() {
        assert!(chart(&[]).contains("prefers-color-scheme: dark"));
    }

    #[test]
    fn chart_of_zeros_has_bars_without_length() {
        assert!(chart(&[("zero", 0.0)]).contains("width=\"0.0\""));
    }

    #[test]
    fn numbers_are_short() {
        let got = [0.5, 12.345, 999.6, 65_432.1, 1_234_567.0, -1234.0].map(short);
        assert_eq!(
            got,
            ["0.50", "12.3", "1,000", "65,432", "1,234,567", "-1,234"]
        );
    }
}
