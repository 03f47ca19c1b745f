// Failure domains: the largest places (data centre, row, rack position, area, rack) in which most servers share a bad state.
import { CRITICAL, NO_DATA, OK, WARNING } from './codec.ts';
import { RACK_HEIGHT, type Layout } from './layout.ts';
import type { Hall, Tree } from './tree.ts';

export type DomainKind = 'hall' | 'rows' | 'racks' | 'position' | 'area';
export interface Box {
  x: number;
  y: number;
  w: number;
  h: number;
}
export interface Domain {
  /** Stable over time as long as the domain is: kind and place. */
  id: string;
  kind: DomainKind;
  hall: number;
  region: number;
  name: string;
  /** Code of the state that most of its bad servers are in. */
  state: number;
  affected: number;
  servers: number;
  /** Rack ids with bad servers in it. */
  racks: number[];
  /** Where to draw it, in cells. */
  boxes: Box[];
}
export interface Findings {
  domains: Domain[];
  /** Servers that are not ok, and those of them inside some domain. */
  unhealthy: number;
  explained: number;
}

/** Share of a place's servers that must be bad for it to be a domain of its own. */
export const HALL_SHARE = 0.35;
export const ROW_SHARE = 0.35;
export const RACK_SHARE = 0.55;
/** Smaller places say too little. */
const LEAST_SERVERS = 4;
const LEAST_ROWS = 3;

const WEIGHT: Record<number, number> = { [CRITICAL]: 3, [NO_DATA]: 2, [WARNING]: 1 };

interface Tally {
  by: [number, number, number, number];
  bad: number;
  used: number;
  racks: number[];
}
const tally = (): Tally => ({ by: [0, 0, 0, 0], bad: 0, used: 0, racks: [] });
function add(to: Tally, of: Tally): void {
  for (let code = 0; code < 4; code++) to.by[code as 0] += of.by[code as 0];
  to.bad += of.bad;
  to.used += of.used;
  for (const rack of of.racks) to.racks.push(rack);
}
function worst(t: Tally): number {
  let state = WARNING;
  for (const code of [CRITICAL, NO_DATA]) if (t.by[code as 0] > t.by[state as 0]) state = code;
  return state;
}

/** Every domain above its threshold, heaviest first (critical counts three times, no data twice). */
export function findDomains(tree: Tree, layout: Layout, codes: Uint8Array, silenced?: Uint8Array): Findings {
  const domains: Domain[] = [];
  let unhealthy = 0;
  tree.halls.forEach((hall, h) => {
    const rows = hall.rows.map((row) => row.racks.map((rack) => count(rack.id, rack.first, rack.used, codes, silenced)));
    const sums = rows.map((racks) => {
      const sum = tally();
      for (const rack of racks) add(sum, rack);
      return sum;
    });
    const all = tally();
    for (const sum of sums) add(all, sum);
    unhealthy += all.bad;
    if (all.bad === 0) return;
    const make = (kind: DomainKind, place: string, t: Tally, boxes: Box[]): void => {
      const name = [hall.name, place].filter(Boolean).join(' ') || 'all servers';
      domains.push({ id: `${kind}:${tree.regions[hall.region]?.name}/${name}`, kind, hall: h, region: hall.region, name, state: worst(t), affected: t.bad, servers: t.used, racks: t.racks, boxes });
    };
    const box = layout.halls[h];
    if (all.bad >= all.used * HALL_SHARE && all.used >= LEAST_SERVERS && box && (hall.rows.length > 1 || rows[0]?.length !== 1)) {
      make('hall', '', all, [{ x: box.x, y: box.y, w: box.w, h: box.h }]);
      return;
    }
    const whole = hall.rows.map((row, r) => row.name !== '' && row.racks.length > 1 && hit(sums[r], ROW_SHARE));
    rowGroups(hall, whole, sums).forEach(([from, to, t]) => make('rows', span(hall, from, to), t, rowBoxes(hall, layout, from, to)));
    for (const part of parts(hall, rows, whole)) {
      const [kind, place] = describe(hall, part);
      const t = tally();
      for (const [r, p] of part) add(t, rows[r]?.[p] ?? tally());
      make(kind, place, t, rackBoxes(hall, layout, part));
    }
  });
  domains.sort((a, b) => b.affected * (WEIGHT[b.state] ?? 1) - a.affected * (WEIGHT[a.state] ?? 1) || a.name.localeCompare(b.name));
  return { domains, unhealthy, explained: domains.reduce((sum, domain) => sum + domain.affected, 0) };
}

const hit = (t: Tally | undefined, share: number): boolean => t !== undefined && t.used >= LEAST_SERVERS && t.bad >= t.used * share;

function count(rack: number, first: number, used: number, codes: Uint8Array, silenced: Uint8Array | undefined): Tally {
  const out = tally();
  out.used = used;
  for (let i = first; i < first + used; i++) {
    const code = codes[i] as number;
    if (code === OK || silenced?.[i]) continue;
    out.by[code as 0]++;
    out.bad++;
  }
  if (out.bad) out.racks.push(rack);
  return out;
}

/** Runs of neighbouring bad rows that are in the same state. */
function rowGroups(hall: Hall, whole: boolean[], sums: Tally[]): [number, number, Tally][] {
  const out: [number, number, Tally][] = [];
  for (let r = 0; r < hall.rows.length; r++) {
    if (!whole[r]) continue;
    const t = tally();
    let to = r;
    const state = worst(sums[r] ?? tally());
    while (to < hall.rows.length && whole[to] && worst(sums[to] ?? tally()) === state && (hall.floor || to === r)) add(t, sums[to++] ?? tally());
    out.push([r, to - 1, t]);
    r = to - 1;
  }
  return out;
}

type Cell = [row: number, position: number];

/** Groups of bad racks outside bad rows that touch: beside one another, or at the same position of neighbouring rows. */
function parts(hall: Hall, rows: Tally[][], whole: boolean[]): Cell[][] {
  const open = new Map<string, Cell>();
  rows.forEach((racks, r) => {
    if (!whole[r]) racks.forEach((t, p) => hit(t, RACK_SHARE) && open.set(`${r},${p}`, [r, p]));
  });
  const out: Cell[][] = [];
  for (const start of [...open.values()]) {
    if (!open.delete(`${start[0]},${start[1]}`)) continue;
    const part: Cell[] = [start];
    for (const [r, p] of part) {
      const beside = hall.rows[r]?.name === '' && !hall.floor ? [] : [`${r},${p - 1}`, `${r},${p + 1}`];
      for (const key of [...beside, ...(hall.floor ? [`${r - 1},${p}`, `${r + 1},${p}`] : [])]) {
        const next = open.get(key);
        if (next && open.delete(key)) part.push(next);
      }
    }
    out.push(part.sort((a, b) => a[0] - b[0] || a[1] - b[1]));
  }
  return out;
}

/** `row 28`, from a name that may say so already. */
const titled = (word: string, name: string): string => (/^\d/.test(name) || name.length < 3 ? `${word} ${name}` : name);
const bare = (name: string): string => /(\d+)\s*$/.exec(name)?.[1] ?? name;

function span(hall: Hall, from: number, to: number): string {
  const a = hall.rows[from]?.name ?? '';
  const b = hall.rows[to]?.name ?? '';
  return from === to ? titled('row', a) : `rows ${bare(a)}–${bare(b)}`;
}

function describe(hall: Hall, part: Cell[]): [DomainKind, string] {
  const rows = part.map((cell) => cell[0]);
  const positions = part.map((cell) => cell[1]);
  const [top, bottom] = [Math.min(...rows), Math.max(...rows)];
  const [left, right] = [Math.min(...positions), Math.max(...positions)];
  const rackName = (r: number, p: number): string => hall.rows[r]?.racks[p]?.name ?? '';
  if (top === bottom) {
    const row = hall.rows[top]?.name ? `${titled('row', hall.rows[top].name)} ` : '';
    const nameless = rackName(top, left) === '';
    const first = hall.rows[top]?.racks[left];
    const last = hall.rows[top]?.racks[right];
    if (nameless) return ['racks', `${row}servers ${(first?.first ?? 0) + 1}–${(last?.first ?? 0) + (last?.used ?? 0)}`];
    return ['racks', left === right ? `${row}${titled('rack', rackName(top, left))}` : `${row}racks ${bare(rackName(top, left))}–${bare(rackName(top, right))}`];
  }
  if (left === right && bottom - top + 1 >= LEAST_ROWS) {
    const within = bottom - top + 1 === hall.rows.length ? '' : `, ${span(hall, top, bottom)}`;
    return ['position', `rack position ${bare(rackName(top, left))}${within}`];
  }
  return ['area', `floor area, ${span(hall, top, bottom)}`];
}

function rowBoxes(hall: Hall, layout: Layout, from: number, to: number): Box[] {
  const cells: Cell[] = [];
  for (let r = from; r <= to; r++) hall.rows[r]?.racks.forEach((_, p) => cells.push([r, p]));
  return rackBoxes(hall, layout, cells);
}

/** The racks' outlines, one a column of the data centre: rows that wrapped to the second column get their own box. */
function rackBoxes(hall: Hall, layout: Layout, cells: Cell[]): Box[] {
  const boxes: Box[] = [];
  let before = -1;
  for (const [r, p] of cells) {
    const id = hall.rows[r]?.racks[p]?.id;
    if (id === undefined) continue;
    const x = layout.rackX[id] as number;
    const y = layout.rackY[id] as number;
    const w = layout.rackW[id] as number;
    const box = boxes.at(-1);
    const wrapped = box !== undefined && y < before;
    before = y;
    if (!box || wrapped) boxes.push({ x, y, w, h: RACK_HEIGHT });
    else {
      const right = Math.max(box.x + box.w, x + w);
      const bottom = Math.max(box.y + box.h, y + RACK_HEIGHT);
      box.x = Math.min(box.x, x);
      box.w = right - box.x;
      box.h = bottom - box.y;
    }
  }
  return boxes;
}
