// Wall-screen mode: no rail, no heads; with `rotate` in the address it goes on to the next page of the list by itself.
import { parseDuration } from '../lib/time.ts';
import { nav } from './nav.svelte.ts';

class Kiosk {
  get on(): boolean {
    return nav.get('kiosk') === '1';
  }
  /** Milliseconds between two pages; 0 for staying. */
  get every(): number {
    return parseDuration(nav.get('rotate')) ?? 0;
  }
  /** Pages to show in turn: `next` in the address, in order. */
  get list(): string[] {
    return nav.all('next').filter((path) => path.startsWith('/') && !path.startsWith('//'));
  }
  enter(): void {
    nav.set({ kiosk: '1' });
    document.documentElement.requestFullscreen?.().catch(() => undefined); // a browser that forbids it still hides the rail
  }
  leave(): void {
    nav.set({ kiosk: null, rotate: null, next: null });
    if (document.fullscreenElement) void document.exitFullscreen();
  }
  /** The next page of the list, the present one going to its end. */
  turn(): void {
    const [first, ...rest] = this.list;
    if (first === undefined) return;
    const here = new URL(location.href);
    for (const key of ['kiosk', 'rotate', 'next']) here.searchParams.delete(key);
    const to = new URL(first, location.origin);
    to.searchParams.set('kiosk', '1');
    to.searchParams.set('rotate', nav.get('rotate'));
    for (const path of [...rest, here.pathname + here.search]) to.searchParams.append('next', path);
    nav.to(to.pathname + to.search, true);
  }
}
export const kiosk = new Kiosk();
