//! Chunk decoders: any bytes, any count, no panic; what decodes encodes and decodes to itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tsdb::chunk;

fuzz_target!(|input: (u16, &[u8])| {
    let (count, bytes) = (usize::from(input.0), input.1);
    let mut values = Vec::new();
    if chunk::decode_values(bytes, count, &mut values).is_ok() {
        let (mut again, mut back) = (Vec::new(), Vec::new());
        chunk::encode_values(&values, &mut again);
        assert_eq!(chunk::decode_values(&again, count, &mut back), Ok(again.len()));
        assert!(values.iter().zip(&back).all(|(a, b)| a.to_bits() == b.to_bits()));
    }
    let mut times = Vec::new();
    if chunk::decode_times(bytes, count, &mut times).is_ok() {
        let (mut again, mut back) = (Vec::new(), Vec::new());
        chunk::encode_times(&times, &mut again);
        assert_eq!(chunk::decode_times(&again, count, &mut back), Ok(again.len()));
        assert_eq!(times, back);
    }
    let mut starts = Vec::new();
    if chunk::decode_starts(bytes, count, &mut starts).is_ok() {
        assert_eq!(starts.len(), count);
    }
    let mut histograms = Vec::new();
    if chunk::decode_histograms(bytes, count, &mut histograms).is_ok() {
        assert_eq!(histograms.len(), count);
    }
});
