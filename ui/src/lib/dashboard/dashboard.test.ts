import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { heatOf, histogramOf, legendOf, linesOf, spansOf, type Answered } from './data.ts';
import { importGrafana, isGrafana } from './grafana.ts';
import { place, settled, shown } from './layout.ts';
import { markdown } from './markdown.ts';
import { newDashboard, newPanel, newTarget, newVariable, repaired, type Panel } from './model.ts';
import { mapped, reduced, toneOf } from './reduce.ts';
import { tableOf, transformed } from './transform.ts';
import { ALL, asked, chosen, interpolate, listed, refined } from './vars.ts';
import { written } from '../units.ts';

const built = { from: 0, to: 3_600_000, step: 15, scrape: 15 };
const overlaps = (list: readonly Panel[]): boolean => list.some((a, i) => list.some((b, j) => i < j && a.grid.x < b.grid.x + b.grid.w && b.grid.x < a.grid.x + a.grid.w && a.grid.y < b.grid.y + b.grid.h && b.grid.y < a.grid.y + a.grid.h));

describe('layout', () => {
  const at = (id: number, x: number, y: number, w: number, h: number): Panel => newPanel('timeseries', { x, y, w, h }, id);
  test('gravity closes gaps and a moved panel pushes the others', () => {
    const list = settled([at(1, 0, 0, 12, 4), at(2, 0, 9, 12, 4), at(3, 12, 2, 12, 4)]);
    expect(list.map((panel) => panel.grid.y).sort()).toEqual([0, 0, 4]);
    const moved = settled(list.map((panel) => (panel.id === 2 ? { ...panel, grid: { ...panel.grid, y: 0 } } : panel)), 2);
    expect(moved.find((panel) => panel.id === 2)?.grid.y).toBe(0);
    expect(overlaps(moved)).toBe(false);
  });
  test('random panels never overlap', () => {
    let seed = 7;
    const next = (n: number): number => (seed = (seed * 1103515245 + 12345) % 2147483648) % n;
    for (let round = 0; round < 50; round++) {
      const list = Array.from({ length: 20 }, (_, i) => at(i + 1, next(20), next(30), 1 + next(12), 1 + next(8))).map((panel) => ({ ...panel, grid: { ...panel.grid, x: Math.min(panel.grid.x, 24 - panel.grid.w) } }));
      expect(overlaps(settled(list, 1 + next(20)))).toBe(false);
    }
  });
  test('a free place is found', () => expect(place([at(1, 0, 0, 12, 8)], 12, 8)).toEqual({ x: 12, y: 0, w: 12, h: 8 }));
  test('panels and rows repeat, closed rows hide theirs', () => {
    const row = { ...newPanel('row', { x: 0, y: 0, w: 24, h: 1 }, 1), repeat: 'job' };
    const panel = { ...at(2, 0, 1, 12, 4), repeat: 'host' };
    const values = { job: ['a', 'b'], host: ['x', 'y', 'z'] };
    const list = shown([row, panel], values, new Set());
    expect(list.filter((item) => item.panel.type === 'row')).toHaveLength(2);
    expect(list.filter((item) => item.panel.type !== 'row').map((item) => item.scope)).toEqual(['a', 'b'].flatMap((job) => ['x', 'y', 'z'].map((host) => ({ job, host }))));
    expect(overlaps(list.map((item) => item.panel))).toBe(false);
    expect(shown([row, panel], values, new Set(['1/a', '1/b']))).toHaveLength(2);
  });
});

describe('variables', () => {
  const job = { ...newVariable('job'), multi: true, all: true };
  const fill = (text: string, values: Record<string, string[]>): string => interpolate(text, [job, { ...newVariable('one') }], values, built);
  test('values are made safe for PromQL', () => {
    expect(fill('up{job=~"$job"}', { job: ['a.b', 'c'] })).toBe('up{job=~"(a\\\\.b|c)"}');
    expect(fill('up{job=~"${job}"}', { job: [ALL] })).toBe('up{job=~".*"}');
    expect(fill('up{x="$one"}', { one: ['say "hi"'] })).toBe('up{x="say \\"hi\\""}');
    expect(fill('[[one]] ${one:csv} $other', { one: ['v'] })).toBe('v v $other');
  });
  test('built-in names', () => {
    expect(fill('rate(x[$__rate_interval])', {})).toBe('rate(x[1m])');
    expect(fill('[$__range] ${__interval}', {})).toBe('[3600s] 15s');
  });
  test('what Grafana asks for is understood', () => {
    expect(asked('label_values(node_load1{a=~"b,c"}, instance)')).toEqual({ kind: 'label_values', metric: 'node_load1{a=~"b,c"}', label: 'instance' });
    expect(asked('label_values(job)')).toEqual({ kind: 'label_values', metric: '', label: 'job' });
    expect(asked('query_result(topk(3, up))')).toEqual({ kind: 'query_result', expr: 'topk(3, up)' });
  });
  test('lists are refined and sorted', () => {
    expect(refined(['b10', 'b9', 'a1', 'a1'], { regex: '/^b(.*)/', sort: 'number' })).toEqual(['9', '10']);
    expect(refined(['x'], { regex: '/(/', sort: 'none' })).toEqual([]);
    expect(listed('a, b\\,c, Name : d')).toEqual(['a', 'b,c', 'd']);
  });
  test('the address wins, a default that is gone does not', () => {
    expect(chosen({ ...newVariable('x'), current: ['gone'] }, ['a', 'b'], [])).toEqual(['a']);
    expect(chosen(job, ['a'], ['b'])).toEqual(['b']);
    expect(chosen({ ...job, current: [ALL] }, ['a', 'b'], [])).toEqual([ALL]);
  });
});

describe('data', () => {
  const answer = (result: unknown[], resultType: 'matrix' | 'vector' = 'matrix', format: 'series' | 'heatmap' = 'series'): Answered => ({ target: { ...newTarget('x'), format, legend: '{{a}}' }, data: { resultType, result } as Answered['data'], error: undefined, warnings: [] });
  const panel = { ...newPanel('timeseries', { x: 0, y: 0, w: 1, h: 1 }, 1), overrides: [{ name: '/down/', negative: true }, { name: 'gone', hidden: true }] };
  test('legends, overrides, the grid of times', () => {
    const made = linesOf([answer([{ metric: { a: 'down' }, values: [[15, '3']] }, { metric: { a: 'gone' }, values: [[0, '1']] }])], 0, 30_000, 15, panel);
    expect(made.times).toEqual([0, 15, 30]);
    expect(made.lines.map((line) => [line.name, line.values])).toEqual([['down', [null, -3, null]]]);
    expect(legendOf('{{ a }}-{{b}}', { a: 'x' })).toBe('x-');
  });
  test('an instant answer is the newest value', () => expect(linesOf([answer([{ metric: {}, value: [31, '7'] }], 'vector')], 0, 30_000, 15, panel).lines[0]?.values).toEqual([null, null, 7]));
  test('cumulative buckets are taken apart', () => {
    const heat = heatOf([answer([{ metric: { le: '+Inf' }, values: [[0, '9']] }, { metric: { le: '1' }, values: [[0, '4']] }, { metric: { le: '5' }, values: [[0, '6']] }], 'matrix', 'heatmap')], 0, 0, 15);
    expect(heat.rows.map((row) => row.high)).toEqual([1, 5, Number.POSITIVE_INFINITY]);
    expect(heat.counts.map((row) => row[0])).toEqual([4, 2, 3]);
  });
  test('a histogram counts every value once', () => {
    const values = Array.from({ length: 500 }, (_, i) => Math.sin(i) * 40);
    expect(histogramOf(values).reduce((sum, bucket) => sum + bucket.count, 0)).toBe(500);
    expect(histogramOf([5, 5])).toHaveLength(1);
  });
  test('equal neighbours are one span', () => expect(spansOf([0, 15, 30], [1, 1, null], 15)).toEqual([{ from: 0, to: 30, value: 1 }, { from: 30, to: 45, value: null }]));
  test('one number from many', () => {
    expect(reduced([1, null, 3], 'mean')).toBe(2);
    expect(reduced([1, 3, null], 'lastNotNull')).toBe(3);
    expect(reduced([1, 3, null], 'last')).toBe(null);
    expect(reduced([4, 1, 3, 2], 'median')).toBe(2.5);
    expect(reduced([], 'count')).toBe(0);
  });
  test('thresholds and mappings', () => {
    const limits = { thresholds: [{ from: null, tone: 'ok' as const }, { from: 80, tone: 'critical' as const }], percent: true, min: 0, max: 10 };
    expect([toneOf(7.9, limits), toneOf(8, limits), toneOf(null, limits)]).toEqual(['ok', 'critical', 'nodata']);
    expect(mapped(1, [{ value: '1', text: 'up' }])?.text).toBe('up');
    expect(mapped(5, [{ range: [null, 4], text: 'low' }, { range: [5, null], text: 'high' }])?.text).toBe('high');
  });
  test('tables merge on what they share', () => {
    const vector = (value: string): Answered['data'] => ({ resultType: 'vector', result: [{ metric: { host: 'a' }, value: [1, value] }] });
    const [table] = transformed([tableOf(vector('1') as never, 'A'), tableOf(vector('2') as never, 'B')], [{ id: 'merge', options: {} }, { id: 'organize', options: { excludeByName: { Time: true }, renameByName: { 'Value #B': 'two' } } }]);
    expect(table?.fields.map((field) => [field.name, field.values])).toEqual([['host', ['a']], ['Value #A', [1]], ['two', [2]]]);
  });
  test('units', () => {
    expect(written(0.5, 'percentunit')).toBe('50%');
    expect(written(1536, 'bytes')).toBe('1.5 KiB');
    expect(written(2_500_000, 'bps')).toBe('2.5 Mb/s');
    expect(written(90, 's')).toBe('90 s');
    expect(written(3, 'suffix:apples')).toBe('3 apples');
    expect(written(21.53, 'celsius', 1)).toBe('21.5 °C');
  });
  test('text cannot bring markup or scripts', () => {
    expect(markdown('<script>x</script>')).toEqual([{ kind: 'p', inline: [{ kind: 'text', text: '<script>x</script>' }] }]);
    expect(JSON.stringify(markdown('[a](javascript:alert(1)) [b](https://x.example)'))).not.toContain('javascript:');
  });
});

describe('import from Grafana', () => {
  const full = {
    schemaVersion: 39,
    title: 'Node',
    uid: 'abc',
    time: { from: 'now-24h', to: 'now' },
    templating: { list: [{ type: 'datasource', name: 'DS' }, { type: 'query', name: 'node', query: { query: 'label_values(node_uname_info, instance)' }, multi: true, includeAll: true, sort: 1 }, { type: 'adhoc', name: 'Filters' }, { type: 'interval', name: 'every', query: '1m,5m' }] },
    annotations: { list: [{ builtIn: 1, name: 'Annotations & Alerts' }, { name: 'Reboots', expr: 'changes(node_boot_time_seconds[5m]) > 0', enable: true }] },
    panels: [
      { id: 1, type: 'row', title: 'Open', gridPos: { x: 0, y: 0, w: 24, h: 1 }, collapsed: false },
      { id: 2, type: 'timeseries', title: 'CPU', gridPos: { x: 0, y: 1, w: 12, h: 8 }, targets: [{ refId: 'A', expr: 'rate(node_cpu_seconds_total{instance=~"$node"}[$__rate_interval])', legendFormat: '{{mode}}' }], fieldConfig: { defaults: { unit: 'percentunit', custom: { stacking: { mode: 'normal' }, fillOpacity: 40 } }, overrides: [{ matcher: { id: 'byRegexp', options: '/.*out/' }, properties: [{ id: 'custom.transform', value: 'negative-Y' }, { id: 'custom.lineStyle', value: {} }] }] } },
      { id: 3, type: 'gauge', title: 'RAM', gridPos: { x: 12, y: 1, w: 6, h: 8 }, targets: [{ expr: 'x', instant: true }], fieldConfig: { defaults: { max: 100, thresholds: { mode: 'absolute', steps: [{ color: 'green', value: null }, { color: 'rgba(245, 54, 54, 0.9)', value: 80 }] } } } },
      { id: 4, type: 'nodeGraph', title: 'Graph', gridPos: { x: 18, y: 1, w: 6, h: 8 } },
      { id: 5, type: 'row', title: 'Closed', collapsed: true, repeat: 'node', gridPos: { x: 0, y: 9, w: 24, h: 1 }, panels: [{ id: 6, type: 'graph', title: 'Old', gridPos: { x: 0, y: 10, w: 24, h: 6 }, targets: [{ expr: 'up' }], yaxes: [{ format: 'bytes', logBase: 10 }], stack: true, seriesOverrides: [{ alias: '/x/', yaxis: 2 }] }, { id: 7, type: 'table', title: 'T', gridPos: { x: 0, y: 16, w: 24, h: 6 }, targets: [{ expr: 'up', format: 'table', instant: true }], transformations: [{ id: 'organize', options: {} }, { id: 'heatmap', options: {} }] }] },
      { id: 8, type: 'row', title: 'Next', gridPos: { x: 0, y: 10, w: 24, h: 1 } },
      { id: 9, type: 'text', title: '', options: { mode: 'html', content: '<b>hi</b><script>no</script>' }, gridPos: { x: 0, y: 11, w: 24, h: 3 } },
      { id: 10, type: 'timeseries', title: 'Logs', gridPos: { x: 0, y: 14, w: 24, h: 3 }, datasource: { type: 'loki' }, targets: [{ refId: 'A', query: '{a="b"}' }] },
    ],
  };
  test('every part is accounted for, once', () => {
    expect(isGrafana(full)).toBe(true);
    const { dashboard, report } = importGrafana(full);
    expect(report.filter((item) => item.what === 'panel' || item.what === 'row')).toHaveLength(10);
    expect(report.filter((item) => item.what === 'variable')).toHaveLength(4);
    expect(report.filter((item) => item.what === 'annotation')).toHaveLength(2);
    expect(dashboard.panels).toHaveLength(10);
    expect(overlaps(settled(dashboard.panels))).toBe(false);
    const of = (name: string): string => report.find((item) => item.name === name)?.outcome ?? '';
    expect([of('CPU'), of('RAM'), of('Graph'), of('Old'), of('Logs'), of('node'), of('DS'), of('Filters')]).toEqual(['approximated', 'converted', 'skipped', 'approximated', 'skipped', 'converted', 'approximated', 'skipped']);
    for (const item of report) if (item.outcome !== 'converted') expect(item.reasons.join()).not.toBe('');
  });
  test('what can be kept is kept', () => {
    const { dashboard } = importGrafana(full);
    const panel = (title: string): Panel | undefined => dashboard.panels.find((item) => item.title === title);
    expect(panel('CPU')).toMatchObject({ unit: 'percentunit', stack: true, fill: 0.4, overrides: [{ name: '/.*out/', negative: true }] });
    expect(panel('RAM')?.thresholds).toEqual([{ from: null, tone: 'ok' }, { from: 80, tone: 'critical' }]);
    expect(panel('Closed')).toMatchObject({ type: 'row', collapsed: true, repeat: 'node' });
    expect(panel('Old')).toMatchObject({ type: 'timeseries', unit: 'bytes', stack: true });
    expect((panel('Next')?.grid.y ?? 0) > (panel('T')?.grid.y ?? 0)).toBe(true);
    expect(dashboard.panels.find((item) => item.text.startsWith('hi'))?.text).toBe('hi');
    expect(dashboard.annotations).toHaveLength(1);
  });
  test('the older rows with spans', () => {
    const { dashboard } = importGrafana({ title: 'Old', rows: [{ title: 'R', showTitle: true, height: '250px', panels: [{ type: 'singlestat', span: 6, title: 'S', format: 'bytes', valueName: 'current', thresholds: '1,2', colors: ['#299c46', '#ed8128', '#d44a3a'], gauge: { show: true, minValue: 0, maxValue: 9 }, targets: [{ expr: 'x' }] }, { type: 'graph', span: 6, title: 'G', targets: [{ expr: 'y' }] }] }] });
    expect(dashboard.panels.map((panel) => [panel.type, panel.grid.x])).toEqual([['row', 0], ['gauge', 0], ['timeseries', 12]]);
    expect(dashboard.panels[1]?.thresholds.map((limit) => limit.tone)).toEqual(['ok', 'warning', 'critical']);
  });
});

test('what is read is repaired', () => {
  const made = repaired({ uid: 'x', title: 3, panels: [{ type: 'nonsense', grid: { w: 99 } }, null, { id: 1, type: 'stat', min: 'x' }], variables: [{ name: 'a', current: [1] }] });
  expect(made.title).toBe(newDashboard('').title);
  expect(made.panels.map((panel) => [panel.type, panel.grid.w])).toEqual([['text', 24], ['stat', 12]]);
  expect(new Set(made.panels.map((panel) => panel.id)).size).toBe(2);
  expect(made.variables[0]?.current).toEqual(['1']);
});

test('shipped dashboards are as the page would write them', () => {
  const folder = new URL('../../../../crates/api/dashboards/', import.meta.url);
  for (const file of readdirSync(folder)) {
    const made = repaired(JSON.parse(readFileSync(new URL(file, folder), 'utf8')));
    expect(`${made.uid}.json`).toBe(file);
    expect(overlaps(made.panels)).toBe(false);
    for (const panel of made.panels) if (panel.type !== 'text') expect(panel.title).not.toBe('');
  }
});
