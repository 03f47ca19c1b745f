// What a dashboard is: the JSON that the server keeps (docs/formats/dashboard.md), its defaults, and the repair of what is read.

export type PanelType = 'timeseries' | 'stat' | 'gauge' | 'bargauge' | 'table' | 'heatmap' | 'histogram' | 'state-timeline' | 'text' | 'alertlist' | 'row';
export const PANEL_TYPES: readonly [PanelType, string][] = [
  ['timeseries', 'Time series'],
  ['stat', 'Stat'],
  ['gauge', 'Gauge'],
  ['bargauge', 'Bar gauge'],
  ['table', 'Table'],
  ['heatmap', 'Heat map'],
  ['histogram', 'Histogram'],
  ['state-timeline', 'State timeline'],
  ['text', 'Text'],
  ['alertlist', 'Alert list'],
  ['row', 'Row'],
];
/** Columns of the grid, and the height of one of its rows in pixels. */
export const COLUMNS = 24;
export const ROW_PX = 34;

export interface Grid {
  x: number;
  y: number;
  w: number;
  h: number;
}
export interface Target {
  ref: string;
  expr: string;
  /** `{{label}}` is filled in; empty for what tells the series apart. */
  legend: string;
  instant: boolean;
  hidden: boolean;
  /** Smallest step as a duration; empty for the dashboard's. */
  interval: string;
  /** `heatmap` takes cumulative buckets apart. */
  format: 'series' | 'table' | 'heatmap';
}
export type Tone = 'ok' | 'warning' | 'critical' | 'nodata' | 's1' | 's2' | 's3' | 's4' | 's5' | 's6' | 's7' | 's8';
export interface Threshold {
  /** From this value on; `null` for the base. */
  from: number | null;
  tone: Tone;
}
export interface Mapping {
  /** One of the three says what is mapped. */
  value?: string;
  range?: [number | null, number | null];
  regex?: string;
  text: string;
  tone?: Tone;
}
export interface Override {
  /** Series whose name this is, or matches when it is between slashes. */
  name: string;
  unit?: string;
  decimals?: number;
  label?: string;
  tone?: Tone;
  hidden?: boolean;
  negative?: boolean;
  stack?: boolean;
  fill?: number;
  width?: number;
}
export type Reduce = 'last' | 'lastNotNull' | 'mean' | 'max' | 'min' | 'sum' | 'count' | 'first' | 'range' | 'diff' | 'median';
export interface Transformation {
  id: string;
  options: Record<string, unknown>;
}
export interface Panel {
  id: number;
  type: PanelType;
  title: string;
  description: string;
  grid: Grid;
  targets: Target[];
  unit: string;
  decimals: number | null;
  min: number | null;
  max: number | null;
  thresholds: Threshold[];
  /** Thresholds are per cent of min..max. */
  percent: boolean;
  mappings: Mapping[];
  overrides: Override[];
  transformations: Transformation[];
  /** Variable over whose values the panel repeats. */
  repeat: string;
  repeatDown: boolean;
  /** What one number is made of. */
  reduce: Reduce;
  /** Time series. */
  draw: 'line' | 'bars' | 'points' | 'step';
  stack: boolean;
  fill: number;
  legend: 'none' | 'list' | 'table';
  /** Shows thresholds as lines. */
  limits: boolean;
  /** Stat: a line behind the number; what is coloured. */
  spark: boolean;
  colour: 'value' | 'background' | 'none';
  horizontal: boolean;
  /** Text panels: Markdown. */
  text: string;
  /** Alert lists: words to filter by. */
  filter: string;
  /** Rows. */
  collapsed: boolean;
}
export interface Variable {
  name: string;
  label: string;
  type: 'query' | 'custom' | 'interval' | 'constant' | 'text';
  query: string;
  regex: string;
  multi: boolean;
  all: boolean;
  allValue: string;
  /** What is chosen when the address says nothing. */
  current: string[];
  hidden: boolean;
  sort: 'none' | 'name' | 'name-desc' | 'number' | 'number-desc';
}
export interface Annotation {
  name: string;
  /** Times at which the result has samples; consecutive ones are one region. */
  expr: string;
  title: string;
  tone: Tone;
  on: boolean;
}
export interface Link {
  title: string;
  url: string;
}
export interface Dashboard {
  uid: string;
  title: string;
  description: string;
  folder: string;
  tags: string[];
  from: string;
  to: string;
  refresh: string;
  timezone: '' | 'utc' | 'browser';
  crosshair: boolean;
  variables: Variable[];
  annotations: Annotation[];
  links: Link[];
  panels: Panel[];
}

export const newTarget = (expr = '', ref = 'A'): Target => ({ ref, expr, legend: '', instant: false, hidden: false, interval: '', format: 'series' });

export function newPanel(type: PanelType, grid: Grid, id: number): Panel {
  return {
    id,
    type,
    title: '',
    description: '',
    grid,
    targets: type === 'row' || type === 'text' || type === 'alertlist' ? [] : [newTarget()],
    unit: '',
    decimals: null,
    min: null,
    max: null,
    thresholds: [],
    percent: false,
    mappings: [],
    overrides: [],
    transformations: [],
    repeat: '',
    repeatDown: false,
    reduce: 'lastNotNull',
    draw: 'line',
    stack: false,
    fill: 0,
    legend: 'list',
    limits: false,
    spark: type === 'stat',
    colour: type === 'table' || type === 'timeseries' ? 'none' : 'value',
    horizontal: true,
    text: '',
    filter: '',
    collapsed: false,
  };
}

export const newDashboard = (uid: string): Dashboard => ({
  uid,
  title: 'New dashboard',
  description: '',
  folder: '',
  tags: [],
  from: 'now-1h',
  to: 'now',
  refresh: '15s',
  timezone: '',
  crosshair: true,
  variables: [],
  annotations: [],
  links: [],
  panels: [],
});

export const newVariable = (name: string): Variable => ({ name, label: '', type: 'query', query: '', regex: '', multi: false, all: false, allValue: '', current: [], hidden: false, sort: 'name' });

/** Random and short enough for an address. */
export function newUid(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  return [...bytes].map((byte) => (byte % 36).toString(36)).join('');
}

type Json = Record<string, unknown>;
const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value);

/** Fills what is missing with defaults and drops what is no object; the shape is right afterwards, whoever wrote the JSON. */
export function repaired(raw: unknown): Dashboard {
  const from = isObject(raw) ? raw : {};
  const base = newDashboard(typeof from.uid === 'string' ? from.uid : '');
  const list = (value: unknown): Json[] => (Array.isArray(value) ? value.filter(isObject) : []);
  const made = fill(base as unknown as Json, from) as unknown as Dashboard;
  made.tags = (Array.isArray(from.tags) ? from.tags : []).filter((tag): tag is string => typeof tag === 'string');
  made.variables = list(from.variables).map((item) => {
    const variable = fill(newVariable('') as unknown as Json, item) as unknown as Variable;
    variable.current = (Array.isArray(item.current) ? item.current : []).map(String);
    return variable;
  });
  made.annotations = list(from.annotations).map((item) => fill({ name: '', expr: '', title: '', tone: 's1', on: true }, item) as unknown as Annotation);
  made.links = list(from.links).map((item) => fill({ title: '', url: '' }, item) as unknown as Link);
  const seen = new Set<number>();
  made.panels = list(from.panels).map((item, i) => {
    const type = PANEL_TYPES.find(([name]) => name === item.type)?.[0] ?? 'text';
    const grid = fill({ x: 0, y: i * 8, w: 12, h: 8 }, isObject(item.grid) ? item.grid : {}) as unknown as Grid;
    const panel = fill(newPanel(type, clamped(grid), i + 1) as unknown as Json, { ...item, type, grid: clamped(grid) }) as unknown as Panel;
    for (const key of ['decimals', 'min', 'max'] as const) panel[key] = typeof item[key] === 'number' && Number.isFinite(item[key]) ? (item[key] as number) : null;
    panel.targets = list(item.targets).map((target, n) => fill(newTarget('', letter(n)) as unknown as Json, target) as unknown as Target);
    panel.thresholds = list(item.thresholds).map((limit) => ({ from: typeof limit.from === 'number' ? limit.from : null, tone: (typeof limit.tone === 'string' ? limit.tone : 'ok') as Tone }));
    panel.mappings = list(item.mappings).map((mapping) => ({ text: '', ...mapping }) as Mapping);
    panel.overrides = list(item.overrides).map((override) => ({ name: '', ...override }) as Override);
    panel.transformations = list(item.transformations).map((step) => ({ id: String(step.id ?? ''), options: isObject(step.options) ? step.options : {} }));
    while (seen.has(panel.id) || panel.id < 1) panel.id = Math.max(0, ...seen) + 1;
    seen.add(panel.id);
    return panel;
  });
  return made;
}

/** `base` with those fields of `from` that have the same type. */
function fill(base: Json, from: Json): Json {
  const out: Json = { ...base };
  for (const [key, value] of Object.entries(from)) {
    const known = base[key];
    if (known === undefined || value === null || value === undefined) continue;
    if (known === null || typeof known === typeof value) out[key] = value;
  }
  return out;
}

export const letter = (n: number): string => (n < 26 ? String.fromCharCode(65 + n) : `${String.fromCharCode(65 + (n % 26))}${Math.floor(n / 26)}`);

export function clamped(grid: Grid): Grid {
  const w = Math.min(COLUMNS, Math.max(1, Math.round(grid.w)));
  return { x: Math.min(COLUMNS - w, Math.max(0, Math.round(grid.x))), y: Math.max(0, Math.round(grid.y)), w, h: Math.max(1, Math.round(grid.h)) };
}
