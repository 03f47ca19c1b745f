// The fleet formats of docs/formats/fleet.md: decoding with every check the page promises, and encoding for tests and the mock server.
import { crc32c, FormatError, fromBase64, hex64, Reader, Writer } from './bytes.ts';

export const OK = 0;
export const WARNING = 1;
export const CRITICAL = 2;
export const NO_DATA = 3;

export interface Topology {
  /** 16 hex digits. */
  hash: string;
  servers: number;
  /** Names of the levels, outermost first; the last is the leaf (rack) level. */
  levels: string[];
  /** Leaves made up by the server, or rows absent: no floor. */
  syntheticLeaves: boolean;
  noFloor: boolean;
  /** Top nodes. */
  roots: TopoNode[];
  racks: number;
}
export interface TopoNode {
  name: string;
  /** Index of the first server below, and how many there are. */
  first: number;
  servers: number;
  children: TopoNode[];
  /** Leaves only: their number and how many slots they have. */
  rack: number;
  slots: number;
}

const MAX_SERVERS = 16_000_000;

export function decodeTopology(bytes: Uint8Array): Topology {
  const r: Reader = new Reader(bytes, 'the topology');
  r.magic('BWFT');
  const version = r.u8();
  if (version !== 1) r.fail(`version ${version} is unknown; this page reads version 1, load it again`);
  const flags = r.u8();
  r.u16();
  const hash = hex64(r.u64());
  const servers = r.u32();
  if (servers > MAX_SERVERS) r.fail(`${servers} servers are more than ${MAX_SERVERS}`);
  const depth = r.u8();
  if (depth > 8 || (depth < 1 && servers > 0)) r.fail(`${depth} levels are not between 1 and 8`);
  const levels = Array.from({ length: depth }, () => r.text());
  const refs: [TopoNode, number][] = [];
  let first = 0;
  let racks = 0;
  const leaf = (): TopoNode => {
    const ref = r.varint();
    const size = (): number => {
      const value = r.u8();
      return value === 255 ? r.varint() : value;
    };
    const used = size();
    const slots = size();
    if (used > slots || slots > 64) r.fail(`a rack has ${used} of ${slots} slots in use`);
    const node: TopoNode = { name: '', first, servers: used, children: [], rack: racks++, slots };
    first += used;
    refs.push([node, ref]);
    return node;
  };
  const node = (level: number): TopoNode => {
    if (level === depth) return leaf();
    const ref = r.varint();
    const made: TopoNode = { name: '', first, servers: 0, children: [], rack: -1, slots: 0 };
    refs.push([made, ref]);
    made.children = list(level + 1);
    made.servers = first - made.first;
    return made;
  };
  const list = (level: number): TopoNode[] => {
    const n = r.varint();
    if (n > r.left) r.fail(`${n} nodes cannot fit in the rest`);
    return Array.from({ length: n }, () => node(level));
  };
  const roots = list(1);
  const names = r.varint();
  if (names > r.left) r.fail(`${names} names cannot fit in the rest`);
  const strings = Array.from({ length: names }, () => r.text());
  if (r.left) r.fail(`${r.left} bytes are left over`);
  if (first !== servers) r.fail(`racks hold ${first} servers, the head says ${servers}`);
  for (const [owner, ref] of refs) {
    const name = strings[ref];
    if (name === undefined) r.fail(`name ${ref} of ${names} does not exist`);
    owner.name = name;
  }
  return { hash, servers, levels, syntheticLeaves: (flags & 1) !== 0, noFloor: (flags & 2) !== 0, roots, racks };
}

export interface TopologySource {
  hash: bigint;
  flags: number;
  levels: string[];
  roots: NodeSource[];
}
export interface NodeSource {
  name: string;
  children?: NodeSource[];
  used?: number;
  slots?: number;
}

export function encodeTopology(source: TopologySource): Uint8Array {
  const names: string[] = [];
  const refs = new Map<string, number>();
  const ref = (name: string): number => {
    let at = refs.get(name);
    if (at === undefined) {
      refs.set(name, (at = names.length));
      names.push(name);
    }
    return at;
  };
  const body = new Writer();
  let servers = 0;
  const size = (value: number): void => void (value < 255 ? body.u8(value) : body.u8(255).varint(value));
  const write = (node: NodeSource): void => {
    body.varint(ref(node.name));
    if (node.children) {
      body.varint(node.children.length);
      node.children.forEach(write);
      return;
    }
    servers += node.used ?? 0;
    size(node.used ?? 0);
    size(node.slots ?? 0);
  };
  body.varint(source.roots.length);
  source.roots.forEach(write);
  body.varint(names.length);
  for (const name of names) body.text(name);
  const head = new Writer().ascii('BWFT').u8(1).u8(source.flags).u16(0).u64(source.hash).u32(servers).u8(source.levels.length);
  for (const level of source.levels) head.text(level);
  return head.put(body.done()).done();
}

export interface State {
  hash: string;
  sequence: number;
  time: number;
  bits: number;
  /** One code a server; with `ramp`, steps 0..=15. */
  codes: Uint8Array;
  silenced: Uint8Array | undefined;
  ramp: { min: number; max: number } | undefined;
}

/** `hash` and `servers` are those of the topology that the state must fit; a mismatch is a `StaleTopology`. */
export class StaleTopology extends FormatError {}

export function decodeState(bytes: Uint8Array, topology: Pick<Topology, 'hash' | 'servers'>): State {
  const r: Reader = new Reader(bytes, 'the state');
  r.magic('BWFS');
  const version = r.u8();
  if (version !== 1) r.fail(`version ${version} is unknown; this page reads version 1, load it again`);
  const bits = r.u8();
  if (bits !== 1 && bits !== 2 && bits !== 4) r.fail(`${bits} bits a server are not 1, 2 or 4`);
  const flags = r.u8();
  const encoding = r.u8();
  const servers = r.u32();
  const hash = hex64(r.u64());
  const sequence = Number(r.u64());
  const time = r.i64();
  const sum = r.u32();
  if (crc32c(bytes.subarray(0, 36), bytes.subarray(40)) !== sum) r.fail('the checksum is wrong');
  if (hash !== topology.hash) throw new StaleTopology('the state belongs to another topology');
  if (servers !== topology.servers) r.fail(`it holds ${servers} servers, the topology ${topology.servers}`);
  const ramp = flags & 2 ? { min: r.f64(), max: r.f64() } : undefined;
  const codes = new Uint8Array(servers);
  if (encoding === 0) unpack(r.slice(Math.ceil((servers * bits) / 8)), bits, codes);
  else if (encoding === 1) runs(r, bits, codes);
  else r.fail(`encoding ${encoding} is unknown`);
  if (bits === 1) for (let i = 0; i < servers; i++) if (codes[i]) codes[i] = CRITICAL;
  if (!ramp && bits === 4) for (let i = 0; i < servers; i++) if ((codes[i] as number) > NO_DATA) r.fail(`code ${codes[i]} of server ${i} is not a state`);
  let silenced: Uint8Array | undefined;
  if (flags & 1) unpack(r.slice(Math.ceil(servers / 8)), 1, (silenced = new Uint8Array(servers)));
  if (r.left) r.fail(`${r.left} bytes are left over`);
  return { hash, sequence, time, bits, codes, silenced, ramp };
}

function unpack(plane: Uint8Array, bits: number, out: Uint8Array): void {
  const per = 8 / bits;
  const mask = (1 << bits) - 1;
  const whole = Math.floor(out.length / per);
  for (let b = 0, i = 0; b < whole; b++) {
    let byte = plane[b] as number;
    for (let k = 0; k < per; k++, i++) {
      out[i] = byte & mask;
      byte >>= bits;
    }
  }
  for (let i = whole * per; i < out.length; i++) out[i] = ((plane[whole] as number) >> ((i - whole * per) * bits)) & mask;
}

function runs(r: Reader, bits: number, out: Uint8Array): void {
  const base = 1 << bits;
  let at = 0;
  while (at < out.length) {
    const value = r.varint();
    const end = at + Math.floor(value / base) + 1;
    if (end > out.length) r.fail(`a run goes past the last of ${out.length} servers`);
    out.fill(value % base, at, end);
    at = end;
  }
}

export function pack(codes: Uint8Array, bits: number): Uint8Array {
  const out = new Uint8Array(Math.ceil((codes.length * bits) / 8));
  for (let i = 0; i < codes.length; i++) {
    const bit = i * bits;
    out[bit >> 3] = (out[bit >> 3] as number) | ((codes[i] as number) << (bit & 7));
  }
  return out;
}

/** Run-length form of codes: `varint ((run-1) << bits | code)`. */
export function packRuns(codes: Uint8Array, bits: number): Uint8Array {
  const w = new Writer();
  for (let i = 0; i < codes.length; ) {
    let end = i + 1;
    while (end < codes.length && codes[end] === codes[i]) end++;
    w.varint((end - i - 1) * (1 << bits) + (codes[i] as number));
    i = end;
  }
  return w.done();
}

export interface StateSource {
  hash: bigint;
  sequence: number;
  time: number;
  bits: number;
  encoding: 0 | 1;
  /** As on the wire: 0 or 1 for one bit, 0..=15 for a ramp. */
  codes: Uint8Array;
  silenced?: Uint8Array;
  ramp?: { min: number; max: number };
}

export function encodeState(s: StateSource): Uint8Array {
  const head = new Writer().ascii('BWFS').u8(1).u8(s.bits).u8((s.silenced ? 1 : 0) | (s.ramp ? 2 : 0)).u8(s.encoding);
  head.u32(s.codes.length).u64(s.hash).u64(BigInt(s.sequence)).i64(s.time);
  const body = new Writer();
  if (s.ramp) body.f64(s.ramp.min).f64(s.ramp.max);
  body.put(s.encoding === 0 ? pack(s.codes, s.bits) : packRuns(s.codes, s.bits));
  if (s.silenced) body.put(pack(s.silenced, 1));
  const rest = body.done();
  return head.u32(crc32c(head.done(), rest)).put(rest).done();
}

/** Changes of one round applied to `codes`; answers how many servers they touch. */
export function applyDelta(bytes: Uint8Array, codes: Uint8Array, each?: (index: number, from: number, to: number) => void): number {
  const r: Reader = new Reader(bytes, 'a delta');
  let at = 0;
  let touched = 0;
  while (r.left) {
    at += r.varint();
    const value = r.varint();
    const end = at + Math.floor(value / 4) + 1;
    const code = value % 4;
    if (end > codes.length) r.fail(`a run goes past the last of ${codes.length} servers`);
    if (each) for (let i = at; i < end; i++) each(i, codes[i] as number, code);
    codes.fill(code, at, end);
    touched += end - at;
    at = end;
  }
  return touched;
}

export function encodeDelta(before: Uint8Array, after: Uint8Array): Uint8Array {
  const w = new Writer();
  let last = 0;
  for (let i = 0; i < after.length; ) {
    if (before[i] === after[i]) {
      i++;
      continue;
    }
    let end = i + 1;
    while (end < after.length && after[end] === after[i] && before[end] !== after[end]) end++;
    w.varint(i - last).varint((end - i - 1) * 4 + (after[i] as number));
    last = i = end;
  }
  return w.done();
}

/** The `data` of a delta event: states, then perhaps the silenced plane on a second line. */
export function splitDelta(data: string): { codes: Uint8Array; silenced: Uint8Array | undefined } {
  const [codes = '', silenced] = data.split('\n');
  return { codes: fromBase64(codes), silenced: silenced === undefined ? undefined : fromBase64(silenced) };
}

export interface Frame {
  /** 0 keyframe, 1 delta, 2 nothing known. */
  kind: 0 | 1 | 2;
  warning: number;
  critical: number;
  noData: number;
  bytes: Uint8Array;
}
export interface History {
  hash: string;
  servers: number;
  from: number;
  step: number;
  frames: Frame[];
}

export function decodeHistory(bytes: Uint8Array): History {
  const r: Reader = new Reader(bytes, 'the history');
  r.magic('BWFH');
  const version = r.u8();
  if (version !== 1) r.fail(`version ${version} is unknown`);
  if (r.u8() !== 2) r.fail('only 2 bits a server are known');
  r.u16();
  const servers = r.u32();
  const hash = hex64(r.u64());
  const from = r.i64();
  const step = r.u32();
  const n = r.u32();
  if (n > 1500) r.fail(`${n} frames are more than 1500`);
  const frames = Array.from({ length: n }, (_, i): Frame => {
    const kind = r.u8();
    if (kind !== 0 && kind !== 1 && kind !== 2) return r.fail(`frame ${i} has the unknown kind ${kind}`);
    return { kind, warning: r.varint(), critical: r.varint(), noData: r.varint(), bytes: r.slice(r.varint()) };
  });
  if (n && frames[0]?.kind === 1) r.fail('the first frame is a delta');
  if (r.left) r.fail(`${r.left} bytes are left over`);
  return { hash, servers, from, step, frames };
}

export function encodeHistory(hash: bigint, from: number, step: number, servers: number, states: readonly (Uint8Array | undefined)[]): Uint8Array {
  const w = new Writer().ascii('BWFH').u8(1).u8(2).u16(0).u32(servers).u64(hash).i64(from).u32(step).u32(states.length);
  let before: Uint8Array | undefined;
  let count = [0, 0, 0, 0];
  states.forEach((codes, i) => {
    if (!codes) {
      w.u8(2).varint(0).varint(0).varint(0).varint(0);
      before = undefined;
      return;
    }
    const key = !before || i % 64 === 0;
    if (codes !== before) {
      count = [0, 0, 0, 0];
      for (const code of codes) count[code] = (count[code] as number) + 1;
    }
    const body = key || !before ? packRuns(codes, 2) : codes === before ? new Uint8Array(0) : encodeDelta(before, codes);
    w.u8(key ? 0 : 1).varint(count[1] as number).varint(count[2] as number).varint(count[3] as number).varint(body.length).put(body);
    before = codes;
  });
  return w.done();
}

/** The states at frame `i`, from the keyframe before it; `undefined` where nothing is known. */
export function frameAt(history: History, i: number): Uint8Array | undefined {
  if (history.frames[i] === undefined || history.frames[i].kind === 2) return undefined;
  let key = i;
  while (key > 0 && history.frames[key]?.kind === 1) key--;
  const codes = new Uint8Array(history.servers);
  for (let f = key; f <= i; f++) advance(history, f, codes);
  return codes;
}

/** Moves `codes` (the state of frame `i - 1`, or anything when `i` is a keyframe) to frame `i`. */
export function advance(history: History, i: number, codes: Uint8Array): void {
  const frame = history.frames[i];
  if (frame?.kind === 0) runs(new Reader(frame.bytes, `frame ${i}`), 2, codes);
  else if (frame?.kind === 1) applyDelta(frame.bytes, codes);
}
