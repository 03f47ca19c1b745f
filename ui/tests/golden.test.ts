// The files that the server's encoder is held against are those that this side writes, and this side reads them back.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { applyDelta, decodeHistory, decodeState, decodeTopology, frameAt } from '../src/lib/fleet/codec.ts';
import { fromBase64 } from '../src/lib/fleet/bytes.ts';
import { golden, SERVERS, states } from './golden.ts';

const folder = fileURLToPath(new URL('golden/', import.meta.url));
const read = (name: string): Uint8Array => new Uint8Array(readFileSync(folder + name));

test.each(Object.entries(golden()))('%s is what the encoder writes', (name, bytes) => {
  if (process.env.BELLWETHER_BLESS) {
    mkdirSync(folder, { recursive: true });
    writeFileSync(folder + name, bytes);
  }
  expect(existsSync(folder + name), `${name} is missing: BELLWETHER_BLESS=1 npx vitest run tests/golden.test.ts`).toBe(true);
  expect(Buffer.from(read(name)).equals(Buffer.from(bytes))).toBe(true);
});

test('the decoder reads them back', () => {
  const topology = decodeTopology(read('topology.bin'));
  expect(topology).toMatchObject({ hash: '0123456789abcdef', servers: SERVERS, racks: 6, levels: ['region', 'datacenter', 'row', 'rack'] });
  expect(topology.roots[1]?.name).toBe('Zürich');
  expect(decodeState(read('state-2bit.bin'), topology)).toMatchObject({ sequence: 4711, time: 1_795_370_000_000, codes: states.codes, silenced: undefined });
  expect(decodeState(read('state-2bit-rle.bin'), topology).codes).toEqual(states.codes);
  expect(decodeState(read('state-1bit.bin'), topology).codes).toEqual(Uint8Array.from(states.codes, (code) => (code ? 2 : 0)));
  expect(decodeState(read('state-2bit-silenced.bin'), topology).silenced).toEqual(states.silenced);
  expect(decodeState(read('state-4bit-ramp.bin'), topology)).toMatchObject({ codes: states.ramp, ramp: { min: -1.5, max: 12.5 } });
  const codes = states.codes.slice();
  expect(applyDelta(fromBase64(new TextDecoder().decode(read('delta.b64')).trim()), codes)).toBe(4);
  expect(codes).toEqual(states.after);
  const history = decodeHistory(read('history.bin'));
  expect(history.frames.map((frame) => frame.kind)).toEqual([0, 1, 2, 0, 1]);
  expect(frameAt(history, 1)).toEqual(states.after);
  expect(frameAt(history, 2)).toBeUndefined();
  expect(frameAt(history, 4)).toEqual(states.codes);
});
