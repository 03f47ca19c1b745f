// What is written over the map's picture: names of places, outlines and numbers of failure domains, cursor.
import { short } from '../format.ts';
import type { Camera, Size } from './camera.ts';
import { CRITICAL, NO_DATA } from './codec.ts';
import type { Box, Domain } from './domains.ts';
import type { Snapshot } from './engine.ts';
import type { Label, Plan, Shape } from './protocol.ts';

export interface Ink {
  bg: string;
  line: string;
  fg: string;
  fg2: string;
  fg3: string;
  accent: string;
  badge: string;
  onBadge: string;
  warning: string;
  critical: string;
  noData: string;
}
export interface Scene {
  camera: Camera;
  size: Size;
  ink: Ink;
  shape: Shape;
  plan: Plan;
  snapshot: Snapshot | undefined;
  rows: readonly Label[];
  racks: readonly Label[];
  /** Domain in focus, place in focus, cell under the cursor. */
  domain: string | undefined;
  place: Box | undefined;
  cell: { x: number; y: number } | undefined;
}

const FONT = '"Inter Variable", sans-serif';
/** Domains past this many are listed, not drawn: more numbers hide more than they tell. */
export const MOST_OUTLINES = 24;
/** A data centre says how many are bad when they are at least this many and this share. */
const SAY_FROM = 25;
const SAY_SHARE = 0.015;

export const glyph = (state: number): string => (state === CRITICAL ? '×' : state === NO_DATA ? '◇' : '▴');

export function overlay(ctx: CanvasRenderingContext2D, scene: Scene): void {
  const { camera } = scene;
  const sx = (x: number): number => (x - camera.x) * camera.scale;
  const sy = (y: number): number => (y - camera.y) * camera.scale;
  ctx.textBaseline = 'alphabetic';
  regions(ctx, scene, sx, sy);
  halls(ctx, scene, sx, sy);
  if (camera.scale >= 9) inside(ctx, scene, sx, sy);
  const taken: Box[] = [];
  const shown = scene.snapshot?.findings.domains.slice(0, MOST_OUTLINES) ?? [];
  shown.forEach((domain, i) => outline(ctx, scene, domain, i + 1, sx, sy, taken));
  if (scene.place) frame(ctx, scene.ink.accent, { x: sx(scene.place.x), y: sy(scene.place.y), w: scene.place.w * camera.scale, h: scene.place.h * camera.scale }, 2);
  if (scene.cell) {
    const side = Math.max(6, camera.scale);
    ctx.strokeStyle = scene.ink.fg;
    ctx.lineWidth = 2;
    ctx.strokeRect(sx(scene.cell.x) - 1, sy(scene.cell.y) - 1, side + 1, side + 1);
  }
}

function regions(ctx: CanvasRenderingContext2D, { plan, shape, camera, size, ink }: Scene, sx: (x: number) => number, sy: (y: number) => number): void {
  for (const box of plan.regions) {
    const name = shape.regions[box.region]?.name;
    if (!name) continue;
    const x = sx(box.x);
    const y = sy(box.y);
    const w = box.w * camera.scale;
    if (y > size.height || y < -20 || x > size.width || x + w < 0) continue;
    ctx.font = `550 11px ${FONT}`;
    ctx.letterSpacing = '0.66px';
    ctx.fillStyle = ink.fg2;
    ctx.fillText(fitting(ctx, name.toUpperCase(), Math.max(34, w)), Math.max(x, 6), y + 12);
    ctx.letterSpacing = '0px';
    ctx.fillStyle = ink.line;
    ctx.fillRect(x, Math.round(y + 19), w, 1);
  }
}

function halls(ctx: CanvasRenderingContext2D, { plan, shape, camera, size, ink, snapshot }: Scene, sx: (x: number) => number, sy: (y: number) => number): void {
  for (const box of plan.halls) {
    const hall = shape.halls[box.hall];
    if (!hall?.name) continue;
    const x = sx(box.x);
    const w = box.w * camera.scale;
    const top = sy(box.y);
    const bottom = top + box.h * camera.scale;
    if (bottom < 12 || top > size.height + 16 || x > size.width || x + w < 0) continue;
    // The name stays in sight while any of its servers are.
    const left = Math.max(x, 10);
    const above = camera.scale >= 12 ? top - 17 : top - 5;
    const y = Math.max(above, 16);
    const stuck = y !== above;
    ctx.font = `600 12px ${FONT}`;
    const nameWidth = ctx.measureText(hall.name).width;
    ctx.font = `450 11px ${FONT}`;
    const amount = short(hall.servers);
    const amountWidth = ctx.measureText(amount).width;
    if (stuck) {
      ctx.fillStyle = ink.bg;
      ctx.globalAlpha = 0.88;
      ctx.beginPath();
      ctx.roundRect(left - 6, y - 13, nameWidth + amountWidth + 18, 18, 4);
      ctx.fill();
      ctx.globalAlpha = 1;
    }
    ctx.font = `600 12px ${FONT}`;
    ctx.fillStyle = ink.fg;
    ctx.fillText(hall.name, left, y);
    const room = w - nameWidth - 6;
    ctx.font = `450 11px ${FONT}`;
    ctx.fillStyle = ink.fg3;
    if (room > amountWidth || stuck) ctx.fillText(amount, left + nameWidth + 6, y);
    const bad = snapshot?.halls[box.hall];
    if (!bad || stuck || bad.affected < SAY_FROM || bad.affected < hall.servers * SAY_SHARE) continue;
    const text = `${glyph(bad.state)}${bad.affected.toLocaleString('en-US')}`;
    ctx.font = `600 11px ${FONT}`;
    const width = ctx.measureText(text).width;
    if (width > room - amountWidth - 8) continue;
    ctx.fillStyle = colorOf(ink, bad.state);
    ctx.fillText(text, x + w - width, y);
  }
}

/** As much of a text as has room, with an ellipsis when that is not all. */
function fitting(ctx: CanvasRenderingContext2D, text: string, width: number): string {
  if (ctx.measureText(text).width <= width) return text;
  let n = text.length - 1;
  while (n > 1 && ctx.measureText(`${text.slice(0, n)}…`).width > width) n--;
  return `${text.slice(0, n)}…`;
}

const colorOf = (ink: Ink, state: number): string => (state === CRITICAL ? ink.critical : state === NO_DATA ? ink.noData : ink.warning);

function inside(ctx: CanvasRenderingContext2D, { rows, racks, camera, size, ink }: Scene, sx: (x: number) => number, sy: (y: number) => number): void {
  ctx.font = `450 ${camera.scale >= 12 ? 10 : 9}px ${FONT}`;
  ctx.fillStyle = ink.fg3;
  const tall = camera.scale >= 12;
  if (tall) {
    for (const label of racks) {
      const x = sx(label.x);
      const y = sy(label.y) - 2;
      if (x > -60 && x < size.width && y > 0 && y < size.height + 10) ctx.fillText(label.text, x, y, camera.scale * 3.8);
    }
    return;
  }
  for (const label of rows) {
    const x = Math.max(sx(label.x), 4);
    const y = sy(label.y) - 1.5;
    if (y > 20 && y < size.height + 10) ctx.fillText(label.text, x, y);
  }
}

function frame(ctx: CanvasRenderingContext2D, color: string, box: Box, width: number): void {
  ctx.strokeStyle = color;
  ctx.lineWidth = width;
  ctx.beginPath();
  ctx.roundRect(box.x - 2, box.y - 2, Math.max(4, box.w) + 3, Math.max(4, box.h) + 3, 3);
  ctx.stroke();
}

function outline(ctx: CanvasRenderingContext2D, scene: Scene, domain: Domain, number: number, sx: (x: number) => number, sy: (y: number) => number, taken: Box[]): void {
  const { camera, size, ink } = scene;
  const chosen = scene.domain === domain.id;
  const boxes = domain.boxes.map((box) => ({ x: sx(box.x), y: sy(box.y), w: box.w * camera.scale, h: box.h * camera.scale }));
  if (!boxes.some((box) => box.x < size.width + 20 && box.y < size.height + 20 && box.x + box.w > -20 && box.y + box.h > -20)) return;
  for (const box of boxes) {
    frame(ctx, ink.bg, box, chosen ? 5 : 3.5);
    frame(ctx, chosen ? ink.accent : ink.badge, box, chosen ? 2 : 1.25);
  }
  const box = boxes[0];
  if (!box) return;
  const r = number > 99 ? 12 : 9;
  const spots = [
    [box.x + box.w + 15, box.y - 13],
    [box.x + box.w + 15, box.y + box.h + 13],
    [box.x - 13, box.y - 13],
    [box.x - 13, box.y + box.h + 13],
    [box.x + box.w / 2, box.y - 20],
  ] as const;
  const free = (x: number, y: number): boolean => x > r && y > r && x < size.width - r && y < size.height - r && !taken.some((t) => Math.hypot(t.x - x, t.y - y) < 2 * r + 2);
  const [x, y] = spots.find(([px, py]) => free(px, py)) ?? spots[0];
  taken.push({ x, y, w: 0, h: 0 });
  const edgeX = Math.max(box.x - 2, Math.min(box.x + box.w + 2, x));
  const edgeY = Math.max(box.y - 2, Math.min(box.y + box.h + 2, y));
  ctx.strokeStyle = chosen ? ink.accent : ink.badge;
  ctx.lineWidth = 1.5;
  ctx.beginPath();
  ctx.moveTo(edgeX, edgeY);
  ctx.lineTo(x, y);
  ctx.stroke();
  ctx.fillStyle = chosen ? ink.accent : ink.badge;
  ctx.beginPath();
  ctx.arc(x, y, r, 0, 2 * Math.PI);
  ctx.fill();
  ctx.fillStyle = ink.onBadge;
  ctx.font = `600 11px ${FONT}`;
  ctx.textAlign = 'center';
  ctx.fillText(String(number), x, y + 4);
  ctx.textAlign = 'start';
}
