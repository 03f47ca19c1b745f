import { describe, expect, test } from 'vitest';
import type { CohortRow } from '../api/clients.ts';
import world from '../assets/world.json';
import { BESIDE, cohortName, excess, groupName, PHASES, phasesOf, ranked, series, step, STEPS, toneOf, treemap } from './clients.ts';

const row = (over: Partial<CohortRow>): CohortRow => ({ cohort: 'asn', value: 'AS1', requests: 1000, failures: 0, ratio: 0, lower: 0, upper: 0.01, baseline: 0.002, groups: {}, ...over });

describe('cohorts', () => {
  test('every group of the collector has one place', async () => {
    const { readFileSync } = await import('node:fs');
    const code = readFileSync(new URL('../../../crates/clients/src/class.rs', import.meta.url), 'utf8');
    const groups = [...code.matchAll(/Self::\w+ => "([a-z_]+)",/g)].map((found) => found[1] ?? '').filter((name) => !['ok', 'connection', 'application'].includes(name));
    const known = [...PHASES.flatMap((phase) => phase.groups), ...BESIDE.map((one) => one.group)];
    expect(known.toSorted()).toEqual([...new Set(groups)].toSorted());
  });
  test('phases are summed in the order of a request', () =>
    expect(phasesOf({ ok: 900, server_error: 3, tcp: 4, unreachable: 5, client_error: 9 }).map((one) => [one.key, one.count])).toEqual([['connect', 9], ['server', 3]]));
  test('names of groups', () => expect([groupName('tcp'), groupName('client_error'), groupName('from_the_future')]).toEqual(['Connection', 'Status 4xx', 'from the future']));
  test.each([[{ ratio: 0.01, lower: 0.004 }, 'warning'], [{ ratio: 0.01, lower: 0.007 }, 'critical'], [{ ratio: 0.004, lower: 0.003 }, 'ok'], [{ ratio: 0.2, lower: 0.19, baseline: 0.1 }, 'ok']])('%o is %s', (over, tone) => expect(toneOf(row(over))).toBe(tone));
  test('the cohort that misses most comes first', () => {
    const rows = [row({ value: 'AS1', requests: 9e5, failures: 1800 }), row({ value: 'AS2', requests: 100, failures: 90 }), row({ value: 'AS3', failures: 50 }), row({ cohort: 'country', value: 'DE', failures: 999 })];
    expect(ranked(rows, 'asn').map((one) => one.value)).toEqual(['AS2', 'AS3', 'AS1']);
    expect(excess(row({ requests: 1000, failures: 1 }))).toBe(0);
  });
  test.each([[0, 0], [0.005, 0], [0.0051, 1], [0.05, 3], [0.5, 4], [1, 4]])('a share of %d has step %d', (share, at) => expect(step(share)).toBe(at));
  test('steps rise', () => expect(STEPS.map((one) => one.to)).toEqual(STEPS.map((one) => one.to).toSorted((a, b) => a - b)));
  test('names of places', () => expect([cohortName('country', 'DE'), cohortName('country', 'other'), cohortName('asn', 'AS3320'), cohortName('global', 'all')]).toEqual(['Germany', 'other', 'AS3320', 'Everybody']));
  test('selectors quote what must be', () => expect(series('x', { site: 'a"b', value: 'DE' })).toBe('x{site="a\\"b",value="DE"}'));
});

describe('treemap', () => {
  const sizes = [400, 120, 90, 90, 33, 20, 8, 4, 1, 0];
  test.each([[600, 300], [300, 600], [500, 500]])('%d × %d is covered without overlap', (w, h) => {
    const boxes = treemap(sizes, (n) => n, w, h);
    expect(boxes).toHaveLength(9);
    const all = sizes.reduce((a, b) => a + b);
    for (const box of boxes) {
      expect(box.w * box.h).toBeCloseTo((box.item / all) * w * h, 3);
      expect(box.x >= -1e-9 && box.y >= -1e-9 && box.x + box.w <= w + 1e-6 && box.y + box.h <= h + 1e-6).toBe(true);
      for (const other of boxes) {
        if (other === box) continue;
        const wide = Math.min(box.x + box.w, other.x + other.w) - Math.max(box.x, other.x);
        const high = Math.min(box.y + box.h, other.y + other.h) - Math.max(box.y, other.y);
        expect(wide > 1e-6 && high > 1e-6).toBe(false);
      }
    }
  });
  test('nothing is nothing', () => expect(treemap([], () => 1, 10, 10)).toEqual([]));
});

test('the map has outlines of most countries, inside its frame', () => {
  expect(Object.keys(world.countries).length).toBeGreaterThan(165);
  for (const [code, path] of Object.entries(world.countries)) {
    expect(code).toMatch(/^[A-Z]{2}$/);
    for (const [, x, y] of path.matchAll(/M(\d+) (\d+)/g)) expect(Number(x) <= world.width && Number(y) <= world.height).toBe(true);
  }
});
