// From texels to pixels. Every texel that a pixel covers is read, so no cell is lost at any zoom.
import { RANK_CRITICAL, RANK_NO_DATA, RANK_OK, RANK_WARNING, type Grid, type Plane } from './grid.ts';

export interface View {
  /** Cell at the left and top edge of the picture; may be negative or fractional. */
  x: number;
  y: number;
  /** Picture pixels a cell. */
  scale: number;
  width: number;
  height: number;
  /** Picture pixels a CSS pixel. */
  ratio: number;
}

/** 24-bit colours. */
export interface Palette {
  healthy: number;
  warning: number;
  critical: number;
  noData: number;
  /** Lines of the hatch on cells without data. */
  hatch: number;
  /** Sequential ramp, low to high, for anything but states. */
  ramp: number[];
}

/** Smallest cell that gets a line between it and its neighbours, in picture pixels. */
const LINE_FROM = 4;
/** Share of bad cells in the surrounding 8 × 8 at which a state is drawn at full strength. */
const FULL_AT = 0.17;
/** Strength of a state's colour where it stands alone. */
const ALONE: Record<number, number> = { [RANK_WARNING]: 0.5, [RANK_NO_DATA]: 0.7, [RANK_CRITICAL]: 0.82 };

const mix = (a: number, b: number, t: number): number => {
  const part = (shift: number): number => Math.round(((a >> shift) & 255) * (1 - t) + ((b >> shift) & 255) * t);
  return (part(16) << 16) | (part(8) << 8) | part(0);
};
/** 24-bit colour and alpha as a little-endian RGBA word. */
const rgba = (color: number, alpha: number): number => ((alpha << 24) | ((color & 255) << 16) | (color & 0xff00) | (color >> 16)) >>> 0;

/** Colours by rank × 256: for the lowest rank by cover (as alpha), for the others by the share around. */
function table(palette: Palette, ramp: boolean, near: number): Uint32Array {
  const out = new Uint32Array(18 * 256);
  for (let i = 0; i < 256; i++) {
    out[RANK_OK * 256 + i] = rgba(palette.healthy, Math.min(255, Math.round(255 * (0.25 + 0.75 * (i / 255)))));
    if (ramp) {
      out[RANK_OK * 256 + i] = rgba(mix(palette.healthy, 0x808080, 0.6), Math.round(i * 0.4));
      for (let step = 0; step < 15; step++) out[(step + 2) * 256 + i] = rgba(palette.ramp[step] ?? 0, 255);
      continue;
    }
    const around = Math.min(1, i / 255 / FULL_AT);
    const state = (rank: number, color: number): void => {
      const far = ALONE[rank] ?? 1;
      const alone = far + (1 - far) * near;
      out[rank * 256 + i] = rgba(mix(palette.healthy, color, alone + (1 - alone) * around), 255);
    };
    state(RANK_WARNING, palette.warning);
    state(RANK_NO_DATA, palette.noData);
    state(RANK_CRITICAL, palette.critical);
  }
  return out;
}

/** Fills `out` (width × height words) with the picture of `view`. */
export function draw(grid: Grid, view: View, palette: Palette, out: Uint32Array, ramp = false): void {
  // Seen from near, every cell says its state at full strength.
  const near = Math.max(0, Math.min(1, (view.scale / view.ratio - 2) / 4));
  const colors = table(palette, ramp, near);
  const hatch = rgba(palette.hatch, 255);
  if (view.scale >= 1) cells(grid, view, colors, hatch, out, ramp);
  else areas(grid, view, colors, hatch, out, ramp);
}

/** Strips of the diagonal hatch, in picture pixels: bright, then dark. */
const striped = (x: number, y: number, ratio: number): boolean => (x + y) % Math.round(5 * ratio) < 2 * ratio;

/** One pixel covers at most one cell. */
function cells(grid: Grid, view: View, colors: Uint32Array, hatch: number, out: Uint32Array, ramp: boolean): void {
  const base = grid.planes[0] as Plane;
  const around = grid.planes[3] as Plane;
  const line = view.scale >= LINE_FROM ? Math.max(1, Math.round(Math.min(view.ratio, view.scale / 8))) : 0;
  const columns = edges(view.x, view.scale, view.width, base.w, line);
  const rows = edges(view.y, view.scale, view.height, base.h, line);
  for (let y = 0, at = 0; y < view.height; y++) {
    const cy = rows[y] as number;
    if (cy < 0) {
      out.fill(0, at, (at += view.width));
      continue;
    }
    for (let x = 0; x < view.width; x++, at++) {
      const cx = columns[x] as number;
      const t = cx < 0 ? 0 : (base.texels[cy * base.w + cx] as number);
      if (t === 0) {
        out[at] = 0;
        continue;
      }
      const rank = t >>> 16;
      if (rank === RANK_OK) out[at] = colors[RANK_OK * 256 + 255] as number;
      else if (!ramp && rank === RANK_NO_DATA && striped(x, y, view.ratio)) out[at] = hatch;
      else out[at] = colors[rank * 256 + (((around.texels[(cy >> 3) * around.w + (cx >> 3)] as number) >>> 8) & 255)] as number;
    }
  }
}

/** The cell under each pixel of one axis; -1 outside and on the line before the next cell. */
function edges(start: number, scale: number, size: number, limit: number, line: number): Int32Array {
  const out = new Int32Array(size).fill(-1);
  const first = Math.max(0, Math.floor(start));
  const last = Math.min(limit - 1, Math.floor(start + size / scale));
  for (let cell = first; cell <= last; cell++) {
    const from = Math.max(0, Math.round((cell - start) * scale));
    const to = Math.min(size, Math.round((cell + 1 - start) * scale) - line);
    for (let p = from; p < to; p++) out[p] = cell;
  }
  return out;
}

/** One pixel covers several cells: read all texels under it on the level where those are two or three a side. */
function areas(grid: Grid, view: View, colors: Uint32Array, hatch: number, out: Uint32Array, ramp: boolean): void {
  const foot = 1 / view.scale;
  const level = Math.max(0, Math.min(grid.planes.length - 1, Math.floor(Math.log2(foot))));
  const plane = grid.planes[level] as Plane;
  const size = 2 ** level;
  const around = grid.planes[3] as Plane;
  const shift = 3 - level;
  const [x0, x1] = spans(view.x / size, foot / size, view.width, plane.w);
  const [y0, y1] = spans(view.y / size, foot / size, view.height, plane.h);
  for (let y = 0, at = 0; y < view.height; y++) {
    const top = y0[y] as number;
    const bottom = y1[y] as number;
    for (let x = 0; x < view.width; x++, at++) {
      const left = x0[x] as number;
      const right = x1[x] as number;
      let rank = 0;
      let cover = 0;
      let n = 0;
      let where = 0;
      for (let ty = top; ty < bottom; ty++) {
        for (let tx = left, i = ty * plane.w + left; tx < right; tx++, i++) {
          const t = plane.texels[i] as number;
          n++;
          cover += t & 255;
          if (t >>> 16 > rank) {
            rank = t >>> 16;
            where = i;
          }
        }
      }
      if (rank === 0) out[at] = 0;
      else if (rank === RANK_OK) out[at] = colors[RANK_OK * 256 + Math.floor(cover / n)] as number;
      else if (!ramp && rank === RANK_NO_DATA && striped(x, y, view.ratio)) out[at] = hatch;
      else {
        const wx = where % plane.w;
        const wy = Math.floor(where / plane.w);
        const share = shift >= 0 ? (around.texels[(wy >> shift) * around.w + (wx >> shift)] as number) : (plane.texels[where] as number);
        out[at] = colors[rank * 256 + ((share >>> 8) & 255)] as number;
      }
    }
  }
}

/** First and one past the last texel under each pixel of one axis. */
function spans(start: number, foot: number, size: number, limit: number): [Int32Array, Int32Array] {
  const from = new Int32Array(size);
  const to = new Int32Array(size);
  for (let p = 0; p < size; p++) {
    const a = start + p * foot;
    // A hair less than the far edge: a pixel that ends exactly at a texel's edge does not cover that texel.
    from[p] = Math.max(0, Math.min(limit, Math.floor(a + 1e-6)));
    to[p] = Math.max(from[p] as number, Math.min(limit, Math.ceil(a + foot - 1e-6)));
  }
  return [from, to];
}
