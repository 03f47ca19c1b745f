use std::sync::Arc;

use model::Samples;

use super::*;

fn request(wishes: &[u64]) -> Vec<u8> {
    let mut matcher = Vec::new();
    put_int(&mut matcher, 1, 2);
    put_bytes(&mut matcher, 2, b"job");
    put_bytes(&mut matcher, 3, b"a|b");
    let mut query = Vec::new();
    put_int(&mut query, 1, -5);
    put_int(&mut query, 2, 1000);
    put_bytes(&mut query, 3, &matcher);
    let mut body = Vec::new();
    put_bytes(&mut body, 1, &query);
    for &wish in wishes {
        put_varint(&mut body, 2 << 3);
        put_varint(&mut body, wish);
    }
    body
}

#[test]
fn a_request_is_read() {
    let found = decode(&request(&[7, 1, 0])).unwrap();
    assert_eq!(found.answer, ResponseType::Chunks);
    let query = &found.queries[0];
    assert_eq!((query.start, query.end), (Timestamp(-5), Timestamp(1000)));
    assert_eq!(query.matchers[0].to_string(), r#"job=~"a|b""#);
    assert_eq!(decode(&request(&[])).unwrap().answer, ResponseType::Samples);
    assert!(matches!(decode(&request(&[7])), Err(BadRequest::ResponseTypes(_))));
}

#[test]
fn cut_requests_are_refused_or_shorter_and_never_a_panic() {
    let body = request(&[1]);
    for end in 0..body.len() {
        drop(decode(&body[..end]));
    }
}

#[test]
fn floats_are_encoded_bit_by_bit() {
    let mut samples = Samples::default();
    for (time, value) in [(1000, 1.0), (2000, 1.0), (3000, 2.0), (4000, 2.0)] {
        samples.push_float(time, value);
    }
    let found = chunks(&samples);
    assert_eq!((found.len(), found[0].min_time, found[0].max_time, found[0].encoding), (1, 1000, 4000, 1));
    // Count 4; varint 1000; 1.0; varint 1000 and "same"; "same delta" and 1.0 ^ 2.0 = 11 one bits after one zero; both same.
    let xor = 1f64.to_bits() ^ 2f64.to_bits();
    assert_eq!((xor.leading_zeros(), xor.trailing_zeros()), (1, 52));
    let mut expected = vec![0, 4, 0xd0, 0x0f];
    expected.extend(1f64.to_bits().to_be_bytes());
    expected.extend([0xe8, 0x07]);
    // 0 | 0 11 00001 001011 11111111111 | 0 0
    expected.extend([0b0011_0000, 0b1001_0111, 0b1111_1111, 0b1100_0000]);
    assert_eq!(found[0].data, expected);
}

#[test]
fn kinds_and_layouts_do_not_share_a_chunk() {
    let histogram = |count: f64, length| {
        Arc::new(Histogram {
            count,
            sum: 2.0 * count,
            positive_spans: vec![model::histogram::Span { offset: 1, length }],
            positive: vec![count; length as usize],
            ..Histogram::default()
        })
    };
    let mut samples = Samples::default();
    samples.push_float(1, 1.0);
    samples.push_histogram(2, histogram(1.0, 2));
    samples.push_histogram(3, histogram(2.0, 2));
    samples.push_histogram(4, histogram(3.0, 1));
    for time in 5..205 {
        samples.push_float(time, time as f64);
    }
    let found: Vec<_> = chunks(&samples).into_iter().map(|c| (c.min_time, c.max_time, c.encoding)).collect();
    assert_eq!(found, [(1, 1, 1), (2, 3, 3), (4, 4, 3), (5, 124, 1), (125, 204, 1)]);
}

#[test]
fn a_frame_has_length_checksum_and_message() {
    let labels = Labels::from_pairs([("__name__", "up")]);
    let mut samples = Samples::default();
    samples.push_float(5, 1.0);
    let mut out = Vec::new();
    put_frame(&mut out, 3, &labels, &chunks(&samples), |bytes| bytes.len() as u32);
    let mut fields = Fields(&out);
    let length = fields.varint().unwrap() as usize;
    let (checksum, message) = fields.0.split_at(4);
    assert_eq!((message.len(), checksum), (length, &(length as u32).to_be_bytes()[..]));
    let mut fields = Fields(message);
    let (number, series) = fields.next().unwrap().unwrap();
    assert_eq!(number, 1);
    assert_eq!(fields.next().unwrap(), Some((2, Value::Varint(3))));
    let mut fields = Fields(series.bytes().unwrap());
    assert_eq!(fields.next().unwrap().unwrap().0, 1);
    assert_eq!(fields.next().unwrap().unwrap().0, 2);
}

#[test]
fn histograms_come_back_as_they_were_sent() {
    let histogram = Histogram {
        schema: 3,
        is_float: true,
        zero_threshold: 0.001,
        zero_count: 1.0,
        count: 4.0,
        sum: -2.5,
        negative_spans: vec![model::histogram::Span { offset: -2, length: 2 }],
        negative: vec![1.0, 2.0],
        ..Histogram::default()
    };
    let mut body = Vec::new();
    put_histogram(&mut body, &histogram, 77);
    let sent = crate::remote_write::histogram::decode(&body).unwrap();
    assert_eq!((sent.time, sent.histogram), (77, histogram));
}
