// Places by name: where a path lies on the map, and what it holds, for links, the side panel and the table beside the picture.
import { CRITICAL, NO_DATA, OK, WARNING } from './codec.ts';
import type { Engine } from './engine.ts';
import { RACK_HEIGHT, slotX, slotY } from './layout.ts';
import type { Child, Place } from './protocol.ts';
import type { Rack } from './tree.ts';

/** A nameless level in an address. */
export const NAMELESS = '-';
const named = (name: string): string => name || NAMELESS;

/** `path`: region, data centre, row, rack, as far as it goes. `undefined` when there is no such place. */
export function findPlace(engine: Engine, path: readonly string[]): Place | undefined {
  const { tree, layout } = engine;
  if (!tree || !layout) return undefined;
  const whole: Place = { box: { x: 0, y: 0, w: layout.w, h: layout.h }, rack: -1, path: [], children: tree.regions.map((region) => sum(engine, named(region.name), region.halls.flatMap((h) => tree.halls[h]?.rows.flatMap((row) => row.racks) ?? []))) };
  const [regionName, hallName, rowName, rackName] = path;
  if (regionName === undefined) return whole;
  const region = tree.regions.find((r) => named(r.name) === regionName);
  if (!region) return undefined;
  const halls = region.halls.map((h) => ({ h, hall: tree.halls[h], box: layout.halls[h] }));
  const boxes = halls.flatMap(({ box }) => (box ? [box] : []));
  if (hallName === undefined) {
    const x = Math.min(...boxes.map((b) => b.x));
    const y = Math.min(...boxes.map((b) => b.y));
    const box = { x, y, w: Math.max(...boxes.map((b) => b.x + b.w)) - x, h: Math.max(...boxes.map((b) => b.y + b.h)) - y };
    return { box, rack: -1, path: [regionName], children: halls.map(({ hall }) => sum(engine, named(hall?.name ?? ''), hall?.rows.flatMap((row) => row.racks) ?? [])) };
  }
  const found = halls.find(({ hall }) => named(hall?.name ?? '') === hallName);
  const { hall, box } = found ?? {};
  if (!hall || !box) return undefined;
  if (rowName === undefined) {
    const rows = hall.rows.every((row) => row.name === '');
    const children = rows ? hall.rows.flatMap((row) => row.racks).map((rack) => sum(engine, rackTitle(rack), [rack])) : hall.rows.map((row) => sum(engine, named(row.name), row.racks));
    return { box: { x: box.x, y: box.y, w: box.w, h: box.h }, rack: -1, path: [regionName, hallName], children };
  }
  const row = hall.rows.find((r) => named(r.name) === rowName && (rackName === undefined || r.racks.some((rack) => rackTitle(rack) === rackName)));
  if (!row) return undefined;
  const racks = rackName === undefined ? row.racks : row.racks.filter((rack) => rackTitle(rack) === rackName);
  const first = racks[0];
  const last = racks.at(-1);
  if (!first || !last) return undefined;
  const x = layout.rackX[first.id] as number;
  const at = { x, y: layout.rackY[first.id] as number, w: (layout.rackX[last.id] as number) + (layout.rackW[last.id] as number) - x, h: Math.min(RACK_HEIGHT, Math.max(...racks.map((r) => Math.ceil(r.slots / Math.max(1, layout.rackW[r.id] as number))))) };
  if (rackName === undefined) return { box: at, rack: -1, path: [regionName, hallName, rowName], children: row.racks.map((rack) => sum(engine, rackTitle(rack), [rack])) };
  return { box: at, rack: first.id, path: [regionName, hallName, rowName, rackName], children: [] };
}

/** Racks that the server made up have no name; their first server tells them apart. */
export const rackTitle = (rack: Rack): string => rack.name || `${rack.first + 1}–${rack.first + rack.used}`;

function sum(engine: Engine, name: string, racks: readonly Rack[]): Child {
  const out: Child = { name, servers: 0, warning: 0, critical: 0, noData: 0, silenced: 0 };
  const { codes, silenced } = engine.state ?? {};
  for (const rack of racks) {
    out.servers += rack.used;
    if (!codes) continue;
    for (let i = rack.first; i < rack.first + rack.used; i++) {
      const code = codes[i] ?? OK;
      if (code === OK) continue;
      if (silenced?.[i]) out.silenced++;
      else if (code === WARNING) out.warning++;
      else if (code === CRITICAL) out.critical++;
      else if (code === NO_DATA) out.noData++;
    }
  }
  return out;
}

/** The cell of a server. */
export function cellOf(engine: Engine, server: number): { x: number; y: number } | undefined {
  const { layout, topology } = engine;
  if (!layout || !topology || server < 0 || server >= topology.servers) return undefined;
  let low = 0;
  let high = layout.rackFirst.length;
  while (high - low > 1) {
    const mid = (low + high) >> 1;
    if ((layout.rackFirst[mid] as number) <= server) low = mid;
    else high = mid;
  }
  const w = layout.rackW[low] as number;
  const slot = server - (layout.rackFirst[low] as number);
  return { x: (layout.rackX[low] as number) + slotX(slot, w), y: (layout.rackY[low] as number) + slotY(slot, w) };
}

/** The nearest occupied cell in one direction, across gaps; `undefined` at the edge of the map. */
export function nextCell(engine: Engine, x: number, y: number, dx: number, dy: number): { x: number; y: number } | undefined {
  const { layout } = engine;
  if (!layout) return undefined;
  for (let n = 1; n < 4096; n++) {
    const at = { x: x + dx * n, y: y + dy * n };
    if (at.x < 0 || at.y < 0 || at.x >= layout.w || at.y >= layout.h) return undefined;
    if (engine.spot(at.x, at.y)) return at;
  }
  return undefined;
}
