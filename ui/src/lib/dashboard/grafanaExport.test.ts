// What is written in Grafana's format is read back as what it was: for every dashboard that ships.
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { importGrafana, isGrafana, tone } from './grafana.ts';
import { exportGrafana } from './grafanaExport.ts';
import { repaired, type Panel, type Tone } from './model.ts';

const folder = new URL('../../../../crates/api/dashboards/', import.meta.url);
const shipped = readdirSync(folder).map((file) => repaired(JSON.parse(readFileSync(new URL(file, folder), 'utf8'))));
/** What a reader of the dashboard would notice. */
const seen = (panel: Panel): unknown => ({ type: panel.type, title: panel.title, description: panel.description, grid: panel.grid, targets: panel.targets, unit: panel.unit, decimals: panel.decimals, min: panel.min, max: panel.max, thresholds: panel.type === 'row' ? [] : panel.thresholds, percent: panel.percent, mappings: panel.mappings, overrides: panel.overrides, repeat: panel.repeat, stack: panel.stack, draw: panel.draw, fill: panel.fill, limits: panel.limits, text: panel.text, filter: panel.filter, collapsed: panel.collapsed, ...(panel.type === 'stat' ? { spark: panel.spark, colour: panel.colour, reduce: panel.reduce } : {}) });

describe.each(shipped.map((dash) => [dash.uid, dash] as const))('%s', (_, dash) => {
  const written = exportGrafana(dash);
  const { dashboard: back, report } = importGrafana(JSON.parse(JSON.stringify(written)));
  test('is read back as it was', () => {
    expect(isGrafana(written)).toBe(true);
    expect(back.panels.map(seen)).toEqual(dash.panels.map(seen));
    expect(back.variables).toEqual(dash.variables);
    expect(back.annotations.map(({ name, expr, on }) => ({ name, expr, on }))).toEqual(dash.annotations.map(({ name, expr, on }) => ({ name, expr, on })));
    expect({ title: back.title, tags: back.tags, from: back.from, to: back.to, refresh: back.refresh, links: back.links }).toEqual({ title: dash.title, tags: dash.tags, from: dash.from, to: dash.to, refresh: dash.refresh, links: dash.links });
  });
  test('nothing of it is skipped on the way', () => expect(report.filter((one) => one.outcome === 'skipped')).toEqual([]));
});

test('every colour comes back as itself', () => {
  const tones: Tone[] = ['ok', 'warning', 'critical', 'nodata'];
  for (const one of tones) {
    const dash = { ...(shipped[0] as (typeof shipped)[number]) };
    const panel = { ...(dash.panels.find((p) => p.type === 'stat' || p.type === 'timeseries') as Panel), thresholds: [{ from: null, tone: one }, { from: 1, tone: one }] };
    const written = JSON.stringify(exportGrafana({ ...dash, panels: [panel] }));
    expect(importGrafana(JSON.parse(written)).dashboard.panels[0]?.thresholds.map((limit) => limit.tone)).toEqual([one, one]);
  }
  expect(tone('#808080')).toBe('s8');
});
