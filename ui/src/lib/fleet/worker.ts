// The map's worker: answers the verbs of protocol.ts from one Engine, and draws.
import { advance, decodeHistory, StaleTopology, type History } from './codec.ts';
import { difference } from './difference.ts';
import { draw, type Palette, type View } from './draw.ts';
import { Engine } from './engine.ts';
import { RANK_CRITICAL, RANK_NO_DATA, RANK_WARNING } from './grid.ts';
import { cellOf, findPlace, nextCell, rackTitle } from './places.ts';
import type { Curve, Label, Picture, Plan, Reply, Request, Shape, Verb, Verbs } from './protocol.ts';

const engine = new Engine();
let past: History | undefined;
let replay = { index: -1, codes: new Uint8Array(0) };

function load({ bytes }: Verbs['load']['in']): Shape {
  engine.load(new Uint8Array(bytes));
  past = undefined;
  const { topology, tree } = engine;
  if (!topology || !tree) throw new Error('the topology did not load');
  return {
    hash: topology.hash,
    servers: topology.servers,
    racks: topology.racks,
    levels: topology.levels,
    floor: !topology.noFloor,
    regions: tree.regions,
    halls: tree.halls.map(({ name, region, servers }) => ({ name, region, servers })),
  };
}
function fit({ width, height }: Verbs['fit']['in']): Plan {
  const { w, h, scale, halls, regions } = engine.fit(width, height);
  return { w, h, scale, halls, regions };
}

let canvas: OffscreenCanvas | undefined;

/** Glyphs appear on cells of 9 CSS pixels and more. */
const GLYPH_FROM = 9;

function picture({ view, palette, labels }: Verbs['draw']['in']): Picture | undefined {
  const { grid, state } = engine;
  if (!grid || !state) return undefined;
  if (canvas?.width !== view.width || canvas.height !== view.height) canvas = new OffscreenCanvas(view.width, view.height);
  const ctx = canvas.getContext('2d');
  if (!ctx) throw new Error('this browser gives no canvas to a worker');
  const image = ctx.createImageData(view.width, view.height);
  draw(grid, view, palette, new Uint32Array(image.data.buffer), state.ramp !== undefined);
  ctx.putImageData(image, 0, 0);
  if (!state.ramp && view.scale / view.ratio >= GLYPH_FROM) glyphs(ctx, view, palette);
  return { bitmap: canvas.transferToImageBitmap(), view, ...(labels ? names(view) : { rows: [], racks: [] }) };
}

/** Cross, triangle and dotted outline: what colour alone must not say. */
function glyphs(ctx: OffscreenCanvasRenderingContext2D, view: View, palette: Palette): void {
  const plane = engine.grid?.planes[0];
  const silenced = engine.state?.silenced;
  if (!plane) return;
  const size = view.scale - Math.max(1, Math.round(Math.min(view.ratio, view.scale / 8)));
  const x1 = Math.min(plane.w, Math.ceil(view.x + view.width / view.scale));
  const y1 = Math.min(plane.h, Math.ceil(view.y + view.height / view.scale));
  ctx.lineCap = 'round';
  for (let y = Math.max(0, Math.floor(view.y)); y < y1; y++) {
    for (let x = Math.max(0, Math.floor(view.x)); x < x1; x++) {
      const rank = (plane.texels[y * plane.w + x] as number) >>> 16;
      if (rank === 0) continue;
      const px = Math.round((x - view.x) * view.scale);
      const py = Math.round((y - view.y) * view.scale);
      if (rank === RANK_CRITICAL) cross(ctx, px, py, size);
      else if (rank === RANK_WARNING) triangle(ctx, px, py, size);
      else if (rank !== RANK_NO_DATA && silenced && engine.spot(x, y)?.silenced) dotted(ctx, px, py, size, palette);
    }
  }
}
function cross(ctx: OffscreenCanvasRenderingContext2D, x: number, y: number, size: number): void {
  const inset = size * 0.3;
  ctx.strokeStyle = '#fff';
  ctx.lineWidth = Math.max(1.2, size * 0.13);
  ctx.beginPath();
  ctx.moveTo(x + inset, y + inset);
  ctx.lineTo(x + size - inset, y + size - inset);
  ctx.moveTo(x + size - inset, y + inset);
  ctx.lineTo(x + inset, y + size - inset);
  ctx.stroke();
}
function triangle(ctx: OffscreenCanvasRenderingContext2D, x: number, y: number, size: number): void {
  ctx.fillStyle = '#1c1500';
  ctx.beginPath();
  ctx.moveTo(x + size / 2, y + size * 0.26);
  ctx.lineTo(x + size * 0.76, y + size * 0.72);
  ctx.lineTo(x + size * 0.24, y + size * 0.72);
  ctx.fill();
}
function dotted(ctx: OffscreenCanvasRenderingContext2D, x: number, y: number, size: number, palette: Palette): void {
  ctx.strokeStyle = `#${palette.warning.toString(16).padStart(6, '0')}`;
  ctx.lineWidth = Math.max(1, size * 0.08);
  ctx.setLineDash([size * 0.12, size * 0.16]);
  ctx.strokeRect(x + 1, y + 1, size - 2, size - 2);
  ctx.setLineDash([]);
}

/** Names of the rows and racks in view, for the page to write over the picture. */
function names(view: View): { rows: Label[]; racks: Label[] } {
  const { tree, layout } = engine;
  const out: { rows: Label[]; racks: Label[] } = { rows: [], racks: [] };
  if (!tree || !layout) return out;
  const right = view.x + view.width / view.scale;
  const bottom = view.y + view.height / view.scale;
  for (const box of layout.halls) {
    if (box.x > right || box.x + box.w < view.x || box.y > bottom || box.y + box.h < view.y) continue;
    for (const row of tree.halls[box.hall]?.rows ?? []) {
      const first = row.racks[0];
      if (!first) continue;
      const y = layout.rackY[first.id] as number;
      if (y > bottom || y + 10 < view.y) continue;
      if (row.name) out.rows.push({ x: layout.rackX[first.id] as number, y, text: row.name });
      for (const rack of row.racks) {
        const x = layout.rackX[rack.id] as number;
        if (x < right && x + 6 > view.x && out.racks.length < 600) out.racks.push({ x, y, text: rackTitle(rack) });
      }
    }
  }
  return out;
}

function history({ bytes }: Verbs['history']['in']): Curve {
  past = decodeHistory(new Uint8Array(bytes));
  if (past.hash !== engine.topology?.hash) throw new StaleTopology('the history belongs to another topology');
  replay = { index: -1, codes: new Uint8Array(past.servers) };
  const column = (pick: (i: number) => number): Int32Array => Int32Array.from(past?.frames ?? [], (frame, i) => (frame.kind === 2 ? -1 : pick(i)));
  const frames = past.frames;
  return {
    from: past.from,
    step: past.step,
    warning: column((i) => frames[i]?.warning ?? 0),
    critical: column((i) => frames[i]?.critical ?? 0),
    noData: column((i) => frames[i]?.noData ?? 0),
  };
}

/** What is bad at `index` and was not, or not so bad, at `since`; what was bad already is quiet. */
function changes(since: number, index: number): Verbs['frame']['out'] {
  if (!frame({ index: since })) return undefined;
  const before = replay.codes.slice();
  const after = frame({ index });
  if (!past || !after) return undefined;
  const { codes, silenced, change } = difference(before, replay.codes);
  engine.show({ hash: past.hash, sequence: -1, time: past.from + index * past.step, bits: 2, codes, silenced, ramp: undefined }, change);
  return engine.snapshot();
}

/** Replays to a frame: onwards from the last one when it can, else from the keyframe before. */
function frame({ index, since }: Verbs['frame']['in']): Verbs['frame']['out'] {
  if (since !== undefined) return changes(since, index);
  const frames = past?.frames;
  if (!past || !frames || frames[index] === undefined || frames[index].kind === 2) return undefined;
  let from = index;
  while (from > 0 && frames[from]?.kind === 1) from--;
  if (replay.index >= from && replay.index <= index) from = replay.index + 1;
  for (let i = from; i <= index; i++) advance(past, i, replay.codes);
  replay.index = index;
  engine.show({ hash: past.hash, sequence: -1, time: past.from + index * past.step, bits: 2, codes: replay.codes.slice(), silenced: undefined, ramp: undefined });
  return engine.snapshot();
}

const verbs: { [V in Verb]: (args: Verbs[V]['in']) => Verbs[V]['out'] } = {
  load,
  fit,
  state: ({ bytes }) => {
    engine.replace(new Uint8Array(bytes));
    return { sequence: engine.state?.sequence ?? 0 };
  },
  delta: ({ data, sequence }) => ({ ok: engine.delta(data, sequence) }),
  snapshot: () => engine.snapshot(),
  draw: picture,
  spot: ({ x, y }) => engine.spot(x, y),
  step: ({ x, y, dx, dy }) => nextCell(engine, x, y, dx, dy),
  cell: ({ server }) => cellOf(engine, server),
  place: ({ path }) => findPlace(engine, path),
  history,
  frame,
};

onmessage = (event: MessageEvent<Request>) => {
  const { id, verb, args } = event.data;
  let reply: Reply;
  const moved: Transferable[] = [];
  try {
    const value = (verbs[verb] as (args: unknown) => unknown)(args);
    if (verb === 'draw' && value) moved.push((value as Picture).bitmap);
    reply = { id, value };
  } catch (cause) {
    reply = { id, error: cause instanceof Error ? cause.message : String(cause), stale: cause instanceof StaleTopology };
  }
  postMessage(reply, { transfer: moved });
};
