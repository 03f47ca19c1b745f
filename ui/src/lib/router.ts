// Paths and query strings, without a browser: pattern matching and typed query patches.

/** A query string as ordered pairs; a key may repeat. */
export type Query = URLSearchParams;
/** What to change in a query string: `null` or '' removes the key, an array repeats it. */
export type Patch = Record<string, string | number | boolean | string[] | null | undefined>;

export interface Route<P> {
  /** `/host/:id`, `/fleet/:region/:dc?`: a `?` makes a segment optional. */
  pattern: string;
  page: P;
}
export interface Match<P> {
  page: P;
  params: Record<string, string>;
}

/** The first route that fits `path`, with its decoded parameters, or `undefined`. */
export function match<P>(path: string, routes: readonly Route<P>[]): Match<P> | undefined {
  const parts = path.split('/').filter((part) => part !== '');
  for (const route of routes) {
    const params = fit(parts, route.pattern.split('/').filter((part) => part !== ''));
    if (params) return { page: route.page, params };
  }
  return undefined;
}

function fit(parts: string[], pattern: string[]): Record<string, string> | undefined {
  if (parts.length > pattern.length) return undefined;
  const params: Record<string, string> = {};
  for (let i = 0; i < pattern.length; i++) {
    const want = pattern[i] ?? '';
    const have = parts[i];
    if (!want.startsWith(':')) {
      if (want !== have) return undefined;
      continue;
    }
    const optional = want.endsWith('?');
    if (have === undefined) {
      if (!optional) return undefined;
      continue;
    }
    params[want.slice(1, optional ? -1 : undefined)] = decode(have);
  }
  return params;
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // a stray % in a hand-typed address is the text itself
  }
}

/** `query` with `patch` applied; keys keep their place, new ones go last. */
export function patched(query: Query, patch: Patch): Query {
  const next = new URLSearchParams(query);
  for (const [key, value] of Object.entries(patch)) {
    next.delete(key);
    if (value === null || value === undefined || value === '' || value === false) continue;
    if (Array.isArray(value)) for (const item of value) next.append(key, item);
    else next.set(key, value === true ? '1' : String(value));
  }
  return next;
}

/** An address from a path and a query; `/` and `:` stay readable in the query. */
export function href(path: string, query?: Query | Patch): string {
  const search = query instanceof URLSearchParams ? query : patched(new URLSearchParams(), query ?? {});
  const text = search.toString().replace(/%3A/gi, ':').replace(/%2F/gi, '/').replace(/%2C/gi, ',');
  return text ? `${path}?${text}` : path;
}
