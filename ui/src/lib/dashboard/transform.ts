// Tables from query results, and the transformations of tables that dashboards use. Pure.
import type { QueryData, Sample, Series } from '../../api/prom.ts';
import type { Reduce, Transformation } from './model.ts';
import { reduced } from './reduce.ts';

export type Cell = string | number | null;
export interface Field {
  name: string;
  /** Numbers are written in the panel's unit, times as times, texts as they are. */
  kind: 'text' | 'number' | 'time';
  values: Cell[];
}
export interface Table {
  ref: string;
  fields: Field[];
}
/** Transformations that are applied; the import names the others. */
export const SUPPORTED = new Set(['organize', 'merge', 'seriesToRows', 'reduce', 'sortBy', 'filterFieldsByName', 'filterByRefId', 'renameByRegex', 'joinByField', 'seriesToColumns', 'labelsToFields', 'calculateField', 'groupBy', 'limit', 'filterByValue', 'concatenate']);

const rows = (table: Table): number => Math.max(0, ...table.fields.map((field) => field.values.length));
const field = (table: Table, name: string): Field | undefined => table.fields.find((item) => item.name === name);
const object = (value: unknown): Record<string, unknown> => (typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {});

/** A table of an answer: a row a sample, a column a label; of a range the newest sample counts unless `all` are wanted. */
export function tableOf(data: QueryData, ref: string, all = false): Table {
  const samples: Sample[] =
    data.resultType === 'vector'
      ? data.result
      : data.resultType === 'matrix'
        ? data.result.flatMap((series: Series) => (series.values ?? []).slice(all ? 0 : -1).map((value): Sample => ({ metric: series.metric, value })))
        : [{ metric: {}, value: data.result }];
  const names = [...new Set(samples.flatMap((sample) => Object.keys(sample.metric)))].filter((name) => name !== '__name__').sort();
  const number = (text: string | undefined): number | null => (text === undefined || Number.isNaN(Number(text)) ? null : Number(text));
  return {
    ref,
    fields: [
      { name: 'Time', kind: 'time', values: samples.map((sample) => (sample.value ? sample.value[0] * 1000 : null)) },
      ...names.map((name): Field => ({ name, kind: 'text', values: samples.map((sample) => sample.metric[name] ?? null) })),
      { name: `Value${ref ? ` #${ref}` : ''}`, kind: 'number', values: samples.map((sample) => number(sample.value?.[1] ?? sample.histogram?.[1].count)) },
    ],
  };
}

/** Tables one below the other; rows whose common texts agree become one, as Grafana's "merge" does. */
function merged(tables: readonly Table[]): Table {
  if (tables.length < 2) return tables[0] ?? { ref: '', fields: [] };
  const names = [...new Set(tables.flatMap((table) => table.fields.map((item) => item.name)))];
  const kind = (name: string): Field['kind'] => tables.map((table) => field(table, name)?.kind).find(Boolean) ?? 'text';
  const keys = names.filter((name) => kind(name) !== 'number' && kind(name) !== 'time' && tables.every((table) => field(table, name)));
  const made = new Map<string, Map<string, Cell>>();
  tables.forEach((table, t) => {
    for (let i = 0; i < rows(table); i++) {
      const key = keys.length ? keys.map((name) => String(field(table, name)?.values[i] ?? '')).join('\u0001') : `${t} ${i}`;
      const row = made.get(key) ?? new Map<string, Cell>();
      for (const item of table.fields) if (!row.has(item.name) || item.kind === 'number') row.set(item.name, item.values[i] ?? null);
      made.set(key, row);
    }
  });
  const list = [...made.values()];
  // Columns in reading order: time, texts, then the numbers.
  const rank = { time: 0, text: 1, number: 2 };
  names.sort((a, b) => rank[kind(a)] - rank[kind(b)]);
  return { ref: '', fields: names.map((name) => ({ name, kind: kind(name), values: list.map((row) => row.get(name) ?? null) })) };
}

const keep = (table: Table, wanted: (i: number) => boolean): Table => ({ ...table, fields: table.fields.map((item) => ({ ...item, values: item.values.filter((_, i) => wanted(i)) })) });

function regex(source: string): RegExp | undefined {
  const given = /^\/(.*)\/([a-z]*)$/s.exec(source);
  try {
    return new RegExp(given?.[1] ?? source, given?.[2] ?? '');
  } catch {
    return undefined;
  }
}

/** The tables after all steps; a step that is not known leaves them as they are. */
export function transformed(tables: readonly Table[], steps: readonly Transformation[]): Table[] {
  return steps.reduce<Table[]>((now, step) => applied(now, step), [...tables]);
}

function applied(tables: Table[], { id, options }: Transformation): Table[] {
  switch (id) {
    case 'merge':
    case 'seriesToRows':
    case 'concatenate':
      return [merged(tables)];
    case 'joinByField':
    case 'seriesToColumns':
      return [joined(tables, String(options.byField ?? 'Time'), options.mode === 'inner')];
    case 'organize': {
      const hidden = object(options.excludeByName);
      const names = object(options.renameByName);
      const index = object(options.indexByName);
      const at = (name: string, i: number): number => (typeof index[name] === 'number' ? (index[name] as number) : 1000 + i);
      return tables.map((table) => ({
        ...table,
        fields: table.fields
          .map((item, i) => ({ item, at: at(item.name, i) }))
          .filter(({ item }) => hidden[item.name] !== true)
          .sort((a, b) => a.at - b.at)
          .map(({ item }) => ({ ...item, name: typeof names[item.name] === 'string' && names[item.name] !== '' ? (names[item.name] as string) : item.name })),
      }));
    }
    case 'filterFieldsByName': {
      const include = object(options.include);
      const exclude = object(options.exclude);
      const test = (rule: Record<string, unknown>, name: string): boolean => (Array.isArray(rule.names) && rule.names.includes(name)) || (typeof rule.pattern === 'string' && (regex(rule.pattern)?.test(name) ?? false));
      const some = Array.isArray(include.names) || typeof include.pattern === 'string';
      return tables.map((table) => ({ ...table, fields: table.fields.filter((item) => (!some || test(include, item.name)) && !test(exclude, item.name)) }));
    }
    case 'filterByRefId': {
      const wanted = regex(String(options.include ?? ''));
      return wanted ? tables.filter((table) => wanted.test(table.ref)) : tables;
    }
    case 'renameByRegex': {
      const pattern = regex(String(options.regex ?? ''));
      return pattern ? tables.map((table) => ({ ...table, fields: table.fields.map((item) => ({ ...item, name: item.name.replace(pattern, String(options.renamePattern ?? '')) })) })) : tables;
    }
    case 'labelsToFields':
      return tables; // labels are fields already
    case 'sortBy': {
      const by = Array.isArray(options.sort) ? object(options.sort[0]) : {};
      return tables.map((table) => sorted(table, String(by.field ?? ''), by.desc === true));
    }
    case 'limit': {
      const count = Number(options.limitField ?? 10);
      return tables.map((table) => keep(table, (i) => i < count));
    }
    case 'filterByValue':
      return tables.map((table) => filtered(table, options));
    case 'groupBy':
      return tables.map((table) => grouped(table, object(options.fields)));
    case 'reduce': {
      const how = Array.isArray(options.reducers) ? options.reducers.map(String) : ['lastNotNull'];
      return [summary(tables, how)];
    }
    case 'calculateField':
      return tables.map((table) => calculated(table, options));
    default:
      return tables;
  }
}

export function sorted(table: Table, name: string, down: boolean): Table {
  const by = field(table, name);
  if (!by) return table;
  const order = by.values.map((_, i) => i).sort((a, b) => compare(by.values[a] ?? null, by.values[b] ?? null) * (down ? -1 : 1));
  return { ...table, fields: table.fields.map((item) => ({ ...item, values: order.map((i) => item.values[i] ?? null) })) };
}
function compare(a: Cell, b: Cell): number {
  if (a === null || b === null) return a === b ? 0 : a === null ? -1 : 1;
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  return String(a).localeCompare(String(b), 'en', { numeric: true });
}

function joined(tables: readonly Table[], by: string, inner: boolean): Table {
  const keys = new Map<string, Cell>();
  const indexes = tables.map((table) => {
    const index = new Map<string, number>();
    field(table, by)?.values.forEach((value, i) => {
      index.set(String(value), i);
      keys.set(String(value), value);
    });
    return index;
  });
  const list = [...keys].filter(([key]) => !inner || indexes.every((index) => index.has(key)));
  const seen = new Set<string>();
  const fields: Field[] = [{ name: by, kind: tables.map((table) => field(table, by)?.kind).find(Boolean) ?? 'text', values: list.map(([, value]) => value) }];
  tables.forEach((table, t) => {
    for (const item of table.fields.filter((one) => one.name !== by)) {
      const name = seen.has(item.name) ? `${item.name} ${t + 1}` : item.name;
      seen.add(item.name);
      fields.push({ ...item, name, values: list.map(([key]) => item.values[indexes[t]?.get(key) ?? -1] ?? null) });
    }
  });
  return { ref: '', fields };
}

function filtered(table: Table, options: Record<string, unknown>): Table {
  const tests = (Array.isArray(options.filters) ? options.filters : []).map(object).map((rule) => {
    const values = field(table, String(rule.fieldName ?? ''))?.values ?? [];
    const config = object(rule.config);
    const want = object(config.options).value;
    return (i: number): boolean => {
      const value = values[i] ?? null;
      switch (config.id) {
        case 'isNull':
          return value === null;
        case 'isNotNull':
          return value !== null;
        case 'equal':
          return String(value) === String(want);
        case 'notEqual':
          return String(value) !== String(want);
        case 'greater':
          return Number(value) > Number(want);
        case 'greaterOrEqual':
          return Number(value) >= Number(want);
        case 'lower':
          return Number(value) < Number(want);
        case 'lowerOrEqual':
          return Number(value) <= Number(want);
        case 'regex':
          return regex(String(want))?.test(String(value)) ?? true;
        default:
          return true;
      }
    };
  });
  if (tests.length === 0) return table;
  const hit = (i: number): boolean => (options.match === 'any' ? tests.some((test) => test(i)) : tests.every((test) => test(i)));
  return keep(table, (i) => hit(i) === (options.type !== 'exclude'));
}

function grouped(table: Table, rules: Record<string, unknown>): Table {
  const by = table.fields.filter((item) => object(rules[item.name]).operation === 'groupby');
  const groups = new Map<string, number[]>();
  for (let i = 0; i < rows(table); i++) {
    const key = by.map((item) => String(item.values[i])).join('\u0001');
    groups.set(key, [...(groups.get(key) ?? []), i]);
  }
  const lists = [...groups.values()];
  const out: Field[] = by.map((item) => ({ ...item, values: lists.map((members) => item.values[members[0] ?? 0] ?? null) }));
  for (const item of table.fields) {
    const rule = object(rules[item.name]);
    if (rule.operation !== 'aggregate') continue;
    for (const how of Array.isArray(rule.aggregations) ? rule.aggregations.map(String) : []) {
      const values = lists.map((members) => reduced(members.map((i) => (typeof item.values[i] === 'number' ? (item.values[i] as number) : null)), how as Reduce));
      out.push({ name: `${item.name} (${how})`, kind: 'number', values });
    }
  }
  return { ...table, fields: out };
}

function summary(tables: readonly Table[], how: readonly string[]): Table {
  const numbers = tables.flatMap((table) => table.fields.filter((item) => item.kind === 'number').map((item) => ({ name: tables.length > 1 ? `${item.name}` : item.name, values: item.values.map((value) => (typeof value === 'number' ? value : null)) })));
  const words: Record<string, string> = { lastNotNull: 'Last', last: 'Last', mean: 'Mean', max: 'Max', min: 'Min', sum: 'Total', count: 'Count', first: 'First', range: 'Range', diff: 'Difference', median: 'Median' };
  return { ref: '', fields: [{ name: 'Field', kind: 'text', values: numbers.map((item) => item.name) }, ...how.map((one): Field => ({ name: words[one] ?? one, kind: 'number', values: numbers.map((item) => reduced(item.values, one as Reduce)) }))] };
}

function calculated(table: Table, options: Record<string, unknown>): Table {
  const numbers = table.fields.filter((item) => item.kind === 'number');
  const value = (item: Field | undefined, i: number): number | null => (typeof item?.values[i] === 'number' ? (item.values[i] as number) : null);
  const count = rows(table);
  let values: Cell[];
  let name = String(options.alias ?? '');
  if (options.mode === 'binary') {
    const { left, right, operator } = object(options.binary) as { left?: string; right?: string; operator?: string };
    const side = (given: string | undefined, i: number): number | null => {
      const item = field(table, given ?? '');
      return item ? value(item, i) : given !== undefined && given !== '' && !Number.isNaN(Number(given)) ? Number(given) : null;
    };
    name ||= `${left ?? ''} ${operator ?? ''} ${right ?? ''}`;
    values = Array.from({ length: count }, (_, i) => {
      const [a, b] = [side(left, i), side(right, i)];
      if (a === null || b === null) return null;
      return operator === '-' ? a - b : operator === '*' ? a * b : operator === '/' ? (b === 0 ? null : a / b) : a + b;
    });
  } else {
    const { include, reducer } = object(options.reduce) as { include?: string[]; reducer?: string };
    const chosen = include?.length ? numbers.filter((item) => include.includes(item.name)) : numbers;
    name ||= reducer ?? 'Total';
    values = Array.from({ length: count }, (_, i) => reduced(chosen.map((item) => value(item, i)), (reducer ?? 'sum') as Reduce));
  }
  const made: Field = { name, kind: 'number', values };
  return { ...table, fields: options.replaceFields === true ? [...table.fields.filter((item) => item.kind === 'time'), made] : [...table.fields, made] };
}
