// From the answers of a panel's queries to what it draws.
import type { QueryData, Series } from '../../api/prom.ts';
import { distinguishing, labelKey, seriesName, type Labels } from '../labels.ts';
import type { Columns, Line } from '../series.ts';
import type { Override, Panel, Target } from './model.ts';

export interface Answered {
  target: Target;
  data: QueryData | undefined;
  error: string | undefined;
  warnings: string[];
}

/** `{{label}}` filled in. */
export const legendOf = (pattern: string, labels: Labels): string => pattern.replace(/\{\{\s*([^}\s]+)\s*\}\}/g, (_, name: string) => labels[name] ?? '');

export function overridesOf(name: string, overrides: readonly Override[]): Override | undefined {
  const hits = overrides.filter((override) => {
    const pattern = /^\/(.*)\/([a-z]*)$/s.exec(override.name);
    if (!pattern) return override.name === name;
    try {
      return new RegExp(pattern[1] ?? '', pattern[2]).test(name);
    } catch {
      return false;
    }
  });
  return hits.length ? Object.assign({}, ...hits) : undefined;
}

export interface PanelLine extends Line {
  override: Override | undefined;
}
export interface PanelColumns extends Columns {
  lines: PanelLine[];
}

/** Lines of all queries on one even grid (`step` in seconds). At most `limit` are kept, the highest. */
export function linesOf(answers: readonly Answered[], from: number, to: number, step: number, panel: Panel, limit = 100): PanelColumns {
  const start = Math.floor(from / 1000 / step) * step;
  const steps = Math.max(1, Math.floor((Math.floor(to / 1000 / step) * step - start) / step) + 1);
  const times = Array.from({ length: steps }, (_, i) => start + i * step);
  const all = answers.flatMap(({ target, data }) => seriesOf(data).map((series) => ({ target, series, data })));
  const distinct = distinguishing(all.map(({ series }) => series.metric));
  const lines = all.map(({ target, series, data }): PanelLine => {
    const values = new Array<number | null>(steps).fill(null);
    for (const [time, text] of series.values ?? []) {
      // The one sample of an instant query is the newest, wherever the grid ends.
      const i = data?.resultType === 'matrix' ? Math.round((time - start) / step) : steps - 1;
      const value = Number(text);
      if (i >= 0 && i < steps && Number.isFinite(value)) values[i] = value;
    }
    const plain = target.legend ? legendOf(target.legend, series.metric) : seriesName(series.metric, distinct);
    const override = overridesOf(plain, panel.overrides);
    if (override?.negative) values.forEach((value, i) => (values[i] = value === null ? null : -value));
    return { key: `${target.ref} ${labelKey(series.metric)}`, name: override?.label || plain || 'value', labels: series.metric, values, override };
  });
  const weight = (line: PanelLine): number => line.values.reduce<number>((sum, value) => sum + Math.abs(value ?? 0), 0);
  const kept = lines.length > limit ? [...lines].sort((a, b) => weight(b) - weight(a)).slice(0, limit) : lines;
  return { times, lines: kept.filter((line) => !line.override?.hidden), total: lines.length };
}

function seriesOf(data: QueryData | undefined): Series[] {
  if (!data) return [];
  if (data.resultType === 'matrix') return data.result;
  if (data.resultType === 'vector') return data.result.map((sample) => ({ metric: sample.metric, ...(sample.value ? { values: [sample.value] } : {}) }));
  return [{ metric: {}, values: [data.result] }];
}

export interface Heat {
  /** Seconds since the epoch, one a column. */
  times: number[];
  /** Upper and lower edge of each row, ascending; texts where edges are no numbers. */
  rows: { low: number; high: number; text: string }[];
  /** By row, then column. */
  counts: (number | null)[][];
  max: number;
}

/** A heat map from cumulative `le` buckets, native histograms, or any series (a row each). */
export function heatOf(answers: readonly Answered[], from: number, to: number, step: number): Heat {
  const start = Math.floor(from / 1000 / step) * step;
  const columns = Math.max(1, Math.floor((Math.floor(to / 1000 / step) * step - start) / step) + 1);
  const times = Array.from({ length: columns }, (_, i) => start + i * step);
  const at = (time: number): number => Math.round((time - start) / step);
  const all = answers.flatMap(({ target, data }) => seriesOf(data).map((series) => ({ target, series })));
  const native = all.filter(({ series }) => series.histograms?.length);
  if (native.length) return nativeHeat(native.map(({ series }) => series), times, at);
  const classic = all.filter(({ target, series }) => target.format === 'heatmap' && series.metric.le !== undefined);
  const empty = (): (number | null)[] => new Array<number | null>(columns).fill(null);
  if (classic.length === 0) {
    const rows = all.map(({ target, series }) => ({ low: 0, high: 0, text: target.legend ? legendOf(target.legend, series.metric) : seriesName(series.metric, distinguishing(all.map((one) => one.series.metric))) }));
    const counts = all.map(({ series }) => {
      const row = empty();
      for (const [time, text] of series.values ?? []) row[at(time)] = Number.isFinite(Number(text)) ? Number(text) : null;
      return row;
    });
    return { times, rows, counts, max: highest(counts) };
  }
  // Several series with one `le` (no `sum by (le)` was written) are added up.
  const sums = new Map<number, (number | null)[]>();
  for (const { series } of classic) {
    const edge = Number((series.metric.le ?? '').replace('+Inf', 'Infinity'));
    const row = sums.get(edge) ?? empty();
    for (const [time, text] of series.values ?? []) {
      const i = at(time);
      const value = Number(text);
      if (i >= 0 && i < columns && Number.isFinite(value)) row[i] = (row[i] ?? 0) + value;
    }
    sums.set(edge, row);
  }
  const edges = [...sums.keys()].sort((a, b) => a - b);
  const rows = edges.map((high, i) => ({ low: edges[i - 1] ?? Math.min(0, high), high, text: '' }));
  const counts = edges.map((edge, i) => {
    const row = sums.get(edge) ?? [];
    const below = i > 0 ? sums.get(edges[i - 1] ?? 0) : undefined;
    return row.map((value, c) => (value === null ? null : Math.max(0, value - (below?.[c] ?? 0))));
  });
  return { times, rows, counts, max: highest(counts) };
}

function nativeHeat(list: readonly Series[], times: number[], at: (time: number) => number): Heat {
  const cells = new Map<string, { low: number; high: number; row: (number | null)[] }>();
  for (const series of list) {
    for (const [time, histogram] of series.histograms ?? []) {
      const i = at(time);
      if (i < 0 || i >= times.length) continue;
      for (const [, low, high, count] of histogram.buckets ?? []) {
        const key = `${low} ${high}`;
        const cell = cells.get(key) ?? { low: Number(low), high: Number(high), row: new Array<number | null>(times.length).fill(null) };
        cell.row[i] = (cell.row[i] ?? 0) + Number(count);
        cells.set(key, cell);
      }
    }
  }
  const sorted = [...cells.values()].sort((a, b) => a.low - b.low);
  return { times, rows: sorted.map(({ low, high }) => ({ low, high, text: '' })), counts: sorted.map(({ row }) => row), max: highest(sorted.map(({ row }) => row)) };
}
const highest = (counts: readonly (number | null)[][]): number => counts.reduce((top, row) => row.reduce<number>((most, value) => Math.max(most, value ?? 0), top), 0);

/** How many values fall into each of about `buckets` even steps. */
export function histogramOf(values: readonly number[], buckets = 24): { from: number; to: number; count: number }[] {
  const known = values.filter(Number.isFinite);
  if (known.length === 0) return [];
  const low = known.reduce((a, b) => Math.min(a, b));
  const high = known.reduce((a, b) => Math.max(a, b));
  const raw = (high - low) / buckets || Math.abs(high) / 10 || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const width = ([1, 2, 2.5, 5, 10].find((step) => step * power >= raw * 0.999) ?? 10) * power;
  const first = Math.floor(low / width);
  const count = Math.floor(high / width) - first + 1;
  const out = Array.from({ length: count }, (_, i) => ({ from: (first + i) * width, to: (first + i + 1) * width, count: 0 }));
  for (const value of known) {
    const bucket = out[Math.min(count - 1, Math.floor(value / width) - first)];
    if (bucket) bucket.count++;
  }
  return out;
}

export interface Span {
  from: number;
  to: number;
  value: number | null;
}
/** Neighbouring equal values as one span (seconds); gaps are spans of `null`. */
export function spansOf(times: readonly number[], values: readonly (number | null)[], step: number): Span[] {
  const out: Span[] = [];
  times.forEach((time, i) => {
    const value = values[i] ?? null;
    const last = out.at(-1);
    if (last && last.value === value) last.to = time + step;
    else out.push({ from: time, to: time + step, value });
  });
  return out;
}
