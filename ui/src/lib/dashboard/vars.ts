// Variables of dashboards: what `$name` stands for in queries and titles, and the lists of values behind them. Pure but for the caller's fetches.
import { shortSpan } from '../time.ts';
import type { Variable } from './model.ts';

export interface Built {
  /** Milliseconds. */
  from: number;
  to: number;
  /** Seconds. */
  step: number;
  /** Longest scrape interval among the targets, seconds. */
  scrape: number;
}
export type Values = Record<string, string[]>;
/** Chosen for "all values". */
export const ALL = '$__all';

const escaped = (value: string): string => value.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&').replace(/\\/g, '\\\\').replace(/"/g, '\\"');

/** `$__rate_interval`: at least four scrapes, so that every window has two samples. */
export const rateInterval = (built: Built): number => Math.max(built.step + built.scrape, 4 * built.scrape);

function builtin(name: string, built: Built): string | undefined {
  const range = Math.max(1, Math.round((built.to - built.from) / 1000));
  switch (name) {
    case '__interval':
      return shortSpan(built.step * 1000);
    case '__interval_ms':
      return String(built.step * 1000);
    case '__rate_interval':
      return shortSpan(rateInterval(built) * 1000);
    case '__range':
      return `${range}s`;
    case '__range_s':
      return String(range);
    case '__range_ms':
      return String(range * 1000);
    case '__from':
      return String(built.from);
    case '__to':
      return String(built.to);
    default:
      return undefined;
  }
}

/** Values in one of Grafana's formats; in a query several become an alternation. */
function formatted(values: readonly string[], format: string, multi: boolean, query: boolean): string {
  switch (format) {
    case 'raw':
    case 'text':
    case 'glob':
      return values.length > 1 && format === 'glob' ? `{${values.join(',')}}` : values.join(format === 'text' ? ' + ' : ',');
    case 'csv':
      return values.join(',');
    case 'pipe':
      return values.join('|');
    case 'regex':
      return values.length === 1 ? escaped(values[0] ?? '') : `(${values.map(escaped).join('|')})`;
    case 'doublequote':
      return values.map((value) => `"${value}"`).join(',');
    case 'singlequote':
      return values.map((value) => `'${value}'`).join(',');
    case 'percentencode':
    case 'queryparam':
      return encodeURIComponent(values.join(','));
    case 'json':
      return JSON.stringify(values);
    default:
      if (!query) return values.join(', ');
      if (!multi) return (values[0] ?? '').replace(/\\/g, '\\\\').replace(/"/g, '\\"');
      return values.length === 1 ? escaped(values[0] ?? '') : `(${values.map(escaped).join('|')})`;
  }
}

/** `text` with every variable filled in. `query`: values are made safe for PromQL. Unknown names stay as they are. */
export function interpolate(text: string, variables: readonly Variable[], values: Values, built: Built, scope: Record<string, string> = {}, query = true): string {
  return text.replace(/\$(\w+)|\$\{(\w+)(?:\.[^:}]+)?(?::([^}]+))?\}|\[\[(\w+)(?::([^\]]+))?\]\]/g, (whole, a: string | undefined, b: string | undefined, f1: string | undefined, c: string | undefined, f2: string | undefined) => {
    const name = a ?? b ?? c ?? '';
    const own = scope[name];
    if (own !== undefined) return formatted([own], f1 ?? f2 ?? '', false, query);
    const made = builtin(name, built);
    if (made !== undefined) return made;
    const variable = variables.find((item) => item.name === name);
    if (!variable) return whole;
    const chosen = values[name] ?? [];
    if (chosen.includes(ALL)) {
      if (variable.allValue) return variable.allValue;
      return query ? '.*' : 'All';
    }
    return formatted(chosen, f1 ?? f2 ?? '', variable.multi || variable.all, query);
  });
}

/** Names of the variables that a text uses. */
export function used(text: string): Set<string> {
  return new Set([...text.matchAll(/\$(\w+)|\$\{(\w+)|\[\[(\w+)/g)].map((found) => found[1] ?? found[2] ?? found[3] ?? ''));
}

/** What a variable's query asks for. */
export type Ask = { kind: 'label_values'; metric: string; label: string } | { kind: 'label_names' } | { kind: 'metrics'; regex: string } | { kind: 'query_result'; expr: string };

/** Reads Grafana's functions for variables; anything else is an instant query. */
export function asked(text: string): Ask {
  const call = /^\s*(label_values|label_names|metrics|query_result)\s*\(([\s\S]*)\)\s*$/.exec(text);
  const inner = call?.[2]?.trim() ?? '';
  switch (call?.[1]) {
    case 'label_values': {
      const comma = inner.lastIndexOf(',');
      return comma < 0 ? { kind: 'label_values', metric: '', label: inner } : { kind: 'label_values', metric: inner.slice(0, comma).trim(), label: inner.slice(comma + 1).trim() };
    }
    case 'label_names':
      return { kind: 'label_names' };
    case 'metrics':
      return { kind: 'metrics', regex: inner.replace(/^["']|["']$/g, '') };
    case 'query_result':
      return { kind: 'query_result', expr: inner };
    default:
      return { kind: 'query_result', expr: text.trim() };
  }
}

/** Keeps what the variable's `/regex/` matches (its first group, or a group named `value`), without doubles, in order. */
export function refined(values: readonly string[], variable: Pick<Variable, 'regex' | 'sort'>): string[] {
  let list = [...values];
  const given = /^\/(.*)\/([a-z]*)$/s.exec(variable.regex);
  const source = given?.[1] ?? variable.regex;
  if (source) {
    let regex: RegExp;
    try {
      regex = new RegExp(source, given?.[2]?.replace('g', '') ?? '');
    } catch {
      return []; // the editor names the broken expression
    }
    list = list.flatMap((value) => {
      const found = regex.exec(value);
      return found ? [found.groups?.value ?? found[1] ?? found[0]] : [];
    });
  }
  list = [...new Set(list)];
  const number = (text: string): number => Number(/-?\d+(\.\d+)?/.exec(text)?.[0] ?? Number.NaN);
  const name = (a: string, b: string): number => a.localeCompare(b, 'en', { numeric: true });
  switch (variable.sort) {
    case 'name':
      return list.sort(name);
    case 'name-desc':
      return list.sort((a, b) => name(b, a));
    case 'number':
      return list.sort((a, b) => number(a) - number(b));
    case 'number-desc':
      return list.sort((a, b) => number(b) - number(a));
    default:
      return list;
  }
}

/** `a, b, text : value` of a custom variable, with `\,` for a comma. */
export const listed = (text: string): string[] =>
  text
    .split(/(?<!\\),/)
    .map((part) => part.replace(/\\,/g, ',').trim())
    .map((part) => /^.+?\s:\s(.+)$/.exec(part)?.[1] ?? part)
    .filter(Boolean);

/** What is chosen: the address, else the default, else everything or the first. */
export function chosen(variable: Variable, options: readonly string[], address: readonly string[]): string[] {
  const wanted = address.length ? address : variable.current;
  const known = wanted.filter((value) => (value === ALL ? variable.all : variable.type === 'text' || variable.type === 'constant' || options.includes(value)));
  if (known.length) return variable.multi ? known : known.slice(0, 1);
  // A value that the list lacks may be right all the same: the address wins, a stale default does not.
  if (address.length && !address.includes(ALL)) return variable.multi ? [...address] : address.slice(0, 1);
  if (variable.all && (variable.multi || variable.current.includes(ALL))) return [ALL];
  return options.slice(0, 1);
}
