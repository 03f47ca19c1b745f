// One texel per cell of the layout, and five reductions of it: the worst rank survives, the share affected is averaged.
import { CRITICAL, NO_DATA, OK, WARNING } from './codec.ts';
import { slotX, slotY, type Layout } from './layout.ts';

/** Ranks of states, worst last: 0 is no cell at all. */
export const RANK_OK = 1;
export const RANK_WARNING = 2;
export const RANK_NO_DATA = 3;
export const RANK_CRITICAL = 4;
/** Rank of each code on the wire. */
export const STATE_RANKS = Uint8Array.from([RANK_OK, RANK_WARNING, RANK_CRITICAL, RANK_NO_DATA]);
/** Ramp steps 0..=14 rank 2..=16; no value is the lowest cell. */
export const RAMP_RANKS = Uint8Array.from({ length: 16 }, (_, code) => (code === 15 ? 1 : code + 2));

export const LEVELS = 6;

export interface Plane {
  w: number;
  h: number;
  /** `rank << 16 | share << 8 | cover`: share of the cells below that are not ok, and share that are cells, 255 = all. */
  texels: Uint32Array;
}
export interface Grid {
  planes: Plane[];
  ranks: Uint8Array;
}

const texel = (rank: number, bad: boolean): number => (rank << 16) | (bad ? 0xff00 : 0) | 0xff;

/** The grid of a layout with these codes; silenced servers count as ok. */
export function grid(layout: Layout, codes: Uint8Array, silenced: Uint8Array | undefined, ranks: Uint8Array = STATE_RANKS): Grid {
  const planes: Plane[] = [];
  let w = layout.w;
  let h = layout.h;
  for (let level = 0; level < LEVELS; level++) {
    planes.push({ w, h, texels: new Uint32Array(w * h) });
    w = Math.ceil(w / 2);
    h = Math.ceil(h / 2);
  }
  const made = { planes, ranks };
  fill(made, layout, codes, silenced);
  return made;
}

/** Writes all codes and rebuilds every level. */
export function fill(grid: Grid, layout: Layout, codes: Uint8Array, silenced: Uint8Array | undefined): void {
  const base = grid.planes[0] as Plane;
  const { texels, w } = base;
  texels.fill(0);
  for (let rack = 0; rack < layout.rackFirst.length; rack++) {
    const first = layout.rackFirst[rack] as number;
    const used = layout.rackUsed[rack] as number;
    const width = layout.rackW[rack] as number;
    const at = (layout.rackY[rack] as number) * w + (layout.rackX[rack] as number);
    for (let slot = 0; slot < used; slot++) {
      const i = first + slot;
      const code = silenced?.[i] ? OK : (codes[i] as number);
      texels[at + slotY(slot, width) * w + slotX(slot, width)] = texel(grid.ranks[code] as number, code !== OK);
    }
  }
  for (let level = 1; level < LEVELS; level++) {
    halve(grid.planes[level - 1] as Plane, grid.planes[level] as Plane);
  }
}

/** One level from the one below. Four equal texels, which most are, reduce to themselves. */
function halve(from: Plane, to: Plane): void {
  const { texels, w, h } = from;
  for (let y = 0, at = 0; y < to.h; y++) {
    const top = 2 * y * w;
    const bottom = top + w;
    const inside = 2 * y + 1 < h;
    for (let x = 0; x < to.w; x++, at++) {
      const px = 2 * x;
      const t = texels[top + px] as number;
      const same = inside && px + 1 < w && t === texels[top + px + 1] && t === texels[bottom + px] && t === texels[bottom + px + 1];
      to.texels[at] = same ? t : reduce(from, x, y);
    }
  }
}

function reduce(from: Plane, x: number, y: number): number {
  let rank = 0;
  let share = 0;
  let cover = 0;
  const x1 = Math.min(from.w, 2 * x + 2);
  const y1 = Math.min(from.h, 2 * y + 2);
  for (let py = 2 * y; py < y1; py++) {
    for (let px = 2 * x; px < x1; px++) {
      const t = from.texels[py * from.w + px] as number;
      const c = t & 0xff;
      if (t >>> 16 > rank) rank = t >>> 16;
      share += ((t >>> 8) & 0xff) * c;
      cover += c;
    }
  }
  if (cover === 0) return 0;
  // A single bad cell must never round down to no share at all, nor a single cell to no cover.
  return (rank << 16) | (Math.ceil(share / cover) << 8) | Math.max(1, cover >> 2);
}

/** Rewrites the cell of one server and the texels above it. */
export function update(grid: Grid, layout: Layout, rack: number, slot: number, code: number): void {
  const width = layout.rackW[rack] as number;
  let x = (layout.rackX[rack] as number) + slotX(slot, width);
  let y = (layout.rackY[rack] as number) + slotY(slot, width);
  const base = grid.planes[0] as Plane;
  base.texels[y * base.w + x] = texel(grid.ranks[code] as number, code !== OK);
  for (let level = 1; level < LEVELS; level++) {
    const plane = grid.planes[level] as Plane;
    x >>= 1;
    y >>= 1;
    plane.texels[y * plane.w + x] = reduce(grid.planes[level - 1] as Plane, x, y);
  }
}

/** The rack of a server: the last whose first server is not after it. */
export function rackOf(layout: Layout, server: number): number {
  let low = 0;
  let high = layout.rackFirst.length;
  while (high - low > 1) {
    const mid = (low + high) >> 1;
    if ((layout.rackFirst[mid] as number) <= server) low = mid;
    else high = mid;
  }
  return low;
}

export const stateName = (code: number): 'ok' | 'warning' | 'critical' | 'no_data' => (code === WARNING ? 'warning' : code === CRITICAL ? 'critical' : code === NO_DATA ? 'no_data' : 'ok');
