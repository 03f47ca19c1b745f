//! The readers and writers by example, by property, and against the suites of others.

use std::borrow::Cow;

use model::{Family, Labels, Metadata, MetricType};
use proptest::prelude::*;

use super::*;

/// Writes down what a reader finds.
#[derive(Default)]
struct Log {
    lines: Vec<String>,
    names: Vec<String>,
}

impl Log {
    fn point(&mut self, name: &str, how: char, point: &Point<'_>) {
        let mut line = format!("{how} {name} {:?}", point.value);
        for (what, time) in [("@", point.time), (" st", point.start)] {
            if let Some(time) = time {
                line += &format!(" {what}{time}");
            }
        }
        if let Some(exemplar) = point.exemplar {
            line += &format!(" ex {:?} {} {:?}", exemplar.labels(), exemplar.value, exemplar.time);
        }
        self.lines.push(line);
    }
}

impl Visitor for Log {
    fn known(&mut self, tag: u32, point: &Point<'_>) -> Result<bool, String> {
        let name = self.names[tag as usize].clone();
        self.point(&name, '=', point);
        Ok(true)
    }
    fn series(&mut self, series: &Series<'_>, point: &Point<'_>) -> Result<u32, String> {
        let pairs = series.labels().chain([("__name__".into(), series.name())]);
        let name = Labels::from_pairs(pairs).to_string();
        self.point(&name, '+', point);
        self.names.push(name);
        Ok(self.names.len() as u32 - 1)
    }
    fn describe(&mut self, family: Cow<'_, str>, what: Describe<'_>) {
        self.lines.push(format!("# {family} {what:?}"));
    }
}

fn lines(format: Format, body: &str) -> Result<Vec<String>, ParseError> {
    let mut log = Log::default();
    super::read(format, body.as_bytes(), &mut Cache::new(1), &mut log)?;
    Ok(log.lines)
}

#[test]
fn prometheus_text() {
    let body = "# HELP a.b some \\\\ help\\n\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\",} 3 1234\n \
                {\"a.b\", x = \"1\\\"\\n\\z\"}\t+Inf\n#plain\nlast NaN";
    let got = lines(Format::Text004, &body.replace("HELP a.b", "HELP \"a.b\"")).unwrap();
    let expected = [
        r#"# a.b Help("some \\ help\n")"#,
        "# h Type(Histogram)",
        r#"+ h_bucket{le="1.0"} 2.0"#,
        r#"+ h_bucket{le="+Inf"} 3.0 @1234"#,
        r#"+ {"a.b", x="1\"\n\\z"} inf"#,
        "+ last NaN",
    ];
    assert_eq!(got, expected);
}

#[test]
fn openmetrics_text() {
    let body = "# TYPE a counter\n# UNIT a_seconds seconds\na_total{x=\"1\"} 1 1.5 # {trace_id=\"t\"} 0.5 2\na 2\n# EOF\n";
    let expected = [
        "# a Type(Counter)",
        "# a_seconds Unit(\"seconds\")",
        r#"+ a_total{x="1"} 1.0 @1500 ex [("trace_id", "t")] 0.5 Some(2000)"#,
        "+ a 2.0",
    ];
    assert_eq!(lines(Format::OpenMetrics100, body).unwrap(), expected);
    let started = "a_total 1 2 st@1.5\nb_total 1 st@0.001\n# EOF";
    assert_eq!(
        lines(Format::OpenMetrics200, started).unwrap(),
        ["+ a_total 1.0 @2000  st1500", "+ b_total 1.0  st1"]
    );
    assert!(lines(Format::OpenMetrics100, started).is_err());
}

#[test]
fn errors_name_line_and_reason() {
    let cases = [
        (Format::Text004, "a 1\nb x\n", 2, "\"x\" is no number"),
        (Format::Text004, "a{b=\"1\"", 1, "a label name, got the end of the body"),
        (Format::Text004, "a 1 2 3", 1, "end of the line, got \"3\""),
        (Format::Text004, "# TYPE a foo\n", 1, "invalid metric type \"foo\""),
        (Format::OpenMetrics100, "a 1\n", 2, "does not end with # EOF"),
        (Format::OpenMetrics100, "a 1\n\n# EOF", 2, "a metric name"),
    ];
    for (format, body, line, reason) in cases {
        let err = lines(format, body).unwrap_err();
        assert!(err.line == line && err.reason.contains(reason), "{body:?}: {err}");
    }
    let err = check_exposition(Format::Text004, b"a{b=\"1\",b=\"2\"} 1").unwrap_err();
    assert_eq!(err.to_string(), "line 1: label name \"b\" is not unique");
}

#[test]
fn lines_in_their_old_place_are_recognised() {
    let mut cache = Cache::new(7);
    let mut log = Log::default();
    let mut run = |body: &str| {
        log.lines.clear();
        super::read(Format::Text004, body.as_bytes(), &mut cache, &mut log).unwrap();
        log.lines.clone()
    };
    assert_eq!(run("# TYPE a gauge\na{x=\"1\"} 1\na{x=\"2\"} 2\nb 3\n").len(), 4);
    assert_eq!(
        run("# TYPE a gauge\na{x=\"1\"} 5\na{x=\"2\"} 6 9\nb 7\n"),
        [r#"= a{x="1"} 5.0"#, r#"= a{x="2"} 6.0 @9"#, "= b 7.0"]
    );
    // One gone, one new, the rest still known.
    assert_eq!(run("# TYPE a gauge\na{x=\"2\"} 1\nc 1\nb 7\n"), [r#"= a{x="2"} 1.0"#, "+ c 1.0", "= b 7.0"]);
    // A prefix of a known text is another series.
    assert_eq!(run("# TYPE a gauge\na 1\nc 1\n"), ["+ a 1.0", "= c 1.0"]);
}

#[test]
fn what_is_written_reads_back() {
    let family = Family {
        name: "my.requests_total".into(),
        metadata: Metadata { kind: MetricType::Counter, help: "a \"b\"\n\\".into(), unit: String::new() },
        samples: vec![
            (Labels::from_pairs([("pa.th", "/\"x\"\n"), ("z", "1")]), 1.5),
            (Labels::empty(), f64::INFINITY),
        ],
    };
    for format in [Format::Text100, Format::OpenMetrics100] {
        let mut out = String::new();
        write::push_family(&mut out, format, &family, Some(1500));
        write::finish(&mut out, format);
        let got = lines(format, &out).unwrap();
        assert_eq!(got[0].split_once(' ').unwrap().1, {
            let stem = if format == Format::Text100 { "my.requests_total" } else { "my.requests" };
            format!("{stem} Help({:?})", "a \"b\"\n\\")
        });
        assert_eq!(got[2], r#"+ {"my.requests_total", "pa.th"="/\"x\"\n", z="1"} 1.5 @1500"#);
        assert_eq!(got[3], r#"+ {"my.requests_total"} inf @1500"#);
    }
}

/// A field that holds bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

fn double(number: u8, value: f64) -> Vec<u8> {
    [&[number << 3 | 1][..], &value.to_le_bytes()].concat()
}

#[test]
fn protobuf_messages() {
    let label = field(1, &[field(1, b"x"), field(2, b"1")].concat());
    let exemplar = field(2, &[field(1, &[field(1, b"t"), field(2, b"9")].concat()), double(2, 0.5)].concat());
    let counter = field(3, &[double(1, 3.0), exemplar, field(3, &[8, 2])].concat());
    let metric = field(4, &[label, counter, vec![6 << 3, 7]].concat());
    let requests = [field(1, b"a_total"), field(2, b"help"), vec![3 << 3, 0], metric].concat();
    let bucket = field(3, &[vec![1 << 3, 2], double(2, 0.5)].concat());
    let native = [vec![5 << 3, 0], field(12, &[2 << 3, 1]), field(13, &[6])].concat();
    let histogram = field(7, &[vec![1 << 3, 3], double(2, 1.5), bucket, native].concat());
    let sizes = [field(1, b"h"), vec![3 << 3, 4], field(4, &histogram)].concat();
    let mut body = Vec::new();
    for family in [&requests, &sizes] {
        body.push(u8::try_from(family.len()).unwrap());
        body.extend_from_slice(family);
    }
    let mut log = Log::default();
    super::read(Format::Protobuf, &body, &mut Cache::new(1), &mut log).unwrap();
    assert_eq!(
        log.lines,
        [
            "# a_total Type(Counter)",
            "# a_total Help(\"help\")",
            "+ a_total{x=\"1\"} 3.0 @7  st2000 ex [(\"t\", \"9\")] 0.5 None",
            "# h Type(Histogram)",
            "+ h 0.0",
            "+ h_count 3.0",
            "+ h_sum 1.5",
            "+ h_bucket{le=\"0.5\"} 2.0",
            "+ h_bucket{le=\"+Inf\"} 3.0",
        ]
    );
    for cut in 1..body.len() {
        // A body that ends between two families is whole; anywhere else it is not.
        let whole = cut == requests.len() + 1;
        assert_eq!(check_exposition(Format::Protobuf, &body[..cut]).is_ok(), whole, "{cut}");
    }
}

#[test]
fn a_registry_becomes_families() {
    let body = b"# HELP a help\n# TYPE a counter\na_total 3\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_count 2\n# EOF\n";
    let got: Vec<String> = families(Format::OpenMetrics100, body)
        .unwrap()
        .into_iter()
        .map(|f| format!("{} {} {:?} {:?}", f.name, f.metadata.kind, f.metadata.help, f.samples))
        .collect();
    assert_eq!(
        got,
        [
            "a_total counter \"help\" [({}, 3.0)]",
            "h_bucket unknown \"\" [({le=\"1.0\"}, 2.0)]",
            "h_count unknown \"\" [({}, 2.0)]",
            "h histogram \"\" []",
        ]
    );
}

#[test]
fn advice() {
    let body = b"# TYPE reqs counter\nreqs 1\n# HELP t_milliseconds x\n# TYPE t_milliseconds gauge\nt_milliseconds 1\n";
    let texts: Vec<String> = lint(Format::Text004, body).unwrap().into_iter().map(|l| l.text).collect();
    assert_eq!(
        texts,
        [
            "counter metrics should have \"_total\" suffix",
            "no help text",
            "use base unit \"seconds\" instead of \"milliseconds\"",
        ]
    );
}

proptest! {
    #[test]
    fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        for format in [Format::Text004, Format::OpenMetrics100, Format::OpenMetrics200, Format::Protobuf] {
            check_exposition(format, &body).ok();
        }
    }

    #[test]
    fn no_near_miss_panics(
        body in "(# (HELP|TYPE|UNIT|EOF) ?|[a{}=\",\\\\# 1.\n\t\u{0}]|st@|le=\"1\"){0,40}",
        again in "(# (HELP|TYPE|UNIT|EOF) ?|[a{}=\",\\\\# 1.\n\t\u{0}]|st@|le=\"1\"){0,40}",
    ) {
        for format in [Format::Text004, Format::OpenMetrics100, Format::OpenMetrics200] {
            let (mut cache, mut log) = (Cache::new(3), Log::default());
            for body in [&body, &again, &body] {
                let cached = super::read(format, body.as_bytes(), &mut cache, &mut log).is_ok();
                // The cache changes the cost, never the verdict.
                prop_assert_eq!(cached, lines(format, body).is_ok(), "{:?}", body);
            }
        }
    }
}
