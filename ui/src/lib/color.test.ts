// The four states stay apart for everybody, and text can be read: the tokens of app.css, computed.
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { contrast, distance, VISIONS } from './color.ts';

const css = readFileSync(new URL('../app.css', import.meta.url), 'utf8');
function tokens(selector: string): Record<string, string> {
  const block = css.slice(css.indexOf(`${selector} {`)).split('}')[0] ?? '';
  return Object.fromEntries([...block.matchAll(/--([\w-]+): (#[0-9a-f]{6});/g)].map((found) => [found[1] ?? '', found[2] ?? '']));
}
const light = tokens(':root');
const themes: Record<string, Record<string, string>> = { light, dark: { ...light, ...tokens(":root[data-theme='dark']") } };

describe.each(Object.entries(themes))('%s', (_, t) => {
  const of = (name: string): string => t[name] ?? '#000000';
  test.each(VISIONS)('states are at least 15 apart with %s vision', (vision) => {
    const states = ['healthy', 'warning', 'critical', 'nodata'];
    for (const a of states) for (const b of states) if (a < b) expect(distance(of(a), of(b), vision), `${a} and ${b}`).toBeGreaterThanOrEqual(15);
  });
  test.each(['bg', 'panel', 'raised'])('text can be read on %s', (surface) => {
    for (const name of ['fg', 'fg2', 'critical-text', 'warning-text', 'nodata-text', 'accent']) expect(contrast(of(name), of(surface)), name).toBeGreaterThanOrEqual(4.5);
    expect(contrast(of('fg3'), of(surface))).toBeGreaterThanOrEqual(4.3);
  });
  test('unhealthy cells stand out from the background', () => {
    expect(contrast(of('critical'), of('bg'))).toBeGreaterThanOrEqual(3);
    expect(contrast(of('nodata'), of('bg'))).toBeGreaterThanOrEqual(3);
  });
});
