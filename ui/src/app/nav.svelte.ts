// The address bar as reactive state: the one place where pages read and write what a person may share.
import { href, patched, type Patch } from '../lib/router.ts';

class Nav {
  path = $state(location.pathname);
  query = $state.raw(new URLSearchParams(location.search));
  /** The `:names` of the route in force. */
  params = $state.raw<Record<string, string>>({});

  constructor() {
    addEventListener('popstate', () => this.#read());
  }
  #read(): void {
    this.path = location.pathname;
    this.query = new URLSearchParams(location.search);
  }
  /** A query value, or `fallback`. */
  get(key: string, fallback = ''): string {
    return this.query.get(key) ?? fallback;
  }
  all(key: string): string[] {
    return this.query.getAll(key);
  }
  /** Changes the query of this page; `replace` keeps the history short while dragging or typing. */
  set(patch: Patch, replace = false): void {
    this.to(href(this.path, patched(this.query, patch)), replace);
  }
  /** Goes to another page of this site. Time range, theme and zone travel along when the address does not set them. */
  go(path: string, patch: Patch = {}): void {
    this.to(this.link(path, patch));
  }
  link(path: string, patch: Patch = {}): string {
    const kept: Patch = {};
    for (const key of ['from', 'to', 'theme', 'tz']) if (this.query.has(key)) kept[key] = this.query.get(key);
    // Servers take a dot in the last segment for a file's name: a slash after it says that it is not (host names have dots).
    const plain = /\.[^/]*$/.test(path) ? `${path}/` : path;
    return href(plain, patched(patched(new URLSearchParams(), kept), patch));
  }
  to(address: string, replace = false): void {
    if (address === location.pathname + location.search) return;
    if (replace) history.replaceState(null, '', address);
    else history.pushState(null, '', address);
    this.#read();
  }
}

export const nav = new Nav();

/** Turns clicks on same-origin links into page changes without a load. */
export function followLinks(event: MouseEvent): void {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = event.target instanceof Element ? event.target.closest('a') : null;
  if (!link || link.target || link.origin !== location.origin || link.hasAttribute('download') || link.dataset.native !== undefined) return;
  if (/^\/(api|metrics|-)(\/|$)/.test(link.pathname) && link.pathname !== '/metrics/') return;
  event.preventDefault();
  nav.to(link.pathname + link.search);
}
