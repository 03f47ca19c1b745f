// Floor plan of rack strips (docs/concepts/ui.md): racks are upright blocks of 10 cells' height, rows are bars, data centres wrap into one or
// two columns, regions flow into shelves. Everything is in whole cells, so that one grid of texels holds the whole fleet.
import type { Hall, Tree } from './tree.ts';

/** Cells in a rack's column, and from one row to the next. */
export const RACK_HEIGHT = 10;
const PITCH = RACK_HEIGHT + 1;
/** Cells between the two columns of a data centre. */
const AISLE = 2;

export interface HallBox {
  /** Cells. */
  x: number;
  y: number;
  w: number;
  h: number;
  hall: number;
}
export interface RegionBox {
  x: number;
  y: number;
  w: number;
  region: number;
}
export interface Layout {
  /** Size of the whole in cells. */
  w: number;
  h: number;
  /** CSS pixels a cell at which the whole fits its viewport. */
  scale: number;
  halls: HallBox[];
  regions: RegionBox[];
  /** By rack id, in cells: left edge, top edge, width. */
  rackX: Uint16Array;
  rackY: Uint16Array;
  rackW: Uint8Array;
  /** By rack id: first server, servers, hall, row in hall. */
  rackFirst: Uint32Array;
  rackUsed: Uint8Array;
  rackHall: Uint16Array;
  rackRow: Uint16Array;
}

export const rackWidth = (slots: number): number => Math.max(1, Math.ceil(slots / RACK_HEIGHT));

interface Shape {
  columns: 1 | 2;
  w: number;
  h: number;
}
interface Metrics {
  /** Heights of the two label lines and the gaps, in cells at this scale. */
  region: number;
  hall: number;
  gapX: number;
  gapY: number;
  shelf: number;
}

function rowHeight(hall: Hall): number {
  // A hall with a handful of servers is not padded to full racks.
  let most = 1;
  for (const row of hall.rows) for (const rack of row.racks) most = Math.max(most, Math.min(RACK_HEIGHT, rack.slots));
  return most;
}

function shapes(hall: Hall): Shape[] {
  const widths = hall.rows.map((row) => row.racks.reduce((sum, rack) => sum + rackWidth(rack.slots), 0));
  const n = Math.max(1, widths.length);
  const height = rowHeight(hall);
  const one: Shape = { columns: 1, w: Math.max(1, ...widths), h: (n - 1) * PITCH + height };
  if (n < 4) return [one];
  const half = Math.ceil(n / 2);
  const two: Shape = { columns: 2, w: Math.max(...widths.slice(0, half)) + AISLE + Math.max(...widths.slice(half)), h: (half - 1) * PITCH + height };
  return [one, two];
}

interface Stack {
  w: number;
  h: number;
  items: { hall: number; shape: Shape }[];
}

/** The halls `from..to` one above the other, no higher than `limit`, as narrow as can be; `undefined` when they do not fit. */
function stack(halls: readonly number[], from: number, to: number, all: readonly Shape[][], limit: number, m: Metrics): Stack | undefined {
  const picks = halls.slice(from, to).map((hall) => ({ hall, options: all[hall] ?? [] }));
  const widths = [...new Set(picks.flatMap((pick) => pick.options.map((shape) => shape.w)))].sort((a, b) => a - b);
  for (const width of widths) {
    let h = 0;
    const items: Stack['items'] = [];
    for (const pick of picks) {
      const fits = pick.options.filter((shape) => shape.w <= width).sort((a, b) => a.h - b.h)[0];
      if (!fits) break;
      items.push({ hall: pick.hall, shape: fits });
      h += m.hall + fits.h + m.gapY;
    }
    if (items.length === picks.length && h - m.gapY <= limit) return { w: width, h: h - m.gapY, items };
  }
  return undefined;
}

interface Block {
  w: number;
  h: number;
  columns: Stack[];
}

/** A region's halls in order, in columns no higher than `limit`, with the least total width. */
function columnsOf(halls: readonly number[], all: readonly Shape[][], limit: number, m: Metrics): Block | undefined {
  const n = halls.length;
  const best: ({ w: number; from: number; stack: Stack } | undefined)[] = new Array(n + 1).fill(undefined);
  const cost = [0, ...new Array<number>(n).fill(Number.POSITIVE_INFINITY)];
  for (let to = 1; to <= n; to++) {
    for (let from = to - 1; from >= 0; from--) {
      const made = stack(halls, from, to, all, limit, m);
      if (!made) break;
      const w = (cost[from] ?? Number.POSITIVE_INFINITY) + made.w + (from > 0 ? m.gapX : 0);
      if (w < (cost[to] ?? 0)) {
        cost[to] = w;
        best[to] = { w, from, stack: made };
      }
    }
  }
  if (!best[n]) return undefined;
  const columns: Stack[] = [];
  for (let at = n; at > 0; ) {
    const step = best[at];
    if (!step) return undefined;
    columns.unshift(step.stack);
    at = step.from;
  }
  return { w: cost[n] ?? 0, h: Math.max(...columns.map((column) => column.h)), columns };
}

interface Shelf {
  h: number;
  blocks: { region: number; block: Block }[];
}

/** All regions on shelves of at most `w` by `h` cells in sum, or `undefined`. */
function shelves(tree: Tree, all: readonly Shape[][], w: number, h: number, m: Metrics): Shelf[] | undefined {
  const memo = new Map<string, Block | undefined>();
  const block = (region: number, limit: number): Block | undefined => {
    const key = `${region}:${limit}`;
    if (!memo.has(key)) memo.set(key, columnsOf(tree.regions[region]?.halls ?? [], all, limit, m));
    return memo.get(key);
  };
  const place = (first: number, left: number, depth: number): Shelf[] | undefined => {
    if (first >= tree.regions.length) return [];
    if (depth > 5 || left <= m.region + m.hall) return undefined;
    for (const share of depth === 5 ? [1] : [1, 0.8, 0.7, 0.62, 0.55, 0.48, 0.4, 0.33, 0.25, 0.18]) {
      const limit = Math.floor(left * share) - m.region;
      const blocks: Shelf['blocks'] = [];
      let used = 0;
      let next = first;
      while (next < tree.regions.length) {
        const made = block(next, limit);
        if (!made || used + made.w > w) break;
        blocks.push({ region: next, block: made });
        used += made.w + m.gapX;
        next++;
      }
      if (blocks.length === 0) continue;
      const height = m.region + Math.max(...blocks.map((b) => b.block.h));
      const rest = place(next, left - height - m.shelf, depth + 1);
      if (rest) return [{ h: height, blocks }, ...rest];
    }
    return undefined;
  };
  return place(0, h, 0);
}

/** Sizes of labels and gaps in CSS pixels. */
const PX = { region: 30, hall: 19, gapX: 17, gapY: 9, shelf: 26 };

/**
 * Places every rack for a viewport of `width` × `height` CSS pixels. The row pitch is a multiple of a quarter pixel and the largest that
 * fits; `most` bounds the cell (small fleets are not blown up). The same tree and viewport always give the same layout.
 */
export function layout(tree: Tree, width: number, height: number, most = 26): Layout {
  const all = tree.halls.map(shapes);
  const metrics = (scale: number): Metrics => {
    const cells = (px: number): number => Math.ceil(px / scale);
    const named = tree.regions.some((region) => region.name !== '');
    const halls = tree.halls.some((hall) => hall.name !== '');
    return { region: named ? cells(PX.region) : 0, hall: halls ? cells(PX.hall) : 0, gapX: cells(PX.gapX), gapY: cells(PX.gapY), shelf: cells(PX.shelf) };
  };
  const attempt = (quarter: number): { scale: number; shelves: Shelf[]; m: Metrics } | undefined => {
    const scale = quarter / 4 / PITCH;
    const m = metrics(scale);
    const made = shelves(tree, all, Math.floor(width / scale), Math.floor(height / scale), m);
    return made && { scale, shelves: made, m };
  };
  // Fitting is nearly monotone in the scale: bisect, then keep the best seen.
  let low = 0;
  let high = Math.floor(most * PITCH * 4) + 1;
  let best: ReturnType<typeof attempt>;
  while (high - low > 1) {
    const mid = (low + high) >> 1;
    const made = attempt(mid);
    if (made) {
      best = made;
      low = mid;
    } else high = mid;
  }
  // Nothing fits (a tiny window): one column of everything at the smallest pitch, to be scrolled by the camera.
  if (!best) {
    const scale = 1 / 4 / PITCH;
    const m = metrics(Math.max(scale, 0.25));
    const made = shelves(tree, all, 60_000, 60_000, m);
    if (!made) throw new Error(`no layout for ${tree.halls.length} data centres`);
    best = { scale: 0.25, shelves: made, m };
  }
  return write(tree, best.shelves, best.scale, best.m);
}

function write(tree: Tree, made: Shelf[], scale: number, m: Metrics): Layout {
  const out: Layout = {
    w: 1,
    h: 1,
    scale,
    halls: new Array<HallBox>(tree.halls.length),
    regions: [],
    rackX: new Uint16Array(tree.racks),
    rackY: new Uint16Array(tree.racks),
    rackW: new Uint8Array(tree.racks),
    rackFirst: new Uint32Array(tree.racks),
    rackUsed: new Uint8Array(tree.racks),
    rackHall: new Uint16Array(tree.racks),
    rackRow: new Uint16Array(tree.racks),
  };
  let top = 0;
  for (const shelf of made) {
    let left = 0;
    for (const { region, block } of shelf.blocks) {
      out.regions.push({ x: left, y: top, w: block.w, region });
      let x = left;
      for (const column of block.columns) {
        let y = top + m.region;
        for (const { hall, shape } of column.items) {
          y += m.hall;
          placeHall(tree, out, hall, shape, x, y);
          y += shape.h + m.gapY;
        }
        x += column.w + m.gapX;
      }
      out.w = Math.max(out.w, left + block.w);
      left += block.w + m.gapX;
    }
    out.h = Math.max(out.h, top + shelf.h);
    top += shelf.h + m.shelf;
  }
  return out;
}

function placeHall(tree: Tree, out: Layout, index: number, shape: Shape, x: number, y: number): void {
  const hall = tree.halls[index];
  if (!hall) return;
  out.halls[index] = { x, y, w: shape.w, h: shape.h, hall: index };
  const half = shape.columns === 2 ? Math.ceil(hall.rows.length / 2) : hall.rows.length;
  const width = (row: Hall['rows'][number]): number => row.racks.reduce((sum, rack) => sum + rackWidth(rack.slots), 0);
  const second = x + Math.max(0, ...hall.rows.slice(0, half).map(width)) + AISLE;
  hall.rows.forEach((row, r) => {
    let at = r < half ? x : second;
    const top = y + (r < half ? r : r - half) * PITCH;
    for (const rack of row.racks) {
      const w = rackWidth(rack.slots);
      out.rackX[rack.id] = at;
      out.rackY[rack.id] = top;
      out.rackW[rack.id] = w;
      out.rackFirst[rack.id] = rack.first;
      out.rackUsed[rack.id] = rack.used;
      out.rackHall[rack.id] = index;
      out.rackRow[rack.id] = r;
      at += w;
    }
  });
}

/** The cell of slot `slot` inside a rack of width `w`: row by row from the top, so that a half-filled rack is a shorter block. */
export const slotX = (slot: number, w: number): number => slot % w;
export const slotY = (slot: number, w: number): number => Math.floor(slot / w);

/** The rack whose block holds a cell, and the slot there; -1 when the cell is none. `index` is `rackIndex(layout)`. */
export function hit(layout: Layout, index: RackIndex, x: number, y: number): { rack: number; slot: number } {
  for (const box of layout.halls) {
    if (x < box.x || y < box.y || x >= box.x + box.w || y >= box.y + box.h) continue;
    for (const strip of index[box.hall] ?? []) {
      if (y < strip.y || y >= strip.y + RACK_HEIGHT || x < strip.x || x >= strip.end) continue;
      let low = 0;
      let high = strip.racks.length;
      while (high - low > 1) {
        const mid = (low + high) >> 1;
        if ((layout.rackX[strip.racks[mid] as number] as number) <= x) low = mid;
        else high = mid;
      }
      const rack = strip.racks[low] as number;
      const w = layout.rackW[rack] as number;
      const slot = (y - (layout.rackY[rack] as number)) * w + (x - (layout.rackX[rack] as number));
      return { rack, slot: slot < (layout.rackUsed[rack] as number) ? slot : -1 };
    }
  }
  return { rack: -1, slot: -1 };
}

export type RackIndex = { x: number; end: number; y: number; racks: number[] }[][];

/** Racks of each row of each hall, for `hit`. */
export function rackIndex(tree: Tree, layout: Layout): RackIndex {
  return tree.halls.map((hall) =>
    hall.rows
      .filter((row) => row.racks.length)
      .map((row) => {
        const racks = row.racks.map((rack) => rack.id);
        const last = racks.at(-1) as number;
        return { x: layout.rackX[racks[0] as number] as number, y: layout.rackY[racks[0] as number] as number, end: (layout.rackX[last] as number) + (layout.rackW[last] as number), racks };
      }),
  );
}
