// Exemplars: single observations, most with the id of a trace.
import type { ExemplarSeries } from '../api/prom.ts';
import type { Labels } from './labels.ts';

export interface Dot {
  /** Seconds since the epoch. */
  time: number;
  value: number;
  /** Of the exemplar itself, such as `trace_id`. */
  labels: Labels;
  series: Labels;
}
/** At most `limit` of them, the latest first; what is no number is left out. */
export function dots(found: readonly ExemplarSeries[], limit = 500): Dot[] {
  const all = found.flatMap((one) => one.exemplars.map((exemplar) => ({ time: exemplar.timestamp, value: Number(exemplar.value), labels: exemplar.labels, series: one.seriesLabels })));
  return all.filter((dot) => Number.isFinite(dot.value)).sort((a, b) => b.time - a.time).slice(0, limit);
}
