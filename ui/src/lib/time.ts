// Time ranges as people write them in an address (`now-6h`), and times as people read them.

/** Milliseconds in each unit letter of a Prometheus duration. */
const UNIT_MS: Record<string, number> = { ms: 1, s: 1e3, m: 6e4, h: 36e5, d: 864e5, w: 6048e5, y: 31536e6 };

/** A duration such as `1h30m` in milliseconds, or `undefined` when it is none. */
export function parseDuration(text: string): number | undefined {
  if (!/^(\d+(ms|[smhdwy]))+$/.test(text)) return undefined;
  let total = 0;
  for (const [, count, unit] of text.matchAll(/(\d+)(ms|[smhdwy])/g)) total += Number(count) * (UNIT_MS[unit ?? ''] ?? 0);
  return total;
}

/** A time such as `now`, `now-15m`, epoch milliseconds or ISO 8601, in milliseconds; `undefined` when it is none. */
export function parseTime(text: string, now: number): number | undefined {
  const relative = /^now(?:([+-])(.+))?$/.exec(text.trim());
  if (relative) {
    if (!relative[1]) return now;
    const span = parseDuration(relative[2] ?? '');
    if (span === undefined) return undefined;
    return relative[1] === '-' ? now - span : now + span;
  }
  if (/^\d{10,16}$/.test(text.trim())) {
    const value = Number(text);
    return value < 1e11 ? value * 1000 : value;
  }
  const value = Date.parse(/[zZ]|[+-]\d\d:?\d\d$/.test(text) ? text : `${text}Z`);
  return Number.isNaN(value) ? undefined : value;
}

export interface Range {
  from: number;
  to: number;
}

/** Both ends in milliseconds; falls back to the last hour when an end is unreadable or they are reversed. */
export function resolveRange(from: string, to: string, now: number): Range {
  const end = parseTime(to, now);
  const start = parseTime(from, now);
  if (end === undefined || start === undefined || start >= end) return { from: now - 36e5, to: now };
  return { from: start, to: end };
}

/** A step in seconds that gives about `points` points and is a round number, never under `min` seconds. */
export function niceStep(range: Range, points: number, min = 5): number {
  const raw = (range.to - range.from) / 1000 / Math.max(1, points);
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800];
  for (const step of steps) if (step >= raw && step >= min) return step;
  return Math.ceil(raw / 604800) * 604800;
}

/** Age or length, two units at most: `11 min`, `2 h 5 min`, `3 d 4 h`. */
export function ago(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  const m = Math.floor(s / 60);
  if (m < 60) return m < 10 && s % 60 ? `${m} min ${s % 60} s` : `${m} min`;
  const h = Math.floor(m / 60);
  if (h < 24) return m % 60 ? `${h} h ${m % 60} min` : `${h} h`;
  const d = Math.floor(h / 24);
  return h % 24 && d < 10 ? `${d} d ${h % 24} h` : `${d} d`;
}

/** The short form for controls: `15m`, `6h`, `7d`. */
export function shortSpan(ms: number): string {
  for (const [unit, size] of [['w', 6048e5], ['d', 864e5], ['h', 36e5], ['m', 6e4], ['s', 1e3]] as const) {
    if (ms >= size && ms % size === 0) return `${ms / size}${unit}`;
  }
  return `${Math.round(ms / 1000)}s`;
}

export type Zone = 'utc' | 'browser';

function format(ms: number, zone: Zone, options: Intl.DateTimeFormatOptions): string {
  return new Intl.DateTimeFormat('en-GB', { ...options, hourCycle: 'h23', ...(zone === 'utc' ? { timeZone: 'UTC' } : {}) }).format(ms);
}
/** `14:32:10`. */
export const clock = (ms: number, zone: Zone): string => format(ms, zone, { hour: '2-digit', minute: '2-digit', second: '2-digit' });
/** `14:32`. */
export const hourMinute = (ms: number, zone: Zone): string => format(ms, zone, { hour: '2-digit', minute: '2-digit' });
/** `22 Nov`. */
export const dayMonth = (ms: number, zone: Zone): string => format(ms, zone, { day: 'numeric', month: 'short' });
/** `22 Nov 2026, 14:32:10 UTC`. */
export function full(ms: number, zone: Zone): string {
  const date = format(ms, zone, { day: 'numeric', month: 'short', year: 'numeric' });
  return `${date}, ${clock(ms, zone)}${zone === 'utc' ? ' UTC' : ''}`;
}
/** The zone's name as shown beside clocks. */
export const zoneName = (zone: Zone): string => (zone === 'utc' ? 'UTC' : Intl.DateTimeFormat().resolvedOptions().timeZone);
