// Which part of the layout is on screen: pure arithmetic of panning and zooming.
import type { Box } from './domains.ts';

/** Cell at the left and top edge, and CSS pixels a cell. */
export interface Camera {
  x: number;
  y: number;
  scale: number;
}
export interface Size {
  width: number;
  height: number;
}

export const MAX_SCALE = 44;
/** Room around the whole, in CSS pixels: left, top, right, bottom. */
export const MARGIN = { left: 18, top: 14, right: 18, bottom: 14 };

/** The whole layout, from the top left corner on. */
export const home = (plan: { scale: number }): Camera => ({ x: -MARGIN.left / plan.scale, y: -MARGIN.top / plan.scale, scale: plan.scale });

/** Zooms by `factor`, keeping the cell under the pointer (CSS pixels) where it is. */
export function zoomAt(camera: Camera, factor: number, px: number, py: number, least: number): Camera {
  const scale = Math.max(least, Math.min(MAX_SCALE, camera.scale * factor));
  return { scale, x: camera.x + px / camera.scale - px / scale, y: camera.y + py / camera.scale - py / scale };
}

export const pan = (camera: Camera, dx: number, dy: number): Camera => ({ ...camera, x: camera.x - dx / camera.scale, y: camera.y - dy / camera.scale });

/** Keeps at least a third of the viewport over the layout. */
export function clamp(camera: Camera, plan: { w: number; h: number }, size: Size): Camera {
  const keep = (at: number, extent: number, view: number): number => Math.max(-view * 0.66, Math.min(extent - view * 0.34, at));
  return { ...camera, x: keep(camera.x, plan.w, size.width / camera.scale), y: keep(camera.y, plan.h, size.height / camera.scale) };
}

/** A view of `box` with room around it; never closer than `most` pixels a cell, never farther than the whole. */
export function focus(box: Box, size: Size, least: number, most = 14): Camera {
  const room = 0.62;
  const scale = Math.max(least, Math.min(most, (size.width * room) / box.w, (size.height * room) / box.h));
  return { scale, x: box.x + box.w / 2 - size.width / scale / 2, y: box.y + box.h / 2 - size.height / scale / 2 };
}

/** Between two views, zooming evenly to the eye. `t` from 0 to 1. */
export function between(a: Camera, b: Camera, t: number): Camera {
  const k = t * t * (3 - 2 * t);
  const scale = a.scale * (b.scale / a.scale) ** k;
  // The cell that both views agree on stays put while the scale changes.
  const along = Math.abs(b.scale - a.scale) < 1e-9 ? k : (1 / a.scale - 1 / scale) / (1 / a.scale - 1 / b.scale);
  return { scale, x: a.x + (b.x - a.x) * along, y: a.y + (b.y - a.y) * along };
}
