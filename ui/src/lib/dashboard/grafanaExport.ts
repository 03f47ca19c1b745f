// Writes a dashboard as Grafana's JSON (the classic model, schema version 39), so that it can be taken elsewhere.
// Source: Grafana's documentation, "Dashboard JSON model". Reading it back gives the same dashboard (a test does so).
import type { Dashboard, Mapping, Override, Panel, PanelType, Reduce, Target, Tone, Variable } from './model.ts';

type Json = Record<string, unknown>;
const SOURCE = { type: 'prometheus', uid: '${datasource}' };
/** Grafana's named colours for ours. */
const COLOURS: Record<Tone, string> = { ok: 'green', warning: 'yellow', critical: 'red', nodata: 'purple', s1: '#5794f2', s2: '#b87a00', s3: '#00825f', s4: '#cc5a8a', s5: '#4656c9', s6: '#6a9d00', s7: '#8a6238', s8: '#808080' };
const CALCS: Record<Reduce, string> = { last: 'last', lastNotNull: 'lastNotNull', mean: 'mean', max: 'max', min: 'min', sum: 'sum', count: 'count', first: 'first', range: 'range', diff: 'diff', median: 'median' };
const TYPES: Record<PanelType, string> = { timeseries: 'timeseries', stat: 'stat', gauge: 'gauge', bargauge: 'bargauge', table: 'table', heatmap: 'heatmap', histogram: 'histogram', 'state-timeline': 'state-timeline', text: 'text', alertlist: 'alertlist', row: 'row' };

export function exportGrafana(dash: Dashboard): Json {
  return {
    uid: dash.uid,
    title: dash.title,
    description: dash.description,
    tags: dash.tags,
    schemaVersion: 39,
    editable: true,
    graphTooltip: dash.crosshair ? 1 : 0,
    time: { from: dash.from, to: dash.to },
    refresh: dash.refresh === 'off' ? '' : dash.refresh,
    timezone: dash.timezone,
    links: dash.links.map((link) => ({ type: 'link', title: link.title, url: link.url, targetBlank: true })),
    annotations: { list: dash.annotations.map((one) => ({ name: one.name, datasource: SOURCE, expr: one.expr, titleFormat: one.title, enable: one.on, iconColor: COLOURS[one.tone] })) },
    // Every panel asks one data source, which whoever imports this chooses.
    templating: { list: [{ name: 'datasource', label: 'Data source', type: 'datasource', query: 'prometheus', hide: 0, current: {} }, ...dash.variables.map(variable)] },
    panels: panels(dash.panels),
  };
}

function variable(one: Variable): Json {
  const sorts: Record<Variable['sort'], number> = { none: 0, name: 1, 'name-desc': 2, number: 3, 'number-desc': 4 };
  const value = one.multi ? one.current : (one.current[0] ?? '');
  return {
    name: one.name,
    label: one.label,
    type: one.type === 'text' ? 'textbox' : one.type,
    query: one.type === 'query' ? { query: one.query, refId: one.name } : one.query,
    ...(one.type === 'query' ? { datasource: SOURCE, definition: one.query, refresh: 2 } : {}),
    regex: one.regex,
    multi: one.multi,
    includeAll: one.all,
    allValue: one.allValue || null,
    hide: one.hidden ? 2 : 0,
    sort: sorts[one.sort],
    current: one.current.length ? { value, text: value } : {},
  };
}

/** A closed row holds its panels itself, as Grafana wants it. */
function panels(all: readonly Panel[]): Json[] {
  const out: Json[] = [];
  let closed: Json[] | undefined;
  for (const one of all) {
    const made = panel(one);
    if (one.type === 'row') {
      closed = one.collapsed ? [] : undefined;
      out.push({ ...made, collapsed: one.collapsed, panels: closed ?? [] });
    } else (closed ?? out).push(made);
  }
  return out;
}

function panel(one: Panel): Json {
  const base = { id: one.id, type: TYPES[one.type], title: one.title, description: one.description, gridPos: one.grid, ...(one.repeat ? { repeat: one.repeat, repeatDirection: one.repeatDown ? 'v' : 'h' } : {}) };
  if (one.type === 'row') return base;
  if (one.type === 'text') return { ...base, options: { mode: 'markdown', content: one.text } };
  if (one.type === 'alertlist') return { ...base, options: { alertName: one.filter } };
  return {
    ...base,
    datasource: SOURCE,
    targets: one.targets.map((target) => query(target, one.type)),
    fieldConfig: { defaults: defaults(one), overrides: one.overrides.map(override) },
    options: options(one),
    transformations: one.transformations,
  };
}

function query(target: Target, type: PanelType): Json {
  return { refId: target.ref, datasource: SOURCE, expr: target.expr, legendFormat: target.legend || '__auto', instant: target.instant, range: !target.instant, hide: target.hidden, ...(target.interval ? { interval: target.interval } : {}), format: target.format === 'series' ? 'time_series' : target.format === 'heatmap' && type !== 'heatmap' ? 'heatmap' : target.format };
}

function defaults(one: Panel): Json {
  return {
    ...(one.unit ? { unit: one.unit } : {}),
    ...(one.decimals === null ? {} : { decimals: one.decimals }),
    ...(one.min === null ? {} : { min: one.min }),
    ...(one.max === null ? {} : { max: one.max }),
    thresholds: { mode: one.percent ? 'percentage' : 'absolute', steps: one.thresholds.length ? one.thresholds.map((limit) => ({ value: limit.from, color: COLOURS[limit.tone] })) : [{ value: null, color: 'green' }] },
    mappings: one.mappings.map(mapping),
    custom: {
      drawStyle: one.draw === 'step' ? 'line' : one.draw,
      lineInterpolation: one.draw === 'step' ? 'stepAfter' : 'linear',
      fillOpacity: Math.round(one.fill * 100),
      stacking: { mode: one.stack ? 'normal' : 'none', group: 'A' },
      thresholdsStyle: { mode: one.limits ? 'line' : 'off' },
    },
  };
}

function options(one: Panel): Json {
  const legend = { showLegend: one.legend !== 'none', displayMode: one.legend === 'table' ? 'table' : 'list', placement: 'bottom' };
  const reduceOptions = { calcs: [CALCS[one.reduce]], values: false };
  switch (one.type) {
    case 'stat':
      return { reduceOptions, graphMode: one.spark ? 'area' : 'none', colorMode: one.colour, orientation: one.horizontal ? 'horizontal' : 'vertical' };
    case 'gauge':
    case 'bargauge':
      return { reduceOptions, orientation: one.horizontal ? 'horizontal' : 'vertical' };
    case 'heatmap':
      return { calculate: one.targets.every((target) => target.format === 'heatmap') };
    default:
      return { legend, reduceOptions, tooltip: { mode: 'multi', sort: 'desc' } };
  }
}

function mapping(one: Mapping): Json {
  const result = { text: one.text, ...(one.tone ? { color: COLOURS[one.tone] } : {}) };
  if (one.regex !== undefined) return { type: 'regex', options: { pattern: one.regex, result } };
  if (one.range) return { type: 'range', options: { from: one.range[0], to: one.range[1], result } };
  if (one.value === 'null' || one.value === 'nan') return { type: 'special', options: { match: one.value, result } };
  return { type: 'value', options: { [one.value ?? '']: result } };
}

function override(one: Override): Json {
  const pattern = one.name.length > 1 && one.name.startsWith('/') && one.name.endsWith('/');
  const property = (id: string, value: unknown): { id: string; value: unknown }[] => (value === undefined ? [] : [{ id, value }]);
  return {
    matcher: { id: pattern ? 'byRegexp' : 'byName', options: one.name },
    properties: [
      ...property('unit', one.unit),
      ...property('decimals', one.decimals),
      ...property('displayName', one.label),
      ...property('color', one.tone && { mode: 'fixed', fixedColor: COLOURS[one.tone] }),
      ...property('custom.transform', one.negative ? 'negative-Y' : undefined),
      ...property('custom.stacking', one.stack === undefined ? undefined : { mode: one.stack ? 'normal' : 'none' }),
      ...property('custom.fillOpacity', one.fill === undefined ? undefined : Math.round(one.fill * 100)),
      ...property('custom.lineWidth', one.width),
      ...property('custom.hideFrom', one.hidden ? { viz: true, legend: true, tooltip: true } : undefined),
    ],
  };
}
