// Label sets: text forms, identity, and selectors built from them.

export type Labels = Record<string, string>;

/** The same text for the same set, whatever the order of its keys. */
export function labelKey(labels: Labels): string {
  return Object.keys(labels)
    .sort()
    .map((name) => `${name}\u0001${labels[name]}`)
    .join('\u0002');
}

const quote = (value: string): string => `"${value.replace(/\\/g, '\\\\').replace(/"/g, '\\"').replace(/\n/g, '\\n')}"`;
const plain = (name: string): boolean => /^[a-zA-Z_][a-zA-Z0-9_]*$/.test(name);

/** A selector that PromQL reads back: `up{job="node"}`. */
export function selector(labels: Labels): string {
  const metric = labels.__name__;
  const rest = Object.keys(labels)
    .filter((name) => name !== '__name__')
    .sort()
    .map((name) => `${plain(name) ? name : quote(name)}=${quote(labels[name] ?? '')}`);
  if (metric === undefined) return `{${rest.join(', ')}}`;
  if (!/^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(metric)) return `{${[quote(metric), ...rest].join(', ')}}`;
  return rest.length ? `${metric}{${rest.join(', ')}}` : metric;
}

/** The label names whose values differ between the sets: what tells the series of one answer apart. */
export function distinguishing(sets: readonly Labels[]): string[] {
  const values = new Map<string, Set<string>>();
  const present = new Map<string, number>();
  for (const set of sets) {
    for (const [name, value] of Object.entries(set)) {
      let seen = values.get(name);
      if (!seen) values.set(name, (seen = new Set()));
      seen.add(value);
      present.set(name, (present.get(name) ?? 0) + 1);
    }
  }
  return [...values.keys()].filter((name) => (values.get(name)?.size ?? 0) > 1 || present.get(name) !== sets.length).sort();
}

/** A short name for one series among others: only what tells it apart; the selector when nothing does. */
export function seriesName(labels: Labels, distinct: readonly string[]): string {
  const parts = distinct.filter((name) => labels[name] !== undefined);
  if (parts.length === 0) return selector(labels) === '{}' ? 'value' : selector(labels);
  const metric = parts.includes('__name__') ? labels.__name__ : undefined;
  const rest = parts.filter((name) => name !== '__name__');
  const text = rest.length === 1 && !metric ? (labels[rest[0] ?? ''] ?? '') : rest.map((name) => `${name}=${quote(labels[name] ?? '')}`).join(' ');
  return metric ? `${metric}${rest.length ? ` ${text}` : ''}` : text;
}

/** Text filter over a label set: every word must occur in some `name=value`. */
export function labelsMatch(labels: Labels, words: string): boolean {
  const parts = words.toLowerCase().split(/\s+/).filter(Boolean);
  if (parts.length === 0) return true;
  const text = Object.entries(labels)
    .map(([name, value]) => `${name}=${value}`)
    .join('\n')
    .toLowerCase();
  return parts.every((part) => text.includes(part.replace(/["{}]/g, '')));
}
