//! Decompression with a cap: no input makes it hold more than the caller allows.

use std::io::Read;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// Snappy's block format, as remote write uses it.
    Snappy,
    /// Zstandard.
    Zstd,
    /// gzip.
    Gzip,
    /// zlib, which HTTP calls deflate.
    Deflate,
}

impl Encoding {
    /// Reads a `Content-Encoding`.
    pub fn from_header(text: &str) -> Option<Self> {
        match text.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Some(Self::Identity),
            "snappy" => Some(Self::Snappy),
            "zstd" => Some(Self::Zstd),
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            _ => None,
        }
    }
}

/// Why a body cannot be decompressed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More than allowed.
    #[error("the decompressed body is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The cap in bytes.
        limit: usize,
    },
    /// Not what the encoding says.
    #[error("the body is not valid {encoding:?}: {reason}")]
    Invalid {
        /// The declared encoding.
        encoding: Encoding,
        /// What is wrong.
        reason: String,
    },
}

/// Decompresses `body` into `out`, which is cleared first and keeps its memory.
///
/// # Errors
/// `TooLarge` beyond `limit` bytes, before they are allocated where the format declares its length; `Invalid`.
pub fn decompress(encoding: Encoding, body: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), Error> {
    out.clear();
    let invalid = |reason: String| Error::Invalid { encoding, reason };
    match encoding {
        Encoding::Identity => {
            if body.len() > limit {
                return Err(Error::TooLarge { limit });
            }
            out.extend_from_slice(body);
        }
        Encoding::Snappy => {
            let len = snap::raw::decompress_len(body).map_err(|err| invalid(err.to_string()))?;
            if len > limit {
                return Err(Error::TooLarge { limit });
            }
            // Snappy shrinks at most 21-fold or so (a three-byte copy gives 64); a larger claim is a lie that would make us
            // allocate for nothing.
            if len / 64 > body.len() {
                return Err(invalid("it declares more than snappy can hold".into()));
            }
            out.resize(len, 0);
            let written =
                snap::raw::Decoder::new().decompress(body, out).map_err(|err| invalid(err.to_string()))?;
            out.truncate(written);
        }
        Encoding::Zstd => {
            let reader = ::zstd::stream::read::Decoder::new(body).map_err(|err| invalid(err.to_string()))?;
            stream(encoding, reader, limit, out)?;
        }
        Encoding::Gzip => stream(encoding, flate2::read::MultiGzDecoder::new(body), limit, out)?,
        Encoding::Deflate => stream(encoding, flate2::read::ZlibDecoder::new(body), limit, out)?,
    }
    Ok(())
}

/// Compresses with snappy's block format.
///
/// # Panics
/// When `body` has 4 GiB or more.
pub fn snappy(body: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(body).expect("snappy takes any body below 4 GiB")
}

/// Compresses with Zstandard.
///
/// # Panics
/// When there is no memory for it.
pub fn zstd(body: &[u8], level: i32) -> Vec<u8> {
    ::zstd::bulk::compress(body, level).expect("zstd fails only for want of memory")
}

/// Reads to the end, or to one byte more than allowed.
fn stream(encoding: Encoding, reader: impl Read, limit: usize, out: &mut Vec<u8>) -> Result<(), Error> {
    let cap = (limit as u64).saturating_add(1);
    let read = reader.take(cap).read_to_end(out);
    read.map_err(|err| Error::Invalid { encoding, reason: err.to_string() })?;
    if out.len() > limit {
        out.clear();
        return Err(Error::TooLarge { limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bomb_is_refused() {
        let zeros = vec![0; 10 << 20];
        let snappy = snap::raw::Encoder::new().compress_vec(&zeros).unwrap();
        let zstd = ::zstd::encode_all(&zeros[..], 3).unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, &zeros).unwrap();
        let gzip = gzip.finish().unwrap();
        let mut deflate = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut deflate, &zeros).unwrap();
        let deflate = deflate.finish().unwrap();
        let all = [
            (Encoding::Snappy, &snappy),
            (Encoding::Zstd, &zstd),
            (Encoding::Gzip, &gzip),
            (Encoding::Deflate, &deflate),
        ];
        let mut out = Vec::new();
        for (encoding, body) in all {
            assert_eq!(
                decompress(encoding, body, 1 << 20, &mut out),
                Err(Error::TooLarge { limit: 1 << 20 })
            );
            assert!(out.capacity() <= 4 << 20);
        }
        for (encoding, body) in all {
            decompress(encoding, body, 10 << 20, &mut out).unwrap();
            assert_eq!(out, zeros);
        }
        // A header that promises a gigabyte and nothing behind it.
        assert!(decompress(Encoding::Snappy, &[0xff, 0xff, 0xff, 0xff, 3], usize::MAX, &mut out).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut out = Vec::new();
            for encoding in
                [Encoding::Snappy, Encoding::Zstd, Encoding::Gzip, Encoding::Deflate, Encoding::Identity]
            {
                decompress(encoding, &body, 1 << 16, &mut out).ok();
                prop_assert!(out.len() <= 1 << 16);
            }
        }
    }
}
