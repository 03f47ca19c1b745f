// One number from many, colours from thresholds, words from mappings.
import { written } from '../units.ts';
import type { Mapping, Panel, Reduce, Threshold, Tone } from './model.ts';

/** One number from a series; `null` when there is none. */
export function reduced(values: readonly (number | null)[], how: Reduce): number | null {
  const known = values.filter((value): value is number => value !== null && !Number.isNaN(value));
  const first = known[0];
  const last = known.at(-1);
  if (how === 'count') return known.length;
  if (first === undefined || last === undefined) return null;
  switch (how) {
    case 'last':
      return values.at(-1) ?? null;
    case 'first':
      return first;
    case 'mean':
      return known.reduce((sum, value) => sum + value, 0) / known.length;
    case 'sum':
      return known.reduce((sum, value) => sum + value, 0);
    case 'max':
      return known.reduce((a, b) => Math.max(a, b));
    case 'min':
      return known.reduce((a, b) => Math.min(a, b));
    case 'range':
      return known.reduce((a, b) => Math.max(a, b)) - known.reduce((a, b) => Math.min(a, b));
    case 'diff':
      return last - first;
    case 'median': {
      const sorted = [...known].sort((a, b) => a - b);
      const mid = sorted.length >> 1;
      return sorted.length % 2 ? (sorted[mid] ?? null) : ((sorted[mid - 1] ?? 0) + (sorted[mid] ?? 0)) / 2;
    }
    default:
      return last;
  }
}

/** The tone of the highest threshold that `value` reaches; `undefined` without thresholds. */
export function toneOf(value: number | null, panel: Pick<Panel, 'thresholds' | 'percent' | 'min' | 'max'>): Tone | undefined {
  if (panel.thresholds.length === 0) return undefined;
  if (value === null) return 'nodata';
  const [low, high] = [panel.min ?? 0, panel.max ?? 100];
  const at = panel.percent ? ((value - low) / (high - low || 1)) * 100 : value;
  const sorted = [...panel.thresholds].sort((a, b) => (a.from ?? Number.NEGATIVE_INFINITY) - (b.from ?? Number.NEGATIVE_INFINITY));
  let tone = sorted[0]?.tone;
  for (const limit of sorted) if (limit.from === null || at >= limit.from) tone = limit.tone;
  return tone;
}

/** Thresholds as values of the axis. */
export const limits = (panel: Pick<Panel, 'thresholds' | 'percent' | 'min' | 'max'>): { at: number; tone: Tone }[] =>
  panel.thresholds.filter((limit): limit is Threshold & { from: number } => limit.from !== null).map((limit) => ({ at: panel.percent ? (panel.min ?? 0) + (limit.from / 100) * ((panel.max ?? 100) - (panel.min ?? 0)) : limit.from, tone: limit.tone }));

/** The mapping that fits, first come first served. */
export function mapped(value: number | string | null, mappings: readonly Mapping[]): Mapping | undefined {
  const number = typeof value === 'number' ? value : value !== null && value.trim() !== '' ? Number(value) : Number.NaN;
  return mappings.find((mapping) => {
    if (mapping.value !== undefined) {
      if (mapping.value === 'null') return value === null || Number.isNaN(value);
      if (mapping.value === 'true' || mapping.value === 'false') return number === (mapping.value === 'true' ? 1 : 0);
      return String(value) === mapping.value || (mapping.value.trim() !== '' && !Number.isNaN(number) && number === Number(mapping.value));
    }
    if (mapping.range) return !Number.isNaN(number) && (mapping.range[0] === null || number >= mapping.range[0]) && (mapping.range[1] === null || number <= mapping.range[1]);
    if (mapping.regex !== undefined) {
      try {
        return new RegExp(mapping.regex.replace(/^\/|\/[a-z]*$/g, '')).test(String(value));
      } catch {
        return false;
      }
    }
    return false;
  });
}

/** A value as a panel writes it: mapped, or in its unit. */
export function shown(value: number | null, panel: Pick<Panel, 'unit' | 'decimals' | 'mappings'>): string {
  const found = mapped(value, panel.mappings);
  if (found) return found.text;
  return value === null ? 'no data' : written(value, panel.unit, panel.decimals);
}

/** A tone as a CSS colour; text wants the legible variant. */
export function css(tone: Tone | undefined, use: 'fill' | 'text' = 'fill'): string {
  if (!tone) return use === 'text' ? 'var(--fg)' : 'var(--s1)';
  if (/^s\d$/.test(tone)) return `var(--${tone})`;
  if (tone === 'ok') return use === 'text' ? 'var(--healthy-text)' : 'var(--ok-fill)';
  return use === 'text' ? `var(--${tone}-text)` : `var(--${tone})`;
}
