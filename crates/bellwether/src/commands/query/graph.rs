//! Range answers as pictures of text: a line of blocks in a table, a graph of braille dots.

use serde_json::Value;

use super::print::series_name;
use crate::commands::say;

/// Most series of a graph; the legend says how many were left out.
const MAX_SERIES: usize = 8;
/// Rows of the graph.
const HEIGHT: usize = 14;
/// Colours of the series, as terminals number them.
const COLOURS: [u8; MAX_SERIES] = [36, 33, 35, 32, 34, 31, 96, 93];
/// Blocks of an eighth, two eighths, … of a line.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The float points of a series of a matrix: seconds and value.
pub(super) fn points(series: &Value) -> Vec<(f64, f64)> {
    let pair = |point: &Value| {
        let value = match point[1].as_str()? {
            "NaN" => f64::NAN,
            text => text.replace("Inf", "inf").parse().ok()?,
        };
        Some((point[0].as_f64()?, value))
    };
    series["values"].as_array().into_iter().flatten().filter_map(pair).collect()
}

/// Least, mean, greatest and last value.
pub(super) struct Summary {
    pub(super) min: f64,
    pub(super) avg: f64,
    pub(super) max: f64,
    pub(super) last: f64,
}

impl Summary {
    pub(super) fn of(points: &[(f64, f64)]) -> Self {
        let values = || points.iter().map(|(_, value)| *value).filter(|value| !value.is_nan());
        Self {
            min: values().fold(f64::NAN, f64::min),
            avg: values().sum::<f64>() / values().count() as f64,
            max: values().fold(f64::NAN, f64::max),
            last: points.last().map_or(f64::NAN, |(_, value)| *value),
        }
    }
}

/// A number in a few characters: `1.25k`, `0.0042`, `3.1M`.
pub(super) fn short(value: f64) -> String {
    if !value.is_finite() {
        return if value.is_nan() {
            "NaN".to_owned()
        } else if value > 0.0 {
            "+Inf".to_owned()
        } else {
            "-Inf".to_owned()
        };
    }
    let magnitude = value.abs();
    let (scaled, unit) = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")]
        .into_iter()
        .find(|(size, _)| magnitude >= *size)
        .map_or((value, ""), |(size, unit)| (value / size, unit));
    if magnitude > 0.0 && magnitude < 0.001 {
        return format!("{value:.2e}");
    }
    let digits = match scaled.abs() {
        s if s >= 100.0 => 0,
        s if s >= 10.0 => 1,
        s if s >= 1.0 || s == 0.0 => 2,
        _ => 4,
    };
    let text = format!("{scaled:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

/// The mean of the points that fall into each of `width` equal parts of the time; `None` where there are none.
fn resample(points: &[(f64, f64)], (start, end): (f64, f64), width: usize) -> Vec<Option<f64>> {
    let mut sums = vec![(0.0, 0u32); width];
    let span = (end - start).max(f64::MIN_POSITIVE);
    for (time, value) in points.iter().filter(|(_, value)| value.is_finite()) {
        let at = ((time - start) / span * width as f64) as usize;
        let (sum, count) = &mut sums[at.min(width - 1)];
        *sum += value;
        *count += 1;
    }
    sums.into_iter().map(|(sum, count)| (count > 0).then(|| sum / f64::from(count))).collect()
}

/// One line of blocks.
pub(super) fn spark(points: &[(f64, f64)], width: usize) -> String {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return String::new() };
    let width = width.min(points.len());
    let cells = resample(points, (first.0, last.0), width);
    let of = Summary::of(points);
    let (min, max) = (of.min, of.max);
    let block = |value: Option<f64>| match value {
        None => ' ',
        Some(_) if max <= min => BLOCKS[0],
        Some(value) => BLOCKS[((value - min) / (max - min) * 7.0).round().clamp(0.0, 7.0) as usize],
    };
    cells.into_iter().map(block).collect()
}

/// A canvas of braille characters: two by four dots each.
struct Canvas {
    width: usize,
    height: usize,
    dots: Vec<u8>,
    colours: Vec<u8>,
}

impl Canvas {
    fn new(width: usize, height: usize) -> Self {
        Self { width, height, dots: vec![0; width * height], colours: vec![0; width * height] }
    }

    /// Sets a dot; `y` counts from the top.
    fn set(&mut self, x: usize, y: usize, colour: u8) {
        const BITS: [[u8; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
        let cell = (y / 4) * self.width + x / 2;
        if x / 2 < self.width && y / 4 < self.height {
            self.dots[cell] |= BITS[x % 2][y % 4];
            self.colours[cell] = colour;
        }
    }

    fn line(&self, row: usize, coloured: bool) -> String {
        let mut out = String::new();
        let mut current = 0;
        for cell in row * self.width..(row + 1) * self.width {
            let colour = if self.dots[cell] == 0 { 0 } else { self.colours[cell] };
            if coloured && colour != current {
                out.push_str(&format!("\u{1b}[{colour}m"));
                current = colour;
            }
            out.push(char::from_u32(0x2800 + u32::from(self.dots[cell])).unwrap_or(' '));
        }
        if current != 0 {
            out.push_str("\u{1b}[0m");
        }
        out
    }
}

/// Draws the series of a matrix above each other's axes, with a legend.
pub(super) fn draw(data: &Value, width: usize) {
    let coloured = std::io::IsTerminal::is_terminal(&std::io::stdout());
    for line in lines(data, width, coloured) {
        say(line);
    }
}

fn lines(data: &Value, width: usize, coloured: bool) -> Vec<String> {
    let all: Vec<&Value> = data["result"].as_array().into_iter().flatten().collect();
    let series: Vec<Vec<(f64, f64)>> = all.iter().take(MAX_SERIES).map(|one| points(one)).collect();
    let finite = || series.iter().flatten().filter(|(_, value)| value.is_finite());
    let (Some(start), Some(end)) = (
        finite().map(|(time, _)| *time).min_by(f64::total_cmp),
        finite().map(|(time, _)| *time).max_by(f64::total_cmp),
    ) else {
        return vec!["no data".to_owned()];
    };
    let mut min = finite().map(|(_, value)| *value).fold(f64::INFINITY, f64::min);
    let mut max = finite().map(|(_, value)| *value).fold(f64::NEG_INFINITY, f64::max);
    if min == max {
        // A flat line is drawn in the middle.
        let room = if min == 0.0 { 1.0 } else { min.abs() / 2.0 };
        (min, max) = (min - room, max + room);
    }
    let scale = |row: usize| max - (max - min) * row as f64 / (HEIGHT - 1) as f64;
    let margin = (0..HEIGHT).map(|row| short(scale(row)).chars().count()).max().unwrap_or(0);
    let columns = width.saturating_sub(margin + 2).max(20);
    let mut canvas = Canvas::new(columns, HEIGHT);
    for (nth, points) in series.iter().enumerate() {
        let cells = resample(points, (start, end), columns * 2);
        let y_of =
            |value: f64| ((max - value) / (max - min) * (HEIGHT * 4 - 1) as f64).round().max(0.0) as usize;
        let mut before: Option<usize> = None;
        for (x, value) in cells.into_iter().enumerate() {
            let Some(value) = value else { continue };
            let y = y_of(value);
            // Neighbours are joined; a gap stays one.
            let from = before.filter(|_| x > 0).unwrap_or(y);
            (from.min(y)..=from.max(y)).for_each(|y| canvas.set(x, y, COLOURS[nth]));
            before = Some(y);
        }
    }
    let mut out = Vec::new();
    for row in 0..HEIGHT {
        let label = if row % 3 == 1 || HEIGHT == 1 { short(scale(row)) } else { String::new() };
        out.push(format!("{label:>margin$} ┤{}", canvas.line(row, coloured)));
    }
    let clock = |seconds: f64| clock(seconds as i64);
    let (left, right) = (clock(start), clock(end));
    let gap = columns.saturating_sub(left.chars().count() + right.chars().count());
    out.push(format!("{:>margin$} └{}", "", "─".repeat(columns)));
    out.push(format!("{:>margin$}  {left}{}{right}", "", " ".repeat(gap)));
    for (nth, (one, points)) in all.iter().zip(&series).enumerate() {
        let of = Summary::of(points);
        let mark = if coloured { format!("\u{1b}[{}m●\u{1b}[0m", COLOURS[nth]) } else { "●".to_owned() };
        let [min, avg, max, last] = [of.min, of.avg, of.max, of.last].map(short);
        out.push(format!(
            "{mark} {}  min {min}  avg {avg}  max {max}  last {last}",
            series_name(&one["metric"])
        ));
    }
    if all.len() > MAX_SERIES {
        out.push(format!("  and {} more series, which are not drawn", all.len() - MAX_SERIES));
    }
    out
}

/// Date and time in UTC.
fn clock(seconds: i64) -> String {
    api::rfc3339(model::Timestamp(seconds.saturating_mul(1000)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, expected) in [
            (0.0, "0"),
            (1.0, "1"),
            (1234.0, "1.23k"),
            (-15_500_000.0, "-15.5M"),
            (0.0042, "0.0042"),
            (0.000_000_12, "1.20e-7"),
            (999.0, "999"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(short(value), expected);
        }
    }

    #[test]
    fn a_course_is_a_line_of_blocks() {
        let points: Vec<(f64, f64)> = (0..8).map(|i| (f64::from(i), f64::from(i))).collect();
        assert_eq!(spark(&points, 24), "▁▂▃▄▅▆▇█");
        assert_eq!(spark(&points[..1], 24), "▁");
        assert_eq!(spark(&[], 24), "");
        assert_eq!(spark(&[(0.0, 1.0), (10.0, 3.0), (11.0, f64::NAN)], 3).chars().count(), 3);
    }

    #[test]
    fn a_graph_has_a_scale_a_time_axis_and_a_legend() {
        let values: Vec<Value> = (0..50).map(|i| json!([i * 60, (i % 10).to_string()])).collect();
        let data = json!({ "result": [{ "metric": { "__name__": "up", "job": "a" }, "values": values }] });
        let lines = lines(&data, 60, false);
        assert_eq!(lines.len(), HEIGHT + 3);
        assert!(lines.iter().all(|line| line.chars().count() <= 60 || line.starts_with('●')), "{lines:#?}");
        assert!(lines[HEIGHT + 1].contains("1970-01-01T00:00:00Z"), "{lines:#?}");
        assert!(lines[HEIGHT + 2].ends_with("min 0  avg 4.5  max 9  last 9"), "{lines:#?}");
        let dots =
            lines.iter().flat_map(|line| line.chars()).filter(|c| ('\u{2801}'..='\u{28ff}').contains(c));
        assert!(dots.count() > 50);
        assert_eq!(super::lines(&json!({ "result": [] }), 60, false), ["no data"]);
    }
}
