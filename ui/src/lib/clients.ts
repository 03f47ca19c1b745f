// Client-side errors as the page shows them: phases of a request, how bad a share is, which cohort misses most, names of places.
import type { CohortRow } from '../api/clients.ts';

export interface Phase {
  key: string;
  text: string;
  groups: string[];
  /** A CSS variable. */
  color: string;
}
/** Where in a request's life it failed, in that order. Groups are the collector's (`Group` in crates/clients/src/class.rs). */
export const PHASES: readonly Phase[] = [
  { key: 'dns', text: 'Name resolution', groups: ['dns'], color: '--s1' },
  { key: 'connect', text: 'Connection', groups: ['tcp', 'unreachable'], color: '--s2' },
  { key: 'tls', text: 'TLS', groups: ['tls'], color: '--s3' },
  { key: 'certificate', text: 'Certificate', groups: ['certificate'], color: '--s4' },
  { key: 'protocol', text: 'HTTP/2, HTTP/3', groups: ['protocol'], color: '--s5' },
  { key: 'response', text: 'Response', groups: ['response', 'timeout'], color: '--s6' },
  { key: 'server', text: 'Status 5xx', groups: ['server_error'], color: '--s7' },
];
/** Groups that are no failures of the service, and what they are called. */
export const BESIDE: readonly { group: string; text: string }[] = [
  { group: 'client_error', text: 'Status 4xx' },
  { group: 'address_changed', text: 'Other address' },
  { group: 'abandoned', text: 'Given up by the user' },
  { group: 'local', text: "Client's own network" },
];
export const DIMENSIONS: readonly { key: string; text: string; one: string }[] = [
  { key: 'country', text: 'Countries', one: 'Country' },
  { key: 'asn', text: 'Networks', one: 'Network' },
  { key: 'pop', text: 'Points of presence', one: 'Point of presence' },
  { key: 'protocol', text: 'Protocols', one: 'Protocol' },
  { key: 'browser', text: 'Browsers', one: 'Browser' },
  { key: 'origin', text: 'Origins', one: 'Origin' },
];

export interface PhaseCount extends Phase {
  count: number;
}
/** Failures by phase, those above zero. */
export function phasesOf(groups: Readonly<Record<string, number>>): PhaseCount[] {
  return PHASES.map((phase) => ({ ...phase, count: phase.groups.reduce((sum, group) => sum + (groups[group] ?? 0), 0) })).filter((phase) => phase.count > 0);
}
export const phaseOf = (group: string): Phase | undefined => PHASES.find((phase) => phase.groups.includes(group));
export const groupName = (group: string): string => phaseOf(group)?.text ?? BESIDE.find((one) => one.group === group)?.text ?? group.replaceAll('_', ' ');

/** Failures beyond what is usual. */
export const excess = (row: CohortRow): number => Math.max(0, row.failures - row.baseline * row.requests);

export type Tone = 'ok' | 'warning' | 'critical';
/**
 * How a cohort stands: critical when even the lower bound of its failing share is three times what is usual and 0.5 %, as the
 * detector judges; a warning when only the estimate is.
 */
export function toneOf(row: CohortRow): Tone {
  const limit = Math.max(3 * row.baseline, 0.005);
  return row.lower > limit ? 'critical' : row.ratio > limit ? 'warning' : 'ok';
}
/** The cohorts of one dimension, the most failures beyond the usual first, then the largest. */
export const ranked = (rows: readonly CohortRow[], dimension: string): CohortRow[] =>
  rows.filter((row) => row.cohort === dimension).sort((a, b) => excess(b) - excess(a) || b.requests - a.requests || a.value.localeCompare(b.value));

/** Steps of the map's scale: a share up to `to` has step `i`. */
export const STEPS: readonly { to: number; text: string }[] = [
  { to: 0.005, text: '< 0.5%' },
  { to: 0.01, text: '0.5–1%' },
  { to: 0.03, text: '1–3%' },
  { to: 0.1, text: '3–10%' },
  { to: Number.POSITIVE_INFINITY, text: '> 10%' },
];
export const step = (share: number): number => STEPS.findIndex((one) => share <= one.to || one.to === Number.POSITIVE_INFINITY);

let names: Intl.DisplayNames | undefined;
/** `Germany` for `DE`; other values as they are. */
export function cohortName(dimension: string, value: string): string {
  if (dimension === 'global') return 'Everybody';
  if (dimension !== 'country' || !/^[A-Z]{2}$/.test(value)) return value;
  names ??= new Intl.DisplayNames(['en'], { type: 'region', fallback: 'code' });
  return names.of(value) ?? value;
}

/** A selector for the collector's series of one cohort. */
export function series(metric: string, labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  return `${metric}{${pairs.join(',')}}`;
}

export interface Box<T> {
  item: T;
  x: number;
  y: number;
  w: number;
  h: number;
}
/**
 * A squarified treemap (Bruls, Huizing, van Wijk, 2000) of `items` in `width` × `height`: areas are proportional to `size`, the
 * largest first. Items without a size are left out.
 */
export function treemap<T>(items: readonly T[], size: (item: T) => number, width: number, height: number): Box<T>[] {
  const left = items.map((item) => ({ item, size: size(item) })).filter((one) => one.size > 0).sort((a, b) => b.size - a.size);
  const total = left.reduce((sum, one) => sum + one.size, 0);
  const out: Box<T>[] = [];
  let [x, y, w, h] = [0, 0, width, height];
  let rest = total;
  while (left.length && w > 0 && h > 0) {
    const scale = (w * h) / rest;
    const side = Math.min(w, h);
    const worst = (count: number): number => {
      const row = left.slice(0, count);
      const area = row.reduce((sum, one) => sum + one.size, 0) * scale;
      const thick = area / side;
      return Math.max(...row.map((one) => Math.max((one.size * scale) / thick ** 2, thick ** 2 / (one.size * scale))));
    };
    let count = 1;
    while (count < left.length && worst(count + 1) <= worst(count)) count++;
    const row = left.splice(0, count);
    const sum = row.reduce((all, one) => all + one.size, 0);
    // The last row takes what is left, so that rounding leaves no gap.
    const thick = left.length ? (sum * scale) / side : w <= h ? h : w;
    let along = 0;
    for (const one of row) {
      const long = (one.size / sum) * side;
      out.push(w <= h ? { item: one.item, x: x + along, y, w: long, h: thick } : { item: one.item, x, y: y + along, w: thick, h: long });
      along += long;
    }
    if (w <= h) [y, h] = [y + thick, h - thick];
    else [x, w] = [x + thick, w - thick];
    rest -= sum;
  }
  return out;
}
