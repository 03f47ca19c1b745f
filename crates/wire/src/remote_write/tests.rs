//! The decoders against messages that a small writer of our own makes.

use model::Batch;
use model::labels::Labels;
use proptest::prelude::*;

use super::*;

/// Writes protobuf.
#[derive(Default, Clone)]
struct Msg(Vec<u8>);

impl Msg {
    fn varint(mut self, number: u64, value: u64) -> Self {
        self.push(number << 3);
        self.push(value);
        self
    }
    fn double(mut self, number: u64, value: f64) -> Self {
        self.push(number << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }
    fn bytes(mut self, number: u64, value: &[u8]) -> Self {
        self.push(number << 3 | 2);
        self.push(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }
    fn msg(self, number: u64, value: Msg) -> Self {
        self.bytes(number, &value.0)
    }
    fn packed(self, number: u64, values: &[u64]) -> Self {
        let mut list = Msg::default();
        values.iter().for_each(|v| list.push(*v));
        self.msg(number, list)
    }
    fn push(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

fn m() -> Msg {
    Msg::default()
}

fn label(name: &str, value: &str) -> Msg {
    m().bytes(1, name.as_bytes()).bytes(2, value.as_bytes())
}

fn sample(value: f64, time: i64) -> Msg {
    m().double(1, value).varint(2, time as u64)
}

fn show(batch: &Batch) -> Vec<String> {
    let name = |i: u32| Labels::from_encoded(batch.label_bytes(i).unwrap()).expect("canonical").to_string();
    let floats = batch.floats().iter().map(|s| format!("{} {}@{}", name(s.series), s.value, s.time));
    let histograms = batch
        .histograms()
        .iter()
        .map(|s| format!("{} h{} {:?}@{}", name(s.series), s.histogram.count, s.histogram.positive, s.time));
    let starts = batch.starts().iter().map(|(s, t, start)| format!("{} start {start}@{t}", name(*s)));
    let exemplars =
        batch.exemplars().iter().map(|(s, e)| format!("{} ex {} {}@{}", name(*s), e.labels, e.value, e.at));
    let metadata =
        batch.metadata().iter().map(|(n, m)| format!("# {n} {} {:?} {:?}", m.kind, m.help, m.unit));
    floats.chain(histograms).chain(starts).chain(exemplars).chain(metadata).collect()
}

fn histogram(time: i64) -> Msg {
    m().varint(1, 3)
        .double(3, 1.5)
        .varint(4, 0)
        .msg(11, m().varint(1, 0).varint(2, 2))
        .packed(12, &[4, 1]) // +2, −1
        .varint(15, time as u64)
}

#[test]
fn version_1() {
    let body = m()
        .msg(
            1,
            m().msg(1, label("__name__", "a"))
                .msg(1, label("x", "1"))
                .msg(2, sample(1.5, 1000))
                .msg(2, sample(2.5, 2000))
                .msg(3, m().msg(1, label("trace_id", "t")).double(2, 9.0).varint(3, 1500)),
        )
        // The same series again, labels in another order, an older sample.
        .msg(1, m().msg(1, label("x", "1")).msg(1, label("__name__", "a")).msg(2, sample(0.5, 500)))
        .msg(1, m().msg(1, label("__name__", "h")).msg(4, histogram(7)))
        .msg(1, m().msg(1, label("y", "1")).msg(2, sample(1.0, 1)))
        .msg(
            1,
            m().msg(1, label("__name__", "d"))
                .msg(1, label("l", "1"))
                .msg(1, label("l", "2"))
                .msg(2, sample(1.0, 1)),
        )
        .msg(3, m().varint(1, 2).bytes(2, b"a").bytes(4, b"help").bytes(5, b"seconds"));
    let mut batch = Batch::new();
    let decoded = Decoder::new(1).decode(Message::V1, &body.0, &mut batch).unwrap();
    assert_eq!(
        show(&batch),
        [
            "a{x=\"1\"} 0.5@500",
            "a{x=\"1\"} 1.5@1000",
            "a{x=\"1\"} 2.5@2000",
            "h h3 [2.0, 1.0]@7",
            "a{x=\"1\"} ex {trace_id=\"t\"} 9@1500",
            "# a gauge \"help\" \"seconds\"",
        ]
    );
    assert_eq!(decoded.invalid, 2);
    assert!(decoded.first_invalid.unwrap().contains("no metric name"));
}

#[test]
fn version_2() {
    let symbols = ["", "__name__", "a", "x", "1", "help", "s", "trace_id", "t"];
    let mut body = m();
    for symbol in symbols {
        body = body.bytes(4, symbol.as_bytes());
    }
    let body = body.msg(
        5,
        m().packed(1, &[1, 2, 3, 4])
            .msg(2, sample(1.0, 10).varint(3, 5))
            .msg(3, histogram(11))
            .msg(4, m().packed(1, &[7, 8]).double(2, 2.0).varint(3, 9))
            .msg(5, m().varint(1, 1).varint(3, 5).varint(4, 6)),
    );
    let mut batch = Batch::new();
    let decoded = Decoder::new(1).decode(Message::V2, &body.0, &mut batch).unwrap();
    assert_eq!(decoded, Decoded::default());
    assert_eq!(
        show(&batch),
        [
            "a{x=\"1\"} 1@10",
            "a{x=\"1\"} h3 [2.0, 1.0]@11",
            "a{x=\"1\"} start 5@10",
            "a{x=\"1\"} ex {trace_id=\"t\"} 2@9",
            "# a counter \"help\" \"s\"",
        ]
    );
    let beyond = m().bytes(4, b"").msg(5, m().packed(1, &[0, 9]));
    assert!(Decoder::new(1).decode(Message::V2, &beyond.0, &mut batch).is_err());
    assert!(Decoder::new(1).decode(Message::V2, &m().msg(1, m()).0, &mut batch).is_err());
}

/// Knows what it was told.
#[derive(Default)]
struct Told(std::collections::HashMap<u128, model::SeriesRef>);

impl Known for Told {
    fn find(&self, keys: &[u128], found: &mut [Option<model::SeriesRef>]) {
        keys.iter().zip(found).for_each(|(key, found)| *found = self.0.get(key).copied());
    }
}

impl Told {
    /// Remembers the series that came by their labels; all series as `name` or `=reference`.
    fn learn(&mut self, decoder: &Decoder, batch: &Batch) -> Vec<String> {
        let series = batch.series().iter().enumerate().map(|(at, key)| match key {
            model::batch::SeriesKey::Ref(reference) => format!("={}", reference.0),
            model::batch::SeriesKey::Labels(_) => {
                if let Some(key) = decoder.key(at as u32) {
                    let next = model::SeriesRef(self.0.len() as u64);
                    self.0.insert(key, next);
                }
                Labels::from_encoded(batch.label_bytes(at as u32).unwrap()).unwrap().to_string()
            }
        });
        series.collect()
    }
}

fn floats(batch: &Batch) -> Vec<(u32, f64, i64)> {
    batch.floats().iter().map(|s| (s.series, s.value, s.time)).collect()
}

#[test]
fn known_series_come_by_reference() {
    let (mut decoder, mut batch, mut told) = (Decoder::new(1), Batch::new(), Told::default());
    let series = |x: &str, samples: &[(f64, i64)]| {
        let start = m().msg(1, label("__name__", "a")).msg(1, label("x", x));
        samples.iter().fold(start, |series, (value, time)| series.msg(2, sample(*value, *time)))
    };
    let mut decode = |body: &Msg, scope: u64| {
        let decoded = decoder.decode_known(Message::V1, &body.0, &mut batch, scope, &told).unwrap();
        assert_eq!(decoded, Decoded::default());
        (told.learn(&decoder, &batch), floats(&batch))
    };
    let long = "v".repeat(300);
    let body = m().msg(1, series("1", &[(1.0, 10)])).msg(1, series(&long, &[(2.0, 11)]));
    let (names, samples) = decode(&body, 0);
    assert_eq!(names[0], "a{x=\"1\"}");
    assert_eq!(samples, [(0, 1.0, 10), (1, 2.0, 11)]);
    // The next round, with one entry a sample for a series, and a new one.
    let body = m()
        .msg(1, series("1", &[(3.0, 20)]))
        .msg(1, series("2", &[(4.0, 20)]))
        .msg(1, series(&long, &[(5.0, 21)]))
        .msg(1, series("1", &[(6.0, 30), (7.0, 40)]))
        .msg(1, series("2", &[(8.0, 30)]));
    let (names, samples) = decode(&body, 0);
    assert_eq!(names, ["=0", "a{x=\"2\"}", "=1"]);
    assert_eq!(samples, [(0, 3.0, 20), (1, 4.0, 20), (2, 5.0, 21), (0, 6.0, 30), (0, 7.0, 40), (1, 8.0, 30)]);
    // Another tenant knows none of them.
    assert_eq!(decode(&body, 5).0.len(), 3);
    assert!(!decode(&m().msg(1, series("1", &[(1.0, 1)])), 6).0[0].starts_with('='));
    // A label behind the samples makes it another series, known or not.
    let behind = m().msg(1, series("1", &[(9.0, 50)]).msg(1, label("y", "2")));
    for _ in 0..2 {
        let (names, samples) = decode(&behind, 0);
        assert_eq!(names, ["a{x=\"1\", y=\"2\"}"]);
        assert_eq!(samples, [(0, 9.0, 50)]);
    }
}

#[test]
fn known_series_of_version_2_are_read_again_when_their_metadata_changes() {
    let (mut decoder, mut batch, mut told) = (Decoder::new(1), Batch::new(), Told::default());
    let request = |symbols: &[&str], help: u64, value: f64| {
        let body = symbols.iter().fold(m(), |body, symbol| body.bytes(4, symbol.as_bytes()));
        let series = m().packed(1, &[1, 2, 3, 4]).msg(2, sample(value, 10).varint(3, 5));
        body.msg(5, series.msg(5, m().varint(1, 1).varint(3, help)))
    };
    let mut decode = |body: &Msg| {
        decoder.decode_known(Message::V2, &body.0, &mut batch, 0, &told).unwrap();
        assert_eq!(batch.starts().len(), 1);
        (told.learn(&decoder, &batch), batch.metadata().len())
    };
    let first = ["", "__name__", "a", "x", "1", "help", "other"];
    assert_eq!(decode(&request(&first, 5, 1.0)), (vec!["a{x=\"1\"}".to_owned()], 1));
    assert_eq!(decode(&request(&first, 5, 2.0)), (vec!["=0".to_owned()], 0));
    // Other numbers for the same symbols.
    let mut body = m();
    for symbol in ["", "help", "1", "x", "a", "__name__"] {
        body = body.bytes(4, symbol.as_bytes());
    }
    let series = m().packed(1, &[5, 4, 3, 2]).msg(2, sample(3.0, 10).varint(3, 5));
    assert_eq!(decode(&body.msg(5, series.msg(5, m().varint(1, 1).varint(3, 1)))).0, ["=0"]);
    assert_eq!(decode(&request(&first, 6, 4.0)).1, 1);
    let other = ["", "__name__", "a", "x", "2", "help", "other"];
    assert_eq!(decode(&request(&other, 5, 5.0)).0, ["a{x=\"2\"}"]);
}

#[test]
fn content_types() {
    let cases = [
        ("application/x-protobuf", Some(Message::V1)),
        ("application/x-protobuf;proto=io.prometheus.write.v2.Request", Some(Message::V2)),
        ("application/x-protobuf; proto=prometheus.WriteRequest", Some(Message::V1)),
        ("application/x-protobuf;proto=other", None),
        ("application/json", None),
    ];
    for (header, message) in cases {
        assert_eq!(Message::from_content_type(header), message, "{header}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut batch = Batch::new();
        for message in [Message::V1, Message::V2] {
            let decoded = Decoder::new(1).decode(message, &body, &mut batch);
            prop_assert!(decoded.is_ok() || batch.series().is_empty());
            // What a request makes us hold is bounded by its length.
            prop_assert!(batch.series().len() + batch.sample_count() <= body.len());
        }
    }

    #[test]
    fn no_broken_message_panics(at in 0usize..400, to in any::<u8>(), cut in 0usize..400) {
        let series = m()
            .packed(1, &[1, 2])
            .msg(1, label("__name__", "a"))
            .msg(2, sample(1.0, 10).varint(3, 5))
            .msg(3, histogram(11))
            .msg(4, histogram(12));
        let body = m().bytes(4, b"").bytes(4, b"__name__").bytes(4, b"a").msg(5, series.clone()).msg(1, series);
        let mut bytes = body.0;
        let len = bytes.len();
        bytes[at % len] = to;
        bytes.truncate(cut.max(1));
        let mut batch = Batch::new();
        for message in [Message::V1, Message::V2] {
            Decoder::new(1).decode(message, &bytes, &mut batch).ok();
            for index in 0..batch.series().len() as u32 {
                prop_assert!(Labels::from_encoded(batch.label_bytes(index).unwrap()).is_some());
            }
        }
    }
}
