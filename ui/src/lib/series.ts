// From a range query's matrix to columns that a chart draws.
import type { Series } from '../api/prom.ts';
import { distinguishing, labelKey, seriesName, type Labels } from './labels.ts';

export interface Line {
  key: string;
  name: string;
  labels: Labels;
  /** One per time; `null` where there is no sample. */
  values: (number | null)[];
}
export interface Columns {
  /** Seconds since the epoch, evenly spaced. */
  times: number[];
  lines: Line[];
  /** Series in the answer; `lines` may hold fewer. */
  total: number;
}
export interface Stats {
  min: number;
  max: number;
  mean: number;
  last: number;
}

/** Lines on the even grid `from..to` (milliseconds) by `step` (seconds); the `limit` series with the highest mean are kept, in that order. */
export function columns(result: readonly Series[], from: number, to: number, step: number, limit = 100): Columns {
  const start = Math.floor(from / 1000 / step) * step;
  const steps = Math.max(1, Math.floor((Math.floor(to / 1000 / step) * step - start) / step) + 1);
  const times = Array.from({ length: steps }, (_, i) => start + i * step);
  const ranked = result
    .map((series) => ({ series, weight: weigh(series) }))
    .sort((a, b) => b.weight - a.weight)
    .slice(0, limit);
  const distinct = distinguishing(result.map((series) => series.metric));
  const lines = ranked.map(({ series }) => {
    const values = new Array<number | null>(steps).fill(null);
    for (const [time, text] of series.values ?? []) {
      const i = Math.round((time - start) / step);
      if (i >= 0 && i < steps) values[i] = finite(text);
    }
    return { key: labelKey(series.metric), name: seriesName(series.metric, distinct), labels: series.metric, values };
  });
  return { times, lines, total: result.length };
}

/** `null` for what cannot be drawn (NaN and the infinities). */
function finite(text: string): number | null {
  const value = Number(text);
  return Number.isFinite(value) ? value : null;
}

function weigh(series: Series): number {
  let sum = 0;
  let n = 0;
  for (const [, text] of series.values ?? []) {
    const value = Number(text);
    if (!Number.isFinite(value)) continue;
    sum += value;
    n++;
  }
  return n ? sum / n : Number.NEGATIVE_INFINITY;
}

/** Minimum, maximum, mean and last of the samples; all NaN when there are none. */
export function stats(values: readonly (number | null)[]): Stats {
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  let sum = 0;
  let n = 0;
  let last = Number.NaN;
  for (const value of values) {
    if (value === null) continue;
    if (value < min) min = value;
    if (value > max) max = value;
    sum += value;
    n++;
    last = value;
  }
  return n ? { min, max, mean: sum / n, last } : { min: Number.NaN, max: Number.NaN, mean: Number.NaN, last };
}

/** Lines summed from the first upwards, for stacked areas; missing samples count as nothing. */
export function stacked(lines: readonly Line[]): (number | null)[][] {
  const sums: number[] = [];
  return lines.map((line) =>
    line.values.map((value, i) => {
      if (value !== null) sums[i] = (sums[i] ?? 0) + value;
      return value === null ? null : (sums[i] ?? null);
    }),
  );
}
