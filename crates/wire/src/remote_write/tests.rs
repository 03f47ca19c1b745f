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
