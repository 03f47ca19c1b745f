// The time range and refresh interval of the address, and a clock that ticks once a second.
import { parseDuration, resolveRange, type Range } from '../lib/time.ts';
import { nav } from './nav.svelte.ts';

class Ticker {
  now = $state(Date.now());
  constructor() {
    setInterval(() => (this.now = Date.now()), 1000);
  }
}
/** Wall time on this device, once a second. */
export const ticker = new Ticker();

export const DEFAULT_FROM = 'now-1h';

/** `from` and `to` as written, and resolved against now. */
export const range = {
  get from(): string {
    return nav.get('from', DEFAULT_FROM);
  },
  get to(): string {
    return nav.get('to', 'now');
  },
  get relative(): boolean {
    return this.to === 'now';
  },
  resolve(): Range {
    return resolveRange(this.from, this.to, Date.now());
  },
  set(from: string, to: string): void {
    nav.set({ from: from === DEFAULT_FROM && to === 'now' ? null : from, to: to === 'now' ? null : to });
  },
  /** Milliseconds between reloads; 0 for none. */
  get refresh(): number {
    return parseDuration(nav.get('refresh', '15s')) ?? 0;
  },
};
