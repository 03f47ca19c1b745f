// What one person prefers on this device: theme, time zone, pinned rail. The address overrides theme and zone, so that a link shows what its sender saw.
import type { Zone } from '../lib/time.ts';
import { nav } from './nav.svelte.ts';

export type Theme = 'system' | 'dark' | 'light';

function stored<T extends string>(key: string, words: readonly T[], fallback: T): T {
  const value = localStorage.getItem(`bellwether.${key}`);
  return words.find((word) => word === value) ?? fallback;
}

const system = matchMedia('(prefers-color-scheme: dark)');

class Settings {
  theme = $state<Theme>(stored('theme', ['system', 'dark', 'light'], 'system'));
  zone = $state<Zone>(stored('zone', ['utc', 'browser'], 'utc'));
  #systemDark = $state(system.matches);

  constructor() {
    system.addEventListener('change', (event) => (this.#systemDark = event.matches));
  }
  /** The theme in force. */
  get dark(): boolean {
    const asked = nav.get('theme');
    const theme = asked === 'dark' || asked === 'light' ? asked : this.theme;
    return theme === 'system' ? this.#systemDark : theme === 'dark';
  }
  /** The zone in force. */
  get tz(): Zone {
    const asked = nav.get('tz');
    return asked === 'utc' || asked === 'browser' ? asked : this.zone;
  }
  setTheme(theme: Theme): void {
    this.theme = theme;
    localStorage.setItem('bellwether.theme', theme);
    if (nav.query.has('theme')) nav.set({ theme: null }, true);
  }
  setZone(zone: Zone): void {
    this.zone = zone;
    localStorage.setItem('bellwether.zone', zone);
    if (nav.query.has('tz')) nav.set({ tz: null }, true);
  }
}

export const settings = new Settings();
