// Layout, texels, pixels and failure domains on a generated fleet.
import { describe, expect, test } from 'vitest';
import { fleet } from '../../../tests/mock/fleet.ts';
import { CRITICAL, encodeDelta, encodeState, encodeTopology, NO_DATA, OK, WARNING } from './codec.ts';
import { findDomains } from './domains.ts';
import { draw, type Palette, type View } from './draw.ts';
import { Engine } from './engine.ts';
import { fill, grid, LEVELS, RANK_CRITICAL, type Plane } from './grid.ts';
import { findPlace, cellOf, nextCell } from './places.ts';

const palette: Palette = { healthy: 0x18525f, warning: 0xffd84d, critical: 0xff4b33, noData: 0x8f7fe0, hatch: 0x303060, ramp: Array.from({ length: 15 }, (_, i) => i * 0x111111) };
function engine(servers: number, width = 1020, height = 740, codes?: Uint8Array): { engine: Engine; made: ReturnType<typeof fleet> } {
  const made = fleet(servers);
  const e = new Engine();
  e.load(made.topology);
  e.fit(width, height);
  e.replace(encodeState({ hash: made.hash, sequence: 1, time: 0, bits: 2, encoding: 0, codes: codes ?? made.codes }));
  return { engine: e, made };
}

describe.each([1, 40, 1000, 100_000])('a fleet of %d servers', (servers) => {
  test('each server has exactly one cell, inside the plan, and the cell leads back to it', () => {
    const { engine: e } = engine(servers);
    const { w, h } = e.layout as NonNullable<typeof e.layout>;
    const taken = new Uint8Array(w * h);
    const wrong: number[] = [];
    for (let i = 0; i < servers; i++) {
      const at = cellOf(e, i);
      if (!at || at.x >= w || at.y >= h || taken[at.y * w + at.x]) {
        wrong.push(i);
        continue;
      }
      taken[at.y * w + at.x] = 1;
      if (i % 97 === 0 && e.spot(at.x, at.y)?.server !== i) wrong.push(i);
    }
    expect(wrong).toEqual([]);
  });
  test.each([[390, 500], [1020, 740], [2200, 1300]])('fits %d × %d', (width, height) => {
    const e = engine(servers, width, height).engine;
    const plan = e.layout as NonNullable<typeof e.layout>;
    expect(plan.w * plan.scale).toBeLessThanOrEqual(width + 1);
    expect(plan.h * plan.scale).toBeLessThanOrEqual(height + 1);
    expect(Math.abs(plan.scale * 11 * 4 - Math.round(plan.scale * 11 * 4))).toBeLessThan(1e-9);
  });
});

test('the layout does not depend on states, and appending a rack moves nothing in earlier data centres', () => {
  const rack = (n: number): { name: string; used: number; slots: number } => ({ name: `rack ${n}`, used: 40, slots: 40 });
  const make = (racks: number): Engine => {
    const e = new Engine();
    const row = (n: number, count: number) => ({ name: `row ${n}`, children: Array.from({ length: count }, (_, i) => rack(i + 1)) });
    e.load(encodeTopology({ hash: 1n, flags: 0, levels: ['region', 'datacenter', 'row', 'rack'], roots: [{ name: 'r', children: [{ name: 'a', children: [row(1, 8), row(2, 8)] }, { name: 'b', children: [row(1, 8), row(2, racks)] }] }] }));
    e.fit(900, 600);
    return e;
  };
  expect(make(7).layout?.halls[0]).toEqual(make(8).layout?.halls[0]);
});

test('every level keeps the worst rank and a share that never rounds to nothing', () => {
  const { engine: e } = engine(20_000);
  const wrong: string[] = [];
  for (let level = 1; level < LEVELS; level++) {
    const up = e.grid?.planes[level] as Plane;
    const down = e.grid?.planes[level - 1] as Plane;
    for (let y = 0; y < up.h; y++) {
      for (let x = 0; x < up.w; x++) {
        let rank = 0;
        let bad = false;
        for (let py = 2 * y; py < Math.min(down.h, 2 * y + 2); py++) {
          for (let px = 2 * x; px < Math.min(down.w, 2 * x + 2); px++) {
            const t = down.texels[py * down.w + px] as number;
            rank = Math.max(rank, t >>> 16);
            bad ||= ((t >>> 8) & 255) > 0;
          }
        }
        const t = up.texels[y * up.w + x] as number;
        if (t >>> 16 !== rank || ((t >>> 8) & 255) > 0 !== bad) wrong.push(`level ${level} at ${x},${y}`);
      }
    }
  }
  expect(wrong).toEqual([]);
});

test('one critical server among a hundred thousand is at least one critical pixel at every zoom', () => {
  const made = fleet(100_000);
  for (const dead of [0, 31_415, 99_999]) {
    const codes = new Uint8Array(made.servers);
    codes[dead] = CRITICAL;
    const { engine: e } = engine(100_000, 1020, 740, codes);
    const at = cellOf(e, dead) as { x: number; y: number };
    for (const scale of [0.06, 0.11, 0.25, 0.43, 0.62, 0.9, 1, 1.37, 2.2, 4, 9, 20]) {
      for (const shift of [0, 0.31, 0.77]) {
        const view: View = { width: 160, height: 120, scale, ratio: 1, x: Math.max(-shift / scale, at.x - (80 + shift) / scale), y: Math.max(-shift / scale, at.y - (60 + shift) / scale) };
        const out = new Uint32Array(view.width * view.height);
        if (e.grid) draw(e.grid, view, palette, out);
        const red = out.filter((p) => (p & 255) > 200 && ((p >> 8) & 255) < 120).length;
        expect(red, `server ${dead} at ${scale} px a cell`).toBeGreaterThan(0);
      }
    }
  }
});

test('a delta gives the same picture as the whole state', () => {
  const { engine: e, made } = engine(5000);
  const next = made.codes.slice();
  next.fill(CRITICAL, 100, 180);
  next[4999] = NO_DATA;
  expect(e.delta(Buffer.from(encodeDelta(made.codes, next)).toString('base64'), 2)).toBe(true);
  const whole = e.layout && grid(e.layout, next, undefined);
  expect(e.grid?.planes.map((plane) => plane.texels)).toEqual(whole?.planes.map((plane) => plane.texels));
  expect(e.delta('', 5)).toBe(false);
});

test('silenced servers are drawn as healthy and counted apart', () => {
  const { engine: e } = engine(200, 800, 600, new Uint8Array(200).fill(CRITICAL, 0, 50));
  if (!e.layout || !e.state || !e.grid) throw new Error('not loaded');
  fill(e.grid, e.layout, e.state.codes, new Uint8Array(200).fill(1, 0, 50));
  expect(e.grid.planes[5]?.texels.some((t) => t >>> 16 === RANK_CRITICAL)).toBe(false);
});

describe('failure domains', () => {
  test('the injected faults are found and named', () => {
    const { engine: e } = engine(1_000_000);
    const found = e.snapshot()?.findings;
    const names = found?.domains.map((domain) => domain.name) ?? [];
    for (const name of ['gru1 rows 09–10', 'fra2 row 17', 'scl1 rack position 08', 'iad2 row 30', 'sin1 row 21', 'iad1 row 28 racks 13–16', 'cmh1 row 12 rack 21', 'ams1 row 06 rack 13', 'nrt1 row 14 rack 34']) expect(names).toContain(name);
    expect(names.some((name) => name.startsWith('dub1 floor area'))).toBe(true);
    expect(found?.domains.find((domain) => domain.name === 'fra2 row 17')?.state).toBe(CRITICAL);
    expect(found?.domains.find((domain) => domain.name.startsWith('dub1'))?.state).toBe(WARNING);
    expect((found?.explained ?? 0) / (found?.unhealthy ?? 1)).toBeGreaterThan(0.5);
  });
  test('a healthy fleet has none, a dead data centre is one', () => {
    const { engine: e, made } = engine(20_000, 900, 700, new Uint8Array(20_000));
    if (!e.tree || !e.layout) throw new Error('not loaded');
    expect(findDomains(e.tree, e.layout, new Uint8Array(20_000)).domains).toEqual([]);
    const hall = e.tree.halls[3];
    const codes = new Uint8Array(made.servers).fill(OK);
    codes.fill(NO_DATA, hall?.first ?? 0, (hall?.first ?? 0) + (hall?.servers ?? 0));
    expect(findDomains(e.tree, e.layout, codes).domains).toMatchObject([{ kind: 'hall', name: hall?.name, affected: hall?.servers, state: NO_DATA }]);
  });
});

test('places by name', () => {
  const { engine: e } = engine(50_000);
  expect(findPlace(e, [])?.children.map((child) => child.name)).toContain('eu-north');
  const rack = findPlace(e, ['us-east', 'iad1', 'row 02', 'rack 03']);
  expect(rack?.rack).toBeGreaterThanOrEqual(0);
  expect(rack && e.spot(rack.box.x, rack.box.y)).toMatchObject({ hall: 'iad1', row: 'row 02', rackName: 'rack 03', rack: rack?.rack });
  expect(findPlace(e, ['us-east', 'nowhere'])).toBeUndefined();
  const first = cellOf(e, 0) as { x: number; y: number };
  expect(nextCell(e, first.x, first.y, 1, 0)).toEqual({ x: first.x + 1, y: first.y });
});

test('a fleet without servers is laid out too', () => {
  const e = new Engine();
  e.load(encodeTopology({ hash: 0n, flags: 3, levels: [], roots: [] }));
  e.fit(900, 600);
  e.replace(encodeState({ hash: 0n, sequence: 0, time: 0, bits: 2, encoding: 0, codes: new Uint8Array(0) }));
  expect(e.snapshot()?.findings.domains).toEqual([]);
});

test('without rows or regions, groups become blocks of racks', () => {
  const e = new Engine();
  e.load(encodeTopology({ hash: 9n, flags: 3, levels: ['job', 'rack'], roots: [{ name: 'node', children: Array.from({ length: 12 }, () => ({ name: '', used: 40, slots: 40 })) }, { name: 'bellwether', children: [{ name: '', used: 1, slots: 1 }] }] }));
  e.fit(1000, 700);
  expect(e.tree?.halls.map((hall) => hall.name)).toEqual(['node', 'bellwether']);
  expect(e.tree?.halls[0]?.rows.length).toBeGreaterThan(1);
  expect(findPlace(e, ['-', 'node'])?.children[0]?.name).toBe('1–40');
  expect(cellOf(e, 480)).toBeDefined();
});
