// The golden fleet: small, and with something of everything. `fleet.json` is this in words, for the server's encoder to build from.
import { encodeDelta, encodeHistory, encodeState, encodeTopology, type NodeSource, type TopologySource } from '../src/lib/fleet/codec.ts';

const two = (n: number): string => String(n).padStart(2, '0');
const rack = (n: number, used: number, slots = 40): NodeSource => ({ name: `rack ${two(n)}`, used, slots });

export const topology: TopologySource = {
  hash: 0x0123456789abcdefn,
  flags: 0,
  levels: ['region', 'datacenter', 'row', 'rack'],
  roots: [
    { name: 'us-east', children: [{ name: 'iad1', children: [{ name: 'row 01', children: [rack(1, 40), rack(2, 37), rack(3, 0)] }, { name: 'row 02', children: [rack(1, 40), rack(2, 5, 64)] }] }] },
    { name: 'Zürich', children: [{ name: 'zrh1', children: [{ name: 'row 01', children: [rack(1, 11)] }] }] },
  ],
};
export const SERVERS = 133;
const hash = topology.hash;
const time = 1_795_370_000_000;

/** ok but for: 3 warning, 40..=76 critical (rack 02), 100 and 101 no data, 132 warning. */
const codes = new Uint8Array(SERVERS);
codes[3] = 1;
codes.fill(2, 40, 77);
codes.fill(3, 100, 102);
codes[132] = 1;
/** The round after: 3 is ok again, 4 and 5 critical, 132 no data. */
const after = codes.slice();
after[3] = 0;
after.fill(2, 4, 6);
after[132] = 3;
const silenced = new Uint8Array(SERVERS).fill(1, 40, 50);
const ramp = Uint8Array.from({ length: SERVERS }, (_, i) => (i === 7 ? 15 : i % 15));

export const states = { codes, after, silenced, ramp };

const list = (plane: Uint8Array): number[] => [...plane];

/** The files of tests/golden/, by name. */
export function golden(): Record<string, Uint8Array> {
  const one = Uint8Array.from(codes, (code) => (code ? 1 : 0));
  const base = { hash, sequence: 4711, time, encoding: 0 as const, codes };
  const words = {
    about: 'The golden fleet. Each file beside this one holds the bytes that docs/formats/fleet.md gives for these values.',
    topology: { hash: '0123456789abcdef', flags: topology.flags, levels: topology.levels, roots: topology.roots },
    servers: SERVERS,
    sequence: 4711,
    time_ms: time,
    codes: list(codes),
    silenced: list(silenced),
    ramp: { minimum: -1.5, maximum: 12.5, codes: list(ramp) },
    delta: { sequence: 4712, codes: list(after) },
    history: { from_ms: time, step_ms: 60000, frames: ['codes', 'delta.codes', 'unknown', 'delta.codes', 'codes'] },
  };
  return {
    'fleet.json': new TextEncoder().encode(`${JSON.stringify(words, null, 1).replace(/\n\s+(\d+,?|\])(?=\n)/g, ' $1')}\n`),
    'topology.bin': encodeTopology(topology),
    'state-1bit.bin': encodeState({ ...base, bits: 1, codes: one }),
    'state-2bit.bin': encodeState({ ...base, bits: 2 }),
    'state-2bit-rle.bin': encodeState({ ...base, bits: 2, encoding: 1 }),
    'state-2bit-silenced.bin': encodeState({ ...base, bits: 2, silenced }),
    'state-4bit-ramp.bin': encodeState({ ...base, bits: 4, codes: ramp, ramp: { min: -1.5, max: 12.5 } }),
    'delta.b64': new TextEncoder().encode(`${Buffer.from(encodeDelta(codes, after)).toString('base64')}\n`),
    'history.bin': encodeHistory(hash, time, 60000, SERVERS, [codes, after, undefined, after, codes]),
  };
}
