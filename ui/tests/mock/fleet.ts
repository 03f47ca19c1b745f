// A fleet for tests: N servers in regions, data centres, rows and racks, with nine kinds of injected fault. Seeded, so every run sees the same one.
import { CRITICAL, encodeTopology, NO_DATA, OK, WARNING, type NodeSource } from '../../src/lib/fleet/codec.ts';

/** mulberry32: small, seeded, good enough to scatter faults. */
export function random(seed: number): () => number {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = a;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const PLAN: [region: string, halls: [string, number][]][] = [
  ['us-east', [['iad1', 86], ['iad2', 76], ['iad3', 50], ['cmh1', 43]]],
  ['us-west', [['pdx1', 70], ['pdx2', 59], ['sfo1', 21], ['slc1', 37]]],
  ['eu-central', [['fra1', 64], ['fra2', 53], ['ams1', 43], ['zrh1', 15]]],
  ['eu-north', [['dub1', 58], ['arn1', 43], ['hel1', 26]]],
  ['ap-southeast', [['sin1', 53], ['sin2', 39], ['syd1', 26], ['nrt1', 51], ['bom1', 33]]],
  ['sa-east', [['gru1', 32], ['scl1', 13], ['bog1', 9]]],
];

export interface MockRack {
  id: number;
  region: string;
  hall: string;
  row: number;
  position: number;
  rowRacks: number;
  rows: number;
  first: number;
  used: number;
}
export interface MockFleet {
  hash: bigint;
  topology: Uint8Array;
  servers: number;
  racks: MockRack[];
  /** Codes with every fault present, and before any of the big ones. */
  codes: Uint8Array;
  quiet: Uint8Array;
  silenced: Uint8Array;
  name: (server: number) => string;
  rackOf: (server: number) => MockRack;
}

const two = (n: number): string => String(n).padStart(2, '0');

export function fleet(servers: number, seed = 1): MockFleet {
  const rnd = random(seed);
  const total = PLAN.reduce((sum, [, halls]) => sum + halls.reduce((s, [, weight]) => s + weight, 0), 0);
  const racks: MockRack[] = [];
  let first = 0;
  let left = servers;
  const roots: NodeSource[] = [];
  PLAN.forEach(([region, halls], r) => {
    const hallNodes: NodeSource[] = [];
    halls.forEach(([hall, weight], h) => {
      const lastHall = r === PLAN.length - 1 && h === halls.length - 1;
      let want = lastHall ? left : Math.min(left, Math.round((servers * weight) / total));
      if (want <= 0) return;
      left -= want;
      const rackCount = Math.ceil(want / 37.5);
      const perRow = Math.max(2, Math.min(44, Math.round(Math.sqrt(rackCount) * (1.15 + 0.25 * rnd()))));
      const rows = Math.ceil(rackCount / perRow);
      const rowNodes: NodeSource[] = [];
      for (let row = 0; row < rows && want > 0; row++) {
        const rackNodes: NodeSource[] = [];
        for (let position = 0; position < perRow && want > 0; position++) {
          const empty = rnd() < 0.04;
          const used = empty ? 0 : Math.min(want, rnd() < 0.8 ? 40 : 30 + Math.floor(rnd() * 10));
          rackNodes.push({ name: `rack ${two(position + 1)}`, used, slots: 40 });
          racks.push({ id: racks.length, region, hall, row, position, rowRacks: perRow, rows, first, used });
          first += used;
          want -= used;
        }
        rowNodes.push({ name: `row ${two(row + 1)}`, children: rackNodes });
      }
      // Rounding of empty racks may leave some: they go to one more row.
      for (let position = 0; want > 0; position++) {
        const used = Math.min(40, want);
        if (position === 0) rowNodes.push({ name: `row ${two(rows + 1)}`, children: [] });
        rowNodes.at(-1)?.children?.push({ name: `rack ${two(position + 1)}`, used, slots: 40 });
        racks.push({ id: racks.length, region, hall, row: rowNodes.length - 1, position, rowRacks: perRow, rows, first, used });
        first += used;
        want -= used;
      }
      hallNodes.push({ name: hall, children: rowNodes });
    });
    if (hallNodes.length) roots.push({ name: region, children: hallNodes });
  });
  const hash = 0x5eed_0000_0000_0000n + BigInt(servers);
  const topology = encodeTopology({ hash, flags: 0, levels: ['region', 'datacenter', 'row', 'rack'], roots });

  const quiet = new Uint8Array(first);
  for (let i = 0; i < first; i++) {
    const dice = rnd();
    if (dice < 0.0012) quiet[i] = CRITICAL;
    else if (dice < 0.0055) quiet[i] = WARNING;
    else if (dice < 0.0061) quiet[i] = NO_DATA;
  }
  const codes = quiet.slice();
  const silenced = new Uint8Array(first);
  const set = (rack: MockRack, code: number, share = 1): void => {
    for (let i = rack.first; i < rack.first + rack.used; i++) if (rnd() < share) codes[i] = code;
  };
  const at = (hall: string, test: (rack: MockRack) => boolean, code: number, share = 1): void => racks.filter((rack) => rack.hall === hall && test(rack)).forEach((rack) => set(rack, code, share));
  at('gru1', (k) => k.row === 8 || k.row === 9, NO_DATA);
  at('fra2', (k) => k.row === 16, CRITICAL, 0.98);
  at('scl1', (k) => k.position === 7, NO_DATA);
  at('iad2', (k) => k.row === 29, WARNING, 0.75);
  at('sin1', (k) => k.row === 20 && k.position > k.rowRacks / 2, WARNING);
  at('iad1', (k) => k.row === 27 && k.position >= 12 && k.position <= 15, CRITICAL, 0.97);
  at('cmh1', (k) => k.row === 11 && k.position === 20, CRITICAL);
  at('ams1', (k) => k.row === 5 && k.position === 12, CRITICAL);
  at('nrt1', (k) => k.row === 13 && k.position === 33, CRITICAL);
  for (const row of [12, 14, 16, 18, 20]) {
    for (const rack of racks) if (rack.hall === 'pdx2' && rack.row === row) for (let i = rack.first; i < rack.first + Math.min(4, rack.used); i++) codes[i] = WARNING;
  }
  // Cooling: the nearer to the middle, the more are hot.
  for (const rack of racks) {
    if (rack.hall !== 'dub1') continue;
    const d = Math.hypot((rack.row - 9) * 1.1, (rack.position - Math.floor(rack.rowRacks / 2)) * 0.9);
    if (d < 8) set(rack, WARNING, Math.max(0, d < 4 ? 0.95 : 0.6 - d / 14));
  }
  for (const rack of racks) if (rack.hall === 'hel1' && rack.row === 1) for (let i = rack.first; i < rack.first + rack.used; i++) [codes[i], silenced[i]] = [WARNING, 1];

  const rackOf = (server: number): MockRack => {
    let low = 0;
    let high = racks.length;
    while (high - low > 1) {
      const mid = (low + high) >> 1;
      if ((racks[mid] as MockRack).first <= server) low = mid;
      else high = mid;
    }
    return racks[low] as MockRack;
  };
  const name = (server: number): string => {
    const rack = rackOf(server);
    return `${rack.hall}-r${two(rack.row + 1)}-k${two(rack.position + 1)}-u${two(server - rack.first + 1)}`;
  };
  return { hash, topology, servers: first, racks, codes, quiet, silenced, name, rackOf };
}

export const STATE_WORDS = ['ok', 'warning', 'critical', 'no_data'] as const;
export { CRITICAL, NO_DATA, OK, WARNING };
