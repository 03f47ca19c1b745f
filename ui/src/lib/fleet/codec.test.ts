import { describe, expect, test } from 'vitest';
import { random } from '../../../tests/mock/fleet.ts';
import { crc32c, FormatError, Reader, Writer } from './bytes.ts';
import { applyDelta, decodeHistory, decodeState, decodeTopology, encodeDelta, encodeHistory, encodeState, encodeTopology, frameAt, StaleTopology } from './codec.ts';

const HASH = 0x1122334455667788n;
const topo = { hash: '1122334455667788', servers: 1000 };
function codes(seed: number, n = 1000): Uint8Array {
  const rnd = random(seed);
  return Uint8Array.from({ length: n }, () => (rnd() < 0.7 ? 0 : Math.floor(rnd() * 4)));
}
const state = (over: Partial<Parameters<typeof encodeState>[0]> = {}): Uint8Array => encodeState({ hash: HASH, sequence: 7, time: 123, bits: 2, encoding: 0, codes: codes(1), ...over });

test('crc32c of the check string (RFC 3720)', () => {
  expect(crc32c(new TextEncoder().encode('123456789'))).toBe(0xe3069283);
});

test.each([0, 1, 127, 128, 16383, 16384, 2 ** 31, 2 ** 32 - 1])('varint %d', (value) => {
  expect(new Reader(new Writer().varint(value).done(), 'x').varint()).toBe(value);
});

describe('state', () => {
  test.each([1, 2, 4].flatMap((bits) => [0, 1].map((encoding) => [bits, encoding] as const)))('%d bits, encoding %d, any length', (bits, encoding) => {
    for (const n of [0, 1, 3, 7, 8, 9, 255, 1000]) {
      const plane = codes(n + 1, n).map((code) => (bits === 1 ? Math.min(1, code) : code));
      const bytes = encodeState({ hash: HASH, sequence: 1, time: -5, bits, encoding: encoding as 0 | 1, codes: plane, silenced: plane.map((c) => c & 1) });
      const read = decodeState(bytes, { hash: topo.hash, servers: n });
      expect(read.codes).toEqual(bits === 1 ? plane.map((code) => (code ? 2 : 0)) : plane);
      expect(read.silenced).toEqual(plane.map((c) => c & 1));
      expect(read.time).toBe(-5);
    }
  });
  test('one bit for a million servers is 125,000 bytes and the head', () => {
    expect(state({ bits: 1, codes: new Uint8Array(1_000_000) }).length).toBe(125_040);
  });
  test('another topology, another length, another version, a flipped bit and every cut are refused', () => {
    const good = state();
    expect(() => decodeState(good, { ...topo, hash: '0'.repeat(16) })).toThrow(StaleTopology);
    expect(() => decodeState(good, { ...topo, servers: 999 })).toThrow(/1000 servers/);
    const version = good.slice();
    version[4] = 2;
    expect(() => decodeState(version, topo)).toThrow(/version 2/);
    for (let at = 40; at < good.length; at += 17) {
      const bad = good.slice();
      bad[at] = (bad[at] as number) ^ 4;
      expect(() => decodeState(bad, topo)).toThrow(/checksum/);
    }
    for (let size = 0; size < good.length; size += 7) expect(() => decodeState(good.slice(0, size), topo)).toThrow(FormatError);
  });
});

describe('delta and history', () => {
  test('a delta turns one state into the next, and says what changed', () => {
    for (let seed = 1; seed < 30; seed++) {
      const [a, b] = [codes(seed), codes(seed + 100)];
      const now = a.slice();
      const seen = new Set<number>();
      applyDelta(encodeDelta(a, b), now, (i, from) => {
        expect(from).toBe(a[i]);
        seen.add(i);
      });
      expect(now).toEqual(b);
      for (const i of seen) expect(a[i]).not.toBe(b[i]);
    }
  });
  test('a run past the end is refused', () => {
    expect(() => applyDelta(new Writer().varint(990).varint(20 * 4 + 1).done(), new Uint8Array(1000))).toThrow(/past the last/);
  });
  test('any frame can be reached, over keyframes and gaps', () => {
    const frames = Array.from({ length: 150 }, (_, i) => (i === 70 ? undefined : codes(i)));
    const history = decodeHistory(encodeHistory(HASH, 0, 1000, 1000, frames));
    expect(history.frames[64]?.kind).toBe(0);
    expect(history.frames[71]?.kind).toBe(0);
    for (const i of [0, 1, 63, 64, 69, 70, 71, 149]) expect(frameAt(history, i)).toEqual(frames[i]);
  });
});

describe('never anything but a FormatError', () => {
  const good: [string, Uint8Array, (bytes: Uint8Array) => unknown][] = [
    ['topology', encodeTopology({ hash: HASH, flags: 0, levels: ['dc', 'rack'], roots: [{ name: 'a', children: [{ name: 'r', used: 40, slots: 40 }, { name: 's', used: 2, slots: 64 }] }] }), decodeTopology],
    ['state', state({ encoding: 1 }), (bytes) => decodeState(bytes, topo)],
    ['history', encodeHistory(HASH, 0, 1, 1000, [codes(1), codes(2)]), (bytes) => frameAt(decodeHistory(bytes), 1)],
  ];
  test.each(good)('%s with random bytes changed', (_, bytes, decode) => {
    const rnd = random(5);
    for (let round = 0; round < 2000; round++) {
      const bad = bytes.slice(0, rnd() < 0.3 ? Math.floor(rnd() * bytes.length) : bytes.length);
      for (let k = 0; k < 3; k++) if (bad.length) bad[Math.floor(rnd() * bad.length)] = Math.floor(rnd() * 256);
      try {
        decode(bad);
      } catch (cause) {
        // A broken name is a TypeError of TextDecoder (fatal UTF-8).
        if (!(cause instanceof FormatError) && !(cause instanceof TypeError && /utf-8|encoded data/i.test(cause.message))) throw cause;
      }
    }
  });
});
