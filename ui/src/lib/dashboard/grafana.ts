// Reads Grafana's dashboard JSON (the classic model, schema versions 14 to 41) and says of every part what became of it.
// Source: Grafana's documentation, "Dashboard JSON model", and the panels' option names as dashboards in the field have them.
import { COLUMNS, clamped, letter, newDashboard, newPanel, newTarget, newUid, newVariable, type Annotation, type Dashboard, type Mapping, type Override, type Panel, type PanelType, type Reduce, type Target, type Threshold, type Tone, type Variable } from './model.ts';
import { SUPPORTED } from './transform.ts';
import { known } from '../units.ts';

export type Outcome = 'converted' | 'approximated' | 'skipped';
export interface Report {
  what: 'panel' | 'row' | 'variable' | 'annotation' | 'link' | 'dashboard';
  name: string;
  /** Of panels: Grafana's id and type. */
  detail: string;
  outcome: Outcome;
  reasons: string[];
}
export interface Imported {
  dashboard: Dashboard;
  report: Report[];
}
type Json = Record<string, unknown>;
const object = (value: unknown): Json => (typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : {});
const list = (value: unknown): Json[] => (Array.isArray(value) ? value.map(object) : []);
const text = (value: unknown): string => (typeof value === 'string' ? value : typeof value === 'number' ? String(value) : '');
const number = (value: unknown): number | null => (typeof value === 'number' && Number.isFinite(value) ? value : typeof value === 'string' && value.trim() !== '' && Number.isFinite(Number(value)) ? Number(value) : null);

/** Grafana's panel types and ours; the second entry says what is lost. */
const TYPES: Record<string, [PanelType, string?]> = {
  timeseries: ['timeseries'],
  graph: ['timeseries'],
  stat: ['stat'],
  singlestat: ['stat'],
  gauge: ['gauge'],
  bargauge: ['bargauge'],
  table: ['table'],
  'table-old': ['table'],
  heatmap: ['heatmap'],
  histogram: ['histogram'],
  'state-timeline': ['state-timeline'],
  'status-history': ['state-timeline', 'drawn as a state timeline'],
  text: ['text'],
  alertlist: ['alertlist'],
  row: ['row'],
  barchart: ['bargauge', 'drawn as a bar gauge'],
  piechart: ['bargauge', 'drawn as a bar gauge: lengths compare better than angles'],
  'grafana-piechart-panel': ['bargauge', 'drawn as a bar gauge: lengths compare better than angles'],
  'grafana-polystat-panel': ['stat', 'drawn as stats'],
  trend: ['timeseries', 'the x axis is time'],
};

/** Whether this looks like a Grafana dashboard; exports may wrap it as `{dashboard, meta}`. */
export function isGrafana(raw: unknown): boolean {
  const from = object(object(raw).dashboard ?? raw);
  return 'schemaVersion' in from || Array.isArray(from.rows) || list(from.panels).some((panel) => 'gridPos' in panel || 'fieldConfig' in panel);
}

export function importGrafana(raw: unknown): Imported {
  const from = object(object(raw).dashboard ?? raw);
  const report: Report[] = [];
  const made = newDashboard(/^[\w-]{1,40}$/.test(text(from.uid)) ? text(from.uid) : newUid());
  made.title = text(from.title) || 'Imported dashboard';
  made.description = text(from.description);
  made.tags = (Array.isArray(from.tags) ? from.tags : []).map(text).filter(Boolean);
  const time = object(from.time);
  made.from = text(time.from).replace(/\/[a-zA-Z]+$/, '') || 'now-1h';
  made.to = text(time.to).replace(/\/[a-zA-Z]+$/, '') || 'now';
  made.refresh = text(from.refresh) || 'off';
  made.timezone = from.timezone === 'utc' ? 'utc' : from.timezone === 'browser' ? 'browser' : '';
  made.crosshair = from.graphTooltip === undefined || from.graphTooltip === 0 ? false : true;
  if (/\/[a-zA-Z]+$/.test(text(time.from))) report.push({ what: 'dashboard', name: 'time range', detail: text(time.from), outcome: 'approximated', reasons: ['the range is not rounded to whole days or weeks'] });
  if (list(from.panels).length === 0 && from.elements !== undefined) report.push({ what: 'dashboard', name: made.title, detail: '', outcome: 'skipped', reasons: ['schema version 2 is not read; export it as "classic"'] });

  const inputs = new Map(list(from.__inputs).map((input) => [text(input.name), text(input.value)]));
  made.variables = list(object(from.templating).list).flatMap((item) => variable(item, report, inputs));
  made.annotations = list(object(from.annotations).list).flatMap((item) => annotation(item, report));
  for (const link of list(from.links)) {
    const url = text(link.url);
    if (link.type === 'link' && /^(https?:\/\/|\/)/.test(url)) {
      made.links.push({ title: text(link.title) || url, url });
      report.push({ what: 'link', name: text(link.title) || url, detail: '', outcome: 'converted', reasons: [] });
    } else report.push({ what: 'link', name: text(link.title) || text(link.type) || 'link', detail: '', outcome: 'skipped', reasons: ['lists of other dashboards by tag are not shown; the command palette finds them'] });
  }
  made.panels = panels(from, report);
  return { dashboard: made, report };
}

function variable(from: Json, report: Report[], inputs: Map<string, string>): Variable[] {
  const made = newVariable(text(from.name));
  const say = (outcome: Outcome, ...reasons: string[]): void => void report.push({ what: 'variable', name: made.name, detail: text(from.type), outcome, reasons });
  made.label = text(from.label);
  made.hidden = from.hide === 2;
  made.multi = from.multi === true;
  made.all = from.includeAll === true;
  made.allValue = text(from.allValue);
  made.regex = text(from.regex);
  const sorts: Variable['sort'][] = ['none', 'name', 'name-desc', 'number', 'number-desc', 'name', 'name-desc', 'name', 'name-desc'];
  made.sort = sorts[number(from.sort) ?? 0] ?? 'none';
  const current = object(from.current).value;
  made.current = (Array.isArray(current) ? current : [current]).map(text).filter(Boolean);
  const query = typeof from.query === 'object' && from.query !== null ? text(object(from.query).query) : text(from.query);
  made.query = query;
  switch (from.type) {
    case 'query': {
      made.type = 'query';
      const uid = text(object(from.datasource).type);
      if (uid && uid !== 'prometheus' && !uid.startsWith('$')) {
        say('skipped', `its values come from a data source of type ${uid}`);
        return [];
      }
      if (!query) {
        say('skipped', 'it has no query');
        return [];
      }
      say('converted');
      return [made];
    }
    case 'custom':
      made.type = 'custom';
      say('converted');
      return [made];
    case 'interval':
      made.type = 'interval';
      made.query = query || list(from.options).map((option) => text(option.value)).join(',');
      if (made.query.includes('$__auto') || from.auto === true) say('approximated', '"auto" is not offered; $__interval does the same');
      else say('converted');
      return [made];
    case 'constant': {
      made.type = 'constant';
      const input = /^\$\{(\w+)\}$/.exec(query)?.[1];
      made.query = input ? (inputs.get(input) ?? query) : query;
      made.hidden = true;
      say('converted');
      return [made];
    }
    case 'textbox':
      made.type = 'text';
      say('converted');
      return [made];
    case 'datasource':
      say('approximated', 'every panel asks this server, so there is nothing to choose');
      return [];
    case 'adhoc':
      say('skipped', 'filters that apply to every query are not supported');
      return [];
    default:
      say('skipped', `variables of type ${text(from.type) || 'unknown'} are not supported`);
      return [];
  }
}

function annotation(from: Json, report: Report[]): Annotation[] {
  const name = text(from.name) || 'annotations';
  const say = (outcome: Outcome, ...reasons: string[]): void => void report.push({ what: 'annotation', name, detail: '', outcome, reasons });
  if (from.builtIn === 1) {
    say('skipped', 'annotations made by hand in Grafana are stored there, not in the dashboard');
    return [];
  }
  const expr = text(from.expr) || text(object(from.target).expr);
  if (!expr) {
    say('skipped', 'it has no PromQL expression');
    return [];
  }
  say('converted');
  return [{ name, expr, title: text(from.titleFormat) || text(from.textFormat), tone: 's5', on: from.enable !== false }];
}

/** Panels of both layouts: `panels` with positions, or the older `rows` with spans. */
function panels(from: Json, report: Report[]): Panel[] {
  const out: Panel[] = [];
  let id = 1;
  let y = 0;
  const add = (raw: Json, at: { x: number; y: number; w: number; h: number }): void => {
    const made = panel(raw, id, report);
    if (!made) return;
    made.grid = clamped(at);
    out.push(made);
    id++;
  };
  const position = (raw: Json): { x: number; y: number; w: number; h: number } => {
    const grid = object(raw.gridPos);
    return { x: number(grid.x) ?? 0, y: number(grid.y) ?? y, w: number(grid.w) ?? 12, h: number(grid.h) ?? 8 };
  };
  for (const raw of list(from.panels)) {
    const at = position(raw);
    add(raw, raw.type === 'row' ? { ...at, x: 0, w: COLUMNS, h: 1 } : at);
    y = Math.max(y, at.y + at.h);
    // A collapsed row holds its panels itself, at positions from when it was open: below the row, in their own order.
    const nested = raw.type === 'row' ? list(raw.panels) : [];
    const top = Math.min(...nested.map((inner) => position(inner).y));
    for (const inner of nested) {
      const where = position(inner);
      add(inner, { ...where, y: at.y + 1 + where.y - top });
    }
    if (nested.length) y = Math.max(y, ...out.map((made) => made.grid.y + made.grid.h));
  }
  for (const row of list(from.rows)) {
    const height = Math.max(2, Math.round((number(text(row.height).replace('px', '')) ?? 250) / 34));
    if (row.showTitle === true || text(row.repeat) || row.collapse === true) {
      add({ ...row, type: 'row', collapsed: row.collapse, panels: [] }, { x: 0, y, w: COLUMNS, h: 1 });
      y++;
    }
    let x = 0;
    let below = y;
    for (const raw of list(row.panels)) {
      const w = Math.round(((number(raw.span) ?? 12) / 12) * COLUMNS);
      const h = number(text(raw.height).replace('px', '')) === null ? height : Math.max(2, Math.round((number(text(raw.height).replace('px', '')) ?? 250) / 34));
      if (x + w > COLUMNS) [x, y] = [0, below];
      add(raw, { x, y, w, h });
      x += w;
      below = Math.max(below, y + h);
    }
    y = below;
  }
  return untangled(out);
}

/** Rows that were closed left room for one line only: what comes after an opened one moves down. */
function untangled(made: Panel[]): Panel[] {
  let shift = 0;
  let last = 0;
  let bottom = 0;
  return made.map((item) => {
    if (item.type === 'row') {
      shift = Math.max(0, bottom - item.grid.y);
      last = item.grid.y + shift;
    }
    const grid = { ...item.grid, y: Math.max(item.grid.y + shift, item.type === 'row' ? last : 0) };
    bottom = Math.max(bottom, grid.y + grid.h);
    return { ...item, grid };
  });
}

function panel(from: Json, id: number, report: Report[]): Panel | undefined {
  const type = text(from.type);
  const name = text(from.title) || `(${type || 'panel'})`;
  const reasons: string[] = [];
  const say = (outcome: Outcome): void => void report.push({ what: type === 'row' ? 'row' : 'panel', name, detail: `${text(from.id)} ${type}`.trim(), outcome, reasons });
  const known = TYPES[type];
  if (from.libraryPanel !== undefined && !known) {
    reasons.push('it is a library panel, whose definition is not in the file');
    say('skipped');
    return placeholder(from, id, name, reasons[0] ?? '');
  }
  if (!known) {
    reasons.push(`panels of type ${type || 'unknown'} are not supported`);
    say('skipped');
    return placeholder(from, id, name, reasons[0] ?? '');
  }
  if (known[1]) reasons.push(known[1]);
  const made = newPanel(known[0], { x: 0, y: 0, w: 12, h: 8 }, id);
  made.title = text(from.title);
  made.description = text(from.description);
  made.repeat = text(from.repeat);
  made.repeatDown = from.repeatDirection === 'v';
  if (made.type === 'row') {
    made.collapsed = from.collapsed === true;
    say('converted');
    return made;
  }
  const options = object(from.options);
  if (made.type === 'text') {
    const mode = text(options.mode) || text(from.mode) || 'markdown';
    made.text = text(options.content) || text(from.content);
    if (mode === 'html') {
      made.text = stripped(made.text);
      reasons.push('HTML is shown as text: markup from elsewhere is not run');
    }
    say(reasons.length ? 'approximated' : 'converted');
    return made;
  }
  if (made.type === 'alertlist') {
    made.filter = text(options.alertName) || text(options.alertInstanceLabelFilter).replace(/[{}"]/g, '');
    if (text(options.dashboardTitle) || text(options.folder)) reasons.push('alerts are not filtered by dashboard or folder');
    say(reasons.length ? 'approximated' : 'converted');
    return made;
  }
  made.targets = targets(from, made.type, reasons);
  if (made.targets.length === 0 && list(from.targets).length > 0) {
    say('skipped');
    return placeholder(from, id, name, reasons.join('; '));
  }
  if (made.targets.length === 0) {
    reasons.push('it has no query');
  }
  const config = object(from.fieldConfig);
  const defaults = object(config.defaults);
  fields(made, defaults, reasons);
  look(made, object(defaults.custom), options, from, reasons);
  made.overrides = list(config.overrides).flatMap((item) => override(item, reasons));
  if (type === 'graph') oldGraph(made, from, reasons);
  if (type === 'singlestat') oldStat(made, from);
  if (type === 'table-old') reasons.push('column styles are not read');
  for (const step of list(from.transformations)) {
    const what = text(step.id);
    if (step.disabled === true) continue;
    made.transformations.push({ id: what, options: object(step.options) });
    if (!SUPPORTED.has(what)) reasons.push(`transformation ${what} is not applied`);
  }
  if (text(from.timeFrom) || text(from.timeShift)) reasons.push('its own time range or shift is not applied');
  if (list(from.links).length || list(defaults.links).length) reasons.push('links of panels are not shown');
  if (object(from.alert).name !== undefined) reasons.push('its alert is not taken over: make a rule of it');
  say(reasons.length ? 'approximated' : 'converted');
  return made;
}

/** What stands where a panel could not be converted. */
function placeholder(from: Json, id: number, name: string, reason: string): Panel {
  const made = newPanel('text', { x: 0, y: 0, w: 12, h: 8 }, id);
  made.title = name;
  made.text = `*Not converted: ${reason}.*\n\nThe original is kept with the dashboard.`;
  made.repeat = text(from.repeat);
  return made;
}

const stripped = (html: string): string =>
  html
    .replace(/<(script|style)[\s\S]*?<\/\1>/gi, '')
    .replace(/<br\s*\/?>|<\/(p|div|li|h\d)>/gi, '\n')
    .replace(/<[^>]*>/g, '')
    .trim();

function targets(from: Json, type: PanelType, reasons: string[]): Target[] {
  const out: Target[] = [];
  list(from.targets).forEach((raw, i) => {
    const expr = text(raw.expr);
    const source = text(object(raw.datasource ?? from.datasource).type);
    if (!expr) {
      const what = source && source !== 'prometheus' && source !== 'datasource' ? `a data source of type ${source}` : 'something other than PromQL';
      if (text(raw.target) || text(raw.rawSql) || text(raw.query) || source) reasons.push(`query ${text(raw.refId) || letter(i)} asks ${what}`);
      return;
    }
    const legend = text(raw.legendFormat);
    out.push({
      ...newTarget(expr, text(raw.refId) || letter(out.length)),
      legend: legend === '__auto' ? '' : legend,
      instant: raw.instant === true && raw.range !== true,
      hidden: raw.hide === true,
      interval: text(raw.interval).replace(/^[<>]=?\s*/, ''),
      format: raw.format === 'table' ? 'table' : raw.format === 'heatmap' || type === 'heatmap' ? 'heatmap' : 'series',
    });
    if (raw.format === 'table' && raw.instant === undefined && type === 'table') out[out.length - 1] = { ...(out.at(-1) as Target), instant: true };
  });
  return out;
}

const TONES: [RegExp, Tone][] = [[/red/i, 'critical'], [/orange|yellow/i, 'warning'], [/green/i, 'ok'], [/purple|violet/i, 'nodata'], [/blue/i, 's1']];
/** Upper ends of the hue, in degrees, for which each tone stands. */
const HUES: [number, Tone][] = [[15, 'critical'], [68, 'warning'], [170, 'ok'], [255, 's1'], [310, 'nodata'], [335, 's4'], [361, 'critical']];
/** The state or series colour nearest in meaning to a colour that somebody picked, by name or by hue. */
export function tone(colour: string): Tone {
  const named = TONES.find(([pattern]) => pattern.test(colour))?.[1];
  if (named) return named;
  const hex = /^#([0-9a-f]{6}|[0-9a-f]{3})/i.exec(colour)?.[1];
  const wide = hex?.length === 3 ? hex.replace(/./g, '$&$&') : hex;
  const rgb = wide ? [0, 2, 4].map((at) => Number.parseInt(wide.slice(at, at + 2), 16)) : (/^rgba?\(([^)]+)\)/.exec(colour)?.[1] ?? '').split(',').slice(0, 3).map(Number);
  const [r = 0, g = 0, b = 0] = rgb;
  const span = Math.max(r, g, b) - Math.min(r, g, b);
  if (rgb.length < 3 || rgb.some(Number.isNaN) || span < 30) return 's8';
  const sector = r >= g && r >= b ? (g - b) / span : g >= b ? 2 + (b - r) / span : 4 + (r - g) / span;
  const hue = (sector * 60 + 360) % 360;
  return HUES.find(([end]) => hue < end)?.[1] ?? 's8';
}

function fields(made: Panel, defaults: Json, reasons: string[]): void {
  made.unit = text(defaults.unit);
  if (made.unit && !known(made.unit)) reasons.push(`unit ${made.unit} is written after the number as it is`);
  made.decimals = number(defaults.decimals);
  made.min = number(defaults.min);
  made.max = number(defaults.max);
  const thresholds = object(defaults.thresholds);
  made.percent = thresholds.mode === 'percentage';
  made.thresholds = limits(list(thresholds.steps));
  made.mappings = list(defaults.mappings).flatMap(mapping);
  const mode = text(object(defaults.color).mode);
  if (/^continuous-/.test(mode)) reasons.push('the continuous colour scale became the panel’s own');
  if (text(defaults.displayName) && made.targets[0] && !made.targets[0].legend) made.targets.forEach((target) => (target.legend = text(defaults.displayName).replace(/\$\{__field\.labels\.(\w+)\}/g, '{{$1}}')));
  if (text(defaults.noValue)) made.mappings.push({ value: 'null', text: text(defaults.noValue) });
}

/** Thresholds that all have the base colour say nothing and are dropped. */
function limits(steps: Json[]): Threshold[] {
  const out = steps.map((step, i): Threshold => ({ from: i === 0 ? null : number(step.value), tone: tone(text(step.color)) }));
  return out.length > 1 || (out[0] && out[0].tone !== 'ok') ? out : [];
}

function mapping(from: Json): Mapping[] {
  const paint = (result: Json): Mapping => ({ text: text(result.text), ...(text(result.color) ? { tone: tone(text(result.color)) } : {}) });
  const options = object(from.options);
  switch (from.type) {
    case 'value':
      return Object.entries(options).map(([value, result]) => ({ ...paint(object(result)), value, text: text(object(result).text) || value }));
    case 'range':
      return [{ ...paint(object(options.result)), range: [number(options.from), number(options.to)] }];
    case 'regex':
      return [{ ...paint(object(options.result)), regex: text(options.pattern) }];
    case 'special': {
      const match = text(options.match);
      return [{ ...paint(object(options.result)), value: match === 'null+nan' || match === 'empty' ? 'null' : match }];
    }
    case 1:
      return [{ value: text(from.value), text: text(from.text) }];
    case 2:
      return [{ range: [number(from.from), number(from.to)], text: text(from.text) }];
    default:
      return from.value !== undefined && from.text !== undefined ? [{ value: text(from.value), text: text(from.text) }] : [];
  }
}

const REDUCERS: Record<string, Reduce> = { last: 'last', lastNotNull: 'lastNotNull', mean: 'mean', avg: 'mean', max: 'max', min: 'min', sum: 'sum', total: 'sum', count: 'count', first: 'first', firstNotNull: 'first', current: 'lastNotNull', range: 'range', diff: 'diff', delta: 'diff', median: 'median' };

function look(made: Panel, custom: Json, options: Json, from: Json, reasons: string[]): void {
  const draw = text(custom.drawStyle);
  made.draw = draw === 'bars' ? 'bars' : draw === 'points' ? 'points' : /^step/.test(text(custom.lineInterpolation)) ? 'step' : 'line';
  made.fill = Math.min(1, (number(custom.fillOpacity) ?? 0) / 100);
  const stacking = text(object(custom.stacking).mode);
  made.stack = stacking === 'normal' || stacking === 'percent';
  if (stacking === 'percent') reasons.push('stacked as values, not as shares of 100 %');
  if (/^(log)/.test(text(object(custom.scaleDistribution).type))) reasons.push('the axis is linear, not logarithmic');
  if (text(custom.axisPlacement) === 'right') reasons.push('there is one axis, at the left');
  const limitStyle = text(object(custom.thresholdsStyle).mode);
  made.limits = limitStyle !== '' && limitStyle !== 'off';
  const legend = object(options.legend);
  made.legend = legend.showLegend === false || legend.displayMode === 'hidden' ? 'none' : legend.displayMode === 'table' ? 'table' : 'list';
  const reduce = object(options.reduceOptions);
  const calc = Array.isArray(reduce.calcs) ? text(reduce.calcs[0]) : '';
  if (calc) {
    made.reduce = REDUCERS[calc] ?? 'lastNotNull';
    if (!REDUCERS[calc]) reasons.push(`the calculation ${calc} became the last value`);
  }
  if (reduce.values === true) reasons.push('one number a series is shown, not one a row');
  made.spark = made.type === 'stat' && text(options.graphMode) !== 'none';
  made.colour = text(options.colorMode) === 'background' || text(options.colorMode) === 'background_solid' ? 'background' : text(options.colorMode) === 'none' ? 'none' : made.colour;
  made.horizontal = text(options.orientation) !== 'vertical';
  if (made.type === 'heatmap' && options.calculate !== true && from.dataFormat !== 'tsbuckets' && made.targets.every((target) => !/_bucket\b|histogram/.test(target.expr))) made.targets.forEach((target) => (target.format = 'series'));
  if (made.type === 'table') {
    if (list(options.sortBy).length) made.transformations.push({ id: 'sortBy', options: { sort: [{ field: text(list(options.sortBy)[0]?.displayName), desc: list(options.sortBy)[0]?.desc === true }] } });
    made.colour = 'none';
  }
}

/** Properties of overrides that are understood; the others are named in the report. */
function override(from: Json, reasons: string[]): Override[] {
  const matcher = object(from.matcher);
  const by = text(matcher.id);
  const names = by === 'byName' ? [text(matcher.options)] : by === 'byRegexp' ? [text(matcher.options).startsWith('/') ? text(matcher.options) : `/${text(matcher.options)}/`] : by === 'byNames' ? list([object(matcher.options)]).flatMap((inner) => (Array.isArray(inner.names) ? inner.names.map(text) : [])) : [];
  if (names.length === 0) {
    reasons.push(`an override for ${by === 'byFrameRefID' ? `query ${text(matcher.options)}` : by || 'unknown fields'} is not applied`);
    return [];
  }
  const made: Omit<Override, 'name'> = {};
  const lost = new Set<string>();
  for (const property of list(from.properties)) {
    const value = property.value;
    switch (property.id) {
      case 'unit':
        made.unit = text(value);
        break;
      case 'decimals':
        made.decimals = number(value) ?? 0;
        break;
      case 'displayName':
        made.label = text(value);
        break;
      case 'color':
        if (text(object(value).fixedColor)) made.tone = tone(text(object(value).fixedColor));
        break;
      case 'custom.transform':
        made.negative = value === 'negative-Y';
        break;
      case 'custom.stacking':
        made.stack = text(object(value).mode) !== 'none' && object(value).mode !== false;
        break;
      case 'custom.fillOpacity':
        made.fill = Math.min(1, (number(value) ?? 0) / 100);
        break;
      case 'custom.lineWidth':
        made.width = number(value) ?? 1;
        break;
      case 'custom.hidden':
        made.hidden = value === true;
        break;
      case 'custom.hideFrom':
        made.hidden = object(value).viz === true;
        break;
      case 'custom.width':
      case 'custom.align':
        break; // columns are as wide as what is in them
      default:
        lost.add(text(property.id));
    }
  }
  if (lost.size) reasons.push(`overrides of ${[...lost].join(', ')} are not applied`);
  return Object.keys(made).length ? names.map((name) => ({ name, ...made })) : [];
}

/** The graph panel of Grafana before 8. */
function oldGraph(made: Panel, from: Json, reasons: string[]): void {
  const axis = list(from.yaxes)[0] ?? {};
  made.unit = text(axis.format) === 'short' ? '' : text(axis.format);
  if (made.unit && !known(made.unit)) reasons.push(`unit ${made.unit} is written after the number as it is`);
  made.min = number(axis.min);
  made.max = number(axis.max);
  made.decimals = number(from.decimals);
  made.draw = from.bars === true ? 'bars' : from.lines === false && from.points === true ? 'points' : from.steppedLine === true ? 'step' : 'line';
  made.fill = Math.min(1, (number(from.fill) ?? 0) / 10);
  made.stack = from.stack === true;
  if (from.percentage === true) reasons.push('stacked as values, not as shares of 100 %');
  if ((number(axis.logBase) ?? 1) > 1) reasons.push('the axis is linear, not logarithmic');
  const legend = object(from.legend);
  made.legend = legend.show === false ? 'none' : legend.alignAsTable === true ? 'table' : 'list';
  for (const item of list(from.seriesOverrides)) {
    const lost = Object.keys(item).filter((key) => !['alias', 'color', 'stack', 'fill', 'transform', 'linewidth', 'hiddenSeries', '$$hashKey'].includes(key));
    if (lost.length) reasons.push(`series overrides of ${lost.join(', ')} are not applied`);
    const one: Override = { name: text(item.alias) };
    if (text(item.color)) one.tone = tone(text(item.color));
    if (item.stack === false) one.stack = false;
    if (number(item.fill) !== null) one.fill = Math.min(1, (number(item.fill) ?? 0) / 10);
    if (item.transform === 'negative-Y') one.negative = true;
    if (item.hiddenSeries === true) one.hidden = true;
    made.overrides.push(one);
  }
  made.thresholds = list(from.thresholds).length ? [{ from: null, tone: 'ok' }, ...list(from.thresholds).map((limit): Threshold => ({ from: number(limit.value), tone: limit.colorMode === 'critical' ? 'critical' : limit.colorMode === 'ok' ? 'ok' : 'warning' }))] : [];
  made.limits = made.thresholds.length > 0;
}

/** The single stat of Grafana before 7. */
function oldStat(made: Panel, from: Json): void {
  made.unit = text(from.format);
  made.decimals = number(from.decimals);
  made.reduce = REDUCERS[text(from.valueName)] ?? 'lastNotNull';
  made.spark = object(from.sparkline).show === true;
  const gauge = object(from.gauge);
  if (gauge.show === true) {
    made.type = 'gauge';
    made.min = number(gauge.minValue);
    made.max = number(gauge.maxValue);
  }
  const steps = text(from.thresholds).split(',').map((part) => number(part)).filter((value): value is number => value !== null);
  const colours = (Array.isArray(from.colors) ? from.colors : []).map(text);
  made.thresholds = steps.length ? [null, ...steps].map((value, i): Threshold => ({ from: value, tone: tone(colours[i] ?? 'green') })) : [];
  made.colour = from.colorBackground === true ? 'background' : from.colorValue === true || gauge.show === true ? 'value' : 'none';
  made.mappings = list(from.valueMaps).flatMap((item) => mapping({ value: item.value, text: item.text }));
  const prefix = text(from.prefix);
  const postfix = text(from.postfix);
  if (postfix && !made.unit) made.unit = `suffix:${postfix}`;
  if (prefix && !made.unit) made.unit = `prefix:${prefix}`;
}
