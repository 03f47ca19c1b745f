// The map's colours, read from the design tokens in force.
import type { Palette } from './draw.ts';
import type { Ink } from './overlay.ts';

const channel = (a: number, b: number, t: number): number => Math.round(a + (b - a) * t);
/** A colour between two 24-bit ones. */
export function blend(a: number, b: number, t: number): number {
  return (channel(a >> 16, b >> 16, t) << 16) | (channel((a >> 8) & 255, (b >> 8) & 255, t) << 8) | channel(a & 255, b & 255, t);
}

export function themeOf(element: Element): { palette: Palette; ink: Ink } {
  const style = getComputedStyle(element);
  const text = (name: string): string => style.getPropertyValue(`--${name}`).trim();
  const value = (name: string): number => Number.parseInt(text(name).slice(1), 16);
  const bg = value('bg');
  const [low, mid, high] = [value('healthy'), value('accent'), value('warning')];
  const ramp = Array.from({ length: 15 }, (_, i) => (i < 7 ? blend(low, mid, i / 7) : blend(mid, high, (i - 7) / 7)));
  const palette: Palette = { healthy: low, warning: value('warning'), critical: value('critical'), noData: value('nodata'), hatch: blend(value('nodata'), bg, 0.62), ramp };
  const ink: Ink = {
    bg: text('bg'),
    line: text('line'),
    fg: text('fg'),
    fg2: text('fg2'),
    fg3: text('fg3'),
    accent: text('accent'),
    badge: text('badge'),
    onBadge: text('on-badge'),
    warning: text('warning-text'),
    critical: text('critical-text'),
    noData: text('nodata-text'),
  };
  return { palette, ink };
}
