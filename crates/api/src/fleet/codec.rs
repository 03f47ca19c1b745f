//! The bytes of the fleet map: `docs/formats/fleet.md`.

use super::topology::{Node, Topology};

/// A server's state, worst last in [`Code::rank`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Code {
    #[default]
    Ok = 0,
    Warning = 1,
    Critical = 2,
    NoData = 3,
}

impl Code {
    pub(crate) fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Ok,
            1 => Self::Warning,
            2 => Self::Critical,
            _ => Self::NoData,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::NoData => "no_data",
        }
    }

    /// Critical > no data > warning > ok.
    pub(crate) fn rank(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::NoData => 2,
            Self::Critical => 3,
        }
    }

    /// The worse of two.
    pub(crate) fn worse(self, other: Self) -> Self {
        if other.rank() > self.rank() { other } else { self }
    }
}

/// One bit a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bits {
    bytes: Vec<u8>,
    len: usize,
}

impl Bits {
    pub(crate) fn new(len: usize) -> Self {
        Self { bytes: vec![0; len.div_ceil(8)], len }
    }

    pub(crate) fn set(&mut self, index: usize, on: bool) {
        let bit = 1 << (index % 8);
        if on {
            self.bytes[index / 8] |= bit;
        } else {
            self.bytes[index / 8] &= !bit;
        }
    }

    pub(crate) fn get(&self, index: usize) -> bool {
        self.bytes[index / 8] & (1 << (index % 8)) != 0
    }

    pub(crate) fn any(&self) -> bool {
        self.bytes.iter().any(|byte| *byte != 0)
    }

    fn codes(&self) -> Vec<u8> {
        (0..self.len).map(|index| u8::from(self.get(index))).collect()
    }
}

pub(crate) fn varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn text(out: &mut Vec<u8>, text: &str) {
    varint(out, text.len() as u32);
    out.extend_from_slice(text.as_bytes());
}

/// "BWFT": the tree and its names.
pub(crate) fn topology(topology: &Topology) -> Vec<u8> {
    let mut strings = StringTable::default();
    let mut nodes = Vec::new();
    varint(&mut nodes, topology.roots.len() as u32);
    for node in &topology.roots {
        write_node(node, &mut nodes, &mut strings);
    }
    let mut after = Vec::new();
    after.extend_from_slice(&topology.servers().to_le_bytes());
    after.push(topology.levels.len() as u8);
    for level in &topology.levels {
        text(&mut after, level);
    }
    after.extend_from_slice(&nodes);
    varint(&mut after, strings.list.len() as u32);
    for name in &strings.list {
        text(&mut after, name);
    }
    let mut out = Vec::with_capacity(after.len() + 16);
    out.extend_from_slice(b"BWFT");
    out.extend_from_slice(&[1, topology.flags(), 0, 0]);
    out.extend_from_slice(&topology.hash.to_le_bytes());
    out.extend_from_slice(&after);
    out
}

#[derive(Default)]
struct StringTable {
    list: Vec<String>,
    index: std::collections::HashMap<String, u32>,
}

impl StringTable {
    fn refer(&mut self, name: &str) -> u32 {
        if let Some(&index) = self.index.get(name) {
            return index;
        }
        let index = self.list.len() as u32;
        self.list.push(name.to_owned());
        self.index.insert(name.to_owned(), index);
        index
    }
}

fn write_node(node: &Node, out: &mut Vec<u8>, strings: &mut StringTable) {
    match node {
        Node::Inner { name, children } => {
            varint(out, strings.refer(name));
            varint(out, children.len() as u32);
            for child in children {
                write_node(child, out, strings);
            }
        }
        Node::Leaf { name, used, total } => {
            varint(out, strings.refer(name));
            for slots in [*used, *total] {
                if slots >= 255 {
                    out.push(255);
                    varint(out, slots);
                } else {
                    out.push(slots as u8);
                }
            }
        }
    }
}

/// What a state message says besides its codes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StateHeader {
    pub(crate) topo_hash: u64,
    pub(crate) sequence: u64,
    pub(crate) time_ms: i64,
}

/// "BWFS" with 1 or 2 bits a server.
pub(crate) fn state(header: StateHeader, codes: &[Code], silenced: &Bits, bits: u8) -> Vec<u8> {
    let plane = |code: &Code| if bits == 1 { u8::from(*code != Code::Ok) } else { *code as u8 };
    let second = silenced.any();
    let mut body = pack(codes.iter().map(plane), codes.len(), bits);
    if second {
        body.extend_from_slice(&silenced.bytes);
    }
    message(header, codes.len(), bits, u8::from(second), &body)
}

/// "BWFS" with 4 bits a server: each value's place between the smallest and the largest.
pub(crate) fn ramp(header: StateHeader, values: &[Option<f64>]) -> Vec<u8> {
    let finite = || values.iter().flatten().filter(|value| value.is_finite());
    let minimum = finite().copied().fold(f64::INFINITY, f64::min);
    let maximum = finite().copied().fold(f64::NEG_INFINITY, f64::max);
    let (minimum, maximum) = if minimum <= maximum { (minimum, maximum) } else { (0.0, 0.0) };
    let step = |value: &Option<f64>| match value {
        Some(value) if value.is_nan() => 15,
        None => 15,
        Some(_) if maximum == minimum => 0,
        Some(value) => ((value - minimum) / (maximum - minimum) * 14.0).round().clamp(0.0, 14.0) as u8,
    };
    let mut body = Vec::with_capacity(16 + values.len() / 2 + 1);
    body.extend_from_slice(&minimum.to_le_bytes());
    body.extend_from_slice(&maximum.to_le_bytes());
    body.extend_from_slice(&pack(values.iter().map(step), values.len(), 4));
    message(header, values.len(), 4, 2, &body)
}

fn message(header: StateHeader, servers: usize, bits: u8, flags: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(40 + body.len());
    out.extend_from_slice(b"BWFS");
    out.extend_from_slice(&[1, bits, flags, 0]);
    out.extend_from_slice(&(servers as u32).to_le_bytes());
    out.extend_from_slice(&header.topo_hash.to_le_bytes());
    out.extend_from_slice(&header.sequence.to_le_bytes());
    out.extend_from_slice(&header.time_ms.to_le_bytes());
    let sum = crc32c::crc32c_append(crc32c::crc32c(&out), body);
    out.extend_from_slice(&sum.to_le_bytes());
    out.extend_from_slice(body);
    out
}

fn pack(codes: impl Iterator<Item = u8>, len: usize, bits: u8) -> Vec<u8> {
    let per_byte = 8 / usize::from(bits);
    let mut out = vec![0u8; len.div_ceil(per_byte)];
    for (index, code) in codes.enumerate() {
        out[index / per_byte] |= code << ((index % per_byte) * usize::from(bits));
    }
    out
}

/// Runs of equal codes, covering every server.
pub(crate) fn run_length(codes: &[Code]) -> Vec<u8> {
    let mut out = Vec::new();
    for run in codes.chunk_by(|a, b| a == b) {
        varint(&mut out, ((run.len() as u32 - 1) << 2) | u32::from(run[0] as u8));
    }
    out
}

/// What changed: `(gap, run of one code)*`; empty when nothing did.
pub(crate) fn delta(before: &[Code], after: &[Code]) -> Vec<u8> {
    let raw = |codes: &[Code]| codes.iter().map(|code| *code as u8).collect::<Vec<_>>();
    delta_of(&raw(before), &raw(after))
}

/// The same for the silenced plane.
pub(crate) fn delta_bits(before: &Bits, after: &Bits) -> Vec<u8> {
    delta_of(&before.codes(), &after.codes())
}

fn delta_of(before: &[u8], after: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let (mut at, mut end_of_last) = (0, 0);
    while at < after.len() {
        if before.get(at) == Some(&after[at]) {
            at += 1;
            continue;
        }
        let start = at;
        let code = after[at];
        while at < after.len() && after[at] == code && before.get(at) != Some(&code) {
            at += 1;
        }
        varint(&mut out, (start - end_of_last) as u32);
        varint(&mut out, ((at - start) as u32 - 1) << 2 | u32::from(code));
        end_of_last = at;
    }
    out
}

/// A frame of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// All codes.
    Key(Vec<u8>, [u32; 3]),
    /// The difference to the frame before.
    Delta(Vec<u8>, [u32; 3]),
    /// Nothing is known.
    Unknown,
}

/// "BWFH".
pub(crate) fn history(topo_hash: u64, servers: u32, from_ms: i64, step_ms: u32, frames: &[Frame]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(b"BWFH");
    out.extend_from_slice(&[1, 2, 0, 0]);
    out.extend_from_slice(&servers.to_le_bytes());
    out.extend_from_slice(&topo_hash.to_le_bytes());
    out.extend_from_slice(&from_ms.to_le_bytes());
    out.extend_from_slice(&step_ms.to_le_bytes());
    out.extend_from_slice(&(frames.len() as u32).to_le_bytes());
    for frame in frames {
        let (kind, counts, bytes): (u8, [u32; 3], &[u8]) = match frame {
            Frame::Key(bytes, counts) => (0, *counts, bytes),
            Frame::Delta(bytes, counts) => (1, *counts, bytes),
            Frame::Unknown => (2, [0; 3], &[]),
        };
        out.push(kind);
        for count in counts {
            varint(&mut out, count);
        }
        varint(&mut out, bytes.len() as u32);
        out.extend_from_slice(bytes);
    }
    out
}

/// Warning, critical and no-data servers.
pub(crate) fn counts(codes: &[Code]) -> [u32; 3] {
    let mut counts = [0; 3];
    for code in codes.iter().filter(|code| **code != Code::Ok) {
        counts[*code as usize - 1] += 1;
    }
    counts
}
