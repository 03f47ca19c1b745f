// Checks the sizes of the built files (gzip -9) against the budgets of docs/concepts/ui.md: exit 1 when one is passed.
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const dist = fileURLToPath(new URL('../dist', import.meta.url));
const files = new Map(readdirSync(`${dist}/assets`).map((name) => [name, readFileSync(`${dist}/assets/${name}`)]));
const zip = (name) => gzipSync(files.get(name), { level: 9 }).length;
const raw = (name) => files.get(name).length;
const html = readFileSync(`${dist}/index.html`, 'utf8');

/** Files that `name` imports at once, itself included. */
function closure(names) {
  const seen = new Set();
  const walk = (name) => {
    if (seen.has(name) || !files.has(name)) return;
    seen.add(name);
    if (!name.endsWith('.js')) return;
    for (const [, other] of files.get(name).toString().matchAll(/(?:from|import)\s*"\.\/([^"]+\.js)"/g)) walk(other);
  };
  names.forEach(walk);
  return seen;
}
const page = (stem, ext) => [...files.keys()].filter((name) => new RegExp(`^${stem}-[\\w-]+\\.${ext}$`).test(name));
const entry = [...html.matchAll(/assets\/([\w.-]+\.js)/g)].map((found) => found[1]);
const css = [...html.matchAll(/assets\/([\w.-]+\.css)/g)].map((found) => found[1]);
const sum = (names, size = zip) => [...names].reduce((total, name) => total + size(name), 0);

const home = closure([...entry, ...page('Fleet', 'js'), ...page('worker', 'js')]);
const explore = closure([...entry, ...page('Explore', 'js'), ...page('promEditor', 'js')]);
const checks = [
  ['initial route, JavaScript', sum(home), 110_000],
  ['initial route, CSS', sum([...css, ...page('Fleet', 'css'), ...page('app', 'css')]), 14_000],
  ['all CSS', sum([...files.keys()].filter((name) => name.endsWith('.css'))), 28_000],
  ['fonts', sum([...files.keys()].filter((name) => name.endsWith('.woff2')), raw), 90_000],
  ['explore adds', sum([...explore].filter((name) => !home.has(name))), 170_000],
];
for (const name of files.keys()) if (name.endsWith('.js') && !explore.has(name) && !home.has(name)) checks.push([`chunk ${name}`, zip(name), 70_000]);
let bad = 0;
for (const [what, size, limit] of checks) {
  if (size > limit) bad++;
  console.log(`${size > limit ? 'OVER' : '  ok'} ${String(size).padStart(8)} of ${String(limit).padStart(7)}  ${what}`);
}
process.exitCode = bad ? 1 : 0;
