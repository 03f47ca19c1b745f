import { describe, expect, test } from 'vitest';
import { filterAlerts, groupAlerts, joinAlerts, matcherText, parseMatchers, severityOf, silenceMatches } from './alerts.ts';
import { between, clamp, focus, home, zoomAt } from './fleet/camera.ts';
import { bytes, guessUnit, num, percent, seconds, short, withUnit } from './format.ts';
import { rank } from './fuzzy.ts';
import { remembered } from './history.ts';
import { distinguishing, labelKey, labelsMatch, selector, seriesName } from './labels.ts';
import { href, match, patched } from './router.ts';
import { columns, stacked, stats } from './series.ts';
import { firstQuery, suggestions } from './suggest.ts';
import { pools, filterTargets } from './targets.ts';
import { timeLabels } from './ticks.ts';
import { ago, niceStep, parseDuration, parseTime, resolveRange, shortSpan } from './time.ts';
import type { Target } from '../api/prom.ts';

describe('router', () => {
  const routes = [{ pattern: '/', page: 'home' }, { pattern: '/fleet/:region/:dc?', page: 'fleet' }, { pattern: '/host/:id', page: 'host' }];
  test.each([
    ['/', 'home', {}],
    ['/fleet/us-east', 'fleet', { region: 'us-east' }],
    ['/fleet/us-east/row%2028/', 'fleet', { region: 'us-east', dc: 'row 28' }],
    ['/host/a%3A9100', 'host', { id: 'a:9100' }],
    ['/host/50%', 'host', { id: '50%' }],
  ])('%s', (path, page, params) => expect(match(path, routes)).toEqual({ page, params }));
  test.each(['/fleet', '/fleet/a/b/c', '/host', '/nothing'])('%s is no page', (path) => expect(match(path, routes)).toBeUndefined());
  test('state survives the address', () => {
    const query = patched(new URLSearchParams('q=old&tab=graph'), { q: ['up{job="a b"}', 'rate(x[5m])'], tab: null, stack: true, from: 'now-6h' });
    const back = new URLSearchParams(href('/explore', query).split('?')[1]);
    expect(back.getAll('q')).toEqual(['up{job="a b"}', 'rate(x[5m])']);
    expect([back.get('tab'), back.get('stack'), back.get('from')]).toEqual([null, '1', 'now-6h']);
  });
});

describe('time', () => {
  test.each([['90s', 90_000], ['1h30m', 5_400_000], ['100ms', 100], ['1w', 604_800_000], ['', undefined], ['5', undefined], ['5x', undefined]])('duration %s', (text, ms) => expect(parseDuration(text)).toBe(ms));
  test.each([['now', 1000], ['now-1s', 0], ['now+1s', 2000], ['1795370000000', 1795370000000], ['1795370000', 1795370000000], ['2026-11-22 14:00', Date.UTC(2026, 10, 22, 14)], ['2026-11-22T14:00:00+01:00', Date.UTC(2026, 10, 22, 13)], ['soon', undefined], ['now-', undefined]])('time %s', (text, ms) => expect(parseTime(text, 1000)).toBe(ms));
  test('a reversed or unreadable range is the last hour', () => expect(resolveRange('now', 'now-1h', 5e6)).toEqual({ from: 1.4e6, to: 5e6 }));
  test.each([[3_600_000, 600, 10], [300_000, 600, 5], [86_400_000 * 30, 600, 7200]])('step for %d ms', (span, points, step) => expect(niceStep({ from: 0, to: span }, points)).toBe(step));
  test.each([[0, '0 s'], [59_000, '59 s'], [61_000, '1 min 1 s'], [660_000, '11 min'], [7_500_000, '2 h 5 min'], [90_000_000, '1 d 1 h'], [-5, '0 s']])('%d ms ago', (ms, text) => expect(ago(ms)).toBe(text));
  test('short spans', () => expect([shortSpan(216e5), shortSpan(6e4), shortSpan(1500)]).toEqual(['6h', '1m', '2s']));
  test('the day is said where it changes', () => expect(timeLabels([79_200, 86_400, 93_600], 'utc')).toEqual(['22:00', '2 Jan', '02:00']));
});

describe('numbers', () => {
  test.each([[0, '0'], [0.5, '0.5'], [1234.5, '1235'], [12345, '12.35 k'], [1.5e9, '1.5 G'], [Number.NaN, 'NaN'], [Number.POSITIVE_INFINITY, '+Inf'], [2.5e-4, '250 µ']])('%d', (value, text) => expect(num(value)).toBe(text));
  test('units', () => expect([bytes(0), bytes(1536), bytes(3.2 * 2 ** 30), seconds(0.0021), seconds(90), short(86_000), short(1_200_000)]).toEqual(['0 B', '1.5 KiB', '3.2 GiB', '2.1 ms', '90 s', '86k', '1.2M']));
  test('a loss is never rounded away', () => expect([percent(0.999999), percent(1), percent(0.98462)]).toEqual(['>99.99%', '100%', '98.46%']));
  test.each([['rate(node_network_receive_bytes_total[1m])', 'bytes/s'], ['node_memory_MemTotal_bytes - node_memory_MemAvailable_bytes', 'bytes'], ['node_filesystem_avail_bytes / node_filesystem_size_bytes', 'percent'], ['1 - avg(rate(node_cpu_seconds_total{mode="idle"}[1m]))', 'percent'], ['scrape_duration_seconds', 'seconds'], ['rate(http_requests_total[5m])', 'per-second'], ['up', 'none'], ['100 * a_bytes / b_bytes', 'bytes']])('unit of %s', (expr, unit) => expect(guessUnit(expr)).toBe(unit));
  test('with units', () => expect([withUnit(0.5, 'percent'), withUnit(2048, 'bytes/s'), withUnit(2, 'per-second')]).toEqual(['50%', '2 KiB/s', '2/s']));
});

describe('labels', () => {
  test('selectors quote what must be', () => {
    expect(selector({ __name__: 'up', job: 'a"b\\c' })).toBe('up{job="a\\"b\\\\c"}');
    expect(selector({ __name__: 'http.requests', 'k8s.pod': 'x' })).toBe('{"http.requests", "k8s.pod"="x"}');
    expect(selector({})).toBe('{}');
  });
  test('a series is named by what tells it apart', () => {
    const sets = [{ __name__: 'up', job: 'a', instance: 'x' }, { __name__: 'up', job: 'a', instance: 'y' }];
    expect(distinguishing(sets)).toEqual(['instance']);
    expect(seriesName(sets[0] ?? {}, ['instance'])).toBe('x');
    expect(seriesName({}, [])).toBe('value');
    expect(labelKey({ b: '1', a: '2' })).toBe(labelKey({ a: '2', b: '1' }));
  });
  test('filter words', () => expect([labelsMatch({ severity: 'critical' }, 'severity=crit'), labelsMatch({ a: 'x' }, 'a=y'), labelsMatch({}, '  ')]).toEqual([true, false, true]));
});

describe('series', () => {
  const made = columns([{ metric: { i: 'a' }, values: [[0, '1'], [10, 'NaN'], [20, '3']] }, { metric: { i: 'b' }, values: [[10, '9']] }], 0, 20_000, 10, 5);
  test('on an even grid, highest mean first, gaps are null', () => {
    expect(made.times).toEqual([0, 10, 20]);
    expect(made.lines.map((line) => [line.name, line.values])).toEqual([['b', [null, 9, null]], ['a', [1, null, 3]]]);
    expect(stats(made.lines[1]?.values ?? [])).toEqual({ min: 1, max: 3, mean: 2, last: 3 });
    expect(stats([]).last).toBeNaN();
  });
  test('all are counted, some are drawn', () => expect(columns(Array.from({ length: 30 }, (_, i) => ({ metric: { i: String(i) }, values: [] })), 0, 1000, 1, 10)).toMatchObject({ total: 30, lines: { length: 10 } }));
  test('stacked', () => expect(stacked(made.lines)).toEqual([[null, 9, null], [1, null, 3]]));
});

describe('alerts', () => {
  const rule = (name: string, state: 'firing' | 'pending', severity = 'warning') => ({ labels: { alertname: name, severity }, annotations: {}, state, activeAt: '2026-11-22T14:00:00Z', value: '1' });
  const managed = (name: string, silencedBy: string[]) => ({ labels: { alertname: name, severity: 'warning' }, annotations: {}, startsAt: '2026-11-22T14:00:00Z', endsAt: '', updatedAt: '', fingerprint: '', receivers: [{ name: 'r' }], status: { state: silencedBy.length ? ('suppressed' as const) : ('active' as const), silencedBy, inhibitedBy: [] } });
  const rows = joinAlerts([rule('A', 'pending'), rule('B', 'firing'), rule('C', 'firing', 'critical')], [managed('B', ['s']), managed('X', [])]);
  test('both sources are one list, worst first', () => expect(rows.map((row) => `${row.name} ${row.state}`)).toEqual(['C firing', 'X firing', 'A pending', 'B suppressed']));
  test('silenced ones are hidden until asked for', () => expect([filterAlerts(rows, '', false).length, filterAlerts(rows, 'alertname=b', true).map((row) => row.name)]).toEqual([3, ['B']]));
  test('groups', () => expect(groupAlerts(rows, 'severity').map((group) => [group.name, group.rows.length])).toEqual([['critical', 1], ['warning', 3]]));
  test('severities', () => expect([severityOf({ severity: 'page' }), severityOf({}), severityOf({ severity: 'none' })]).toEqual(['critical', 'warning', 'info']));
  test('matchers round-trip', () => {
    const list = parseMatchers('{alertname="Host Down", instance=~"web-.*", dc!="a", env!~b}');
    expect(list.map(matcherText)).toEqual(['alertname="Host Down"', 'instance=~"web-.*"', 'dc!="a"', 'env!~"b"']);
    expect(silenceMatches(list, { alertname: 'Host Down', instance: 'web-1', dc: 'z', env: 'c' })).toBe(true);
    expect(silenceMatches(list, { alertname: 'Host Down', instance: 'my-web-1', dc: 'z', env: 'c' })).toBe(false);
    expect(silenceMatches([{ name: 'a', value: '(', isRegex: true }], { a: '(' })).toBe(false);
    expect(() => parseMatchers('a="b", nonsense')).toThrow(/nonsense/);
    expect(parseMatchers('')).toEqual([]);
  });
});

test('targets: failing pools and failing targets first', () => {
  const target = (pool: string, instance: string, health: Target['health']): Target => ({ scrapePool: pool, labels: { instance, job: pool }, discoveredLabels: {}, scrapeUrl: `http://${instance}`, globalUrl: '', lastError: health === 'down' ? 'refused' : '', lastScrape: '', lastScrapeDuration: 0, health, scrapeInterval: '', scrapeTimeout: '' });
  const all = [target('a', 'h10', 'up'), target('a', 'h2', 'up'), target('b', 'x', 'up'), target('b', 'y', 'down')];
  expect(pools(all).map((pool) => [pool.name, pool.up, pool.down, pool.rows.map((row) => row.labels.instance)])).toEqual([['b', 1, 1, ['y', 'x']], ['a', 2, 0, ['h2', 'h10']]]);
  expect(filterTargets(all, 'refused', 'all')).toHaveLength(1);
  expect(filterTargets(all, '', 'up')).toHaveLength(3);
});

describe('camera', () => {
  const plan = { w: 1000, h: 700, scale: 1 };
  const size = { width: 1036, height: 730 };
  test('zooming keeps the cell under the pointer', () => {
    const a = home(plan);
    const b = zoomAt(a, 3, 400, 300, 0.5);
    expect(b.x + 400 / b.scale).toBeCloseTo(a.x + 400 / a.scale);
    expect(b.y + 300 / b.scale).toBeCloseTo(a.y + 300 / a.scale);
  });
  test('a box is in view and centred', () => {
    const c = focus({ x: 500, y: 300, w: 100, h: 10 }, size, plan.scale);
    expect(c.x + size.width / c.scale / 2).toBeCloseTo(550);
    expect(c.scale).toBeGreaterThan(1);
  });
  test('flights begin and end where they should', () => {
    const [a, b] = [home(plan), focus({ x: 500, y: 300, w: 100, h: 10 }, size, 1)];
    expect(between(a, b, 0)).toEqual(a);
    for (const key of ['x', 'y', 'scale'] as const) expect(between(a, b, 1)[key]).toBeCloseTo(b[key]);
    expect(clamp({ x: 1e6, y: -1e6, scale: 1 }, plan, size)).toMatchObject({ scale: 1 });
  });
});

test('names are ranked: exact, prefix, word, anywhere', () => {
  expect(rank(['my_up', 'uptime', 'up', 'group'], 'up', (x) => x, 9)).toEqual(['up', 'uptime', 'my_up', 'group']);
  expect(rank(['a', 'b', 'c'], '', (x) => x, 2)).toEqual(['a', 'b']);
});
test('history keeps each query once, newest first', () => expect(remembered(['a', 'b'], ' b ')).toEqual(['b', 'a']));
test('first queries', () => {
  expect(firstQuery('x_total', 'counter')).toBe('rate(x_total[5m])');
  expect(firstQuery('y_bucket', 'histogram')).toContain('histogram_quantile');
  expect(suggestions(new Set(['up'])).map((item) => item.expr)).toEqual(['up == 0']);
});
