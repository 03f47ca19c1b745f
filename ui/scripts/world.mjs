// Writes src/assets/world.json, the countries as outlines on an Equal Earth map 1000 wide: node scripts/world.mjs
// Shapes: Natural Earth 1:110m (public domain) by way of world-atlas. Run again only when that package changes.
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { geoEqualEarth, geoPath } from 'd3-geo';
import { iso31661 } from 'iso-3166';
import { feature } from 'topojson-client';

const WIDTH = 1000;
const topology = JSON.parse(readFileSync(createRequire(import.meta.url).resolve('world-atlas/countries-110m.json'), 'utf8'));
const all = feature(topology, topology.objects.countries);
// Antarctica has no clients worth a fifth of the picture.
const shown = { ...all, features: all.features.filter((one) => one.id !== '010') };
const projection = geoEqualEarth().fitWidth(WIDTH, shown);
const height = Math.ceil(geoPath(projection).bounds(shown)[1][1]);
const codes = new Map(iso31661.map((one) => [one.numeric, one.alpha2]));

/** `M1.2,3L4,5Z` as whole numbers and relative steps; points that fall together are left out. */
function small(path) {
  return path
    .split('M')
    .filter(Boolean)
    .map((ring) => {
      const points = ring.replace('Z', '').split('L').map((pair) => pair.split(',').map((n) => Math.round(Number(n))));
      const kept = points.filter((p, i) => i === 0 || p[0] !== points[i - 1][0] || p[1] !== points[i - 1][1]);
      if (kept.length < 3) return '';
      const [first, ...rest] = kept;
      let [x, y] = first;
      const steps = rest.map(([nx, ny]) => {
        const step = `${nx - x} ${ny - y}`;
        [x, y] = [nx, ny];
        return step;
      });
      return `M${first[0]} ${first[1]}l${steps.join(' ')}z`.replaceAll(' -', '-');
    })
    .join('');
}

const countries = {};
let rest = '';
for (const one of shown.features) {
  const path = small(geoPath(projection)(one) ?? '');
  const code = codes.get(one.id);
  if (code && path) countries[code] = path;
  else rest += path;
}
const out = fileURLToPath(new URL('../src/assets/world.json', import.meta.url));
writeFileSync(out, `${JSON.stringify({ width: WIDTH, height, countries, rest })}\n`);
console.log(`${Object.keys(countries).length} countries`);
