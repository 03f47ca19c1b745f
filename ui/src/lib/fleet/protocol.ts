// What the page and the map's worker say to each other. Every request is answered once.
import type { Snapshot, Spot } from './engine.ts';
import type { Box } from './domains.ts';
import type { Palette, View } from './draw.ts';
import type { HallBox, RegionBox } from './layout.ts';

export interface Shape {
  hash: string;
  servers: number;
  racks: number;
  levels: string[];
  floor: boolean;
  regions: { name: string; halls: number[] }[];
  halls: { name: string; region: number; servers: number }[];
}
export interface Plan {
  w: number;
  h: number;
  scale: number;
  halls: HallBox[];
  regions: RegionBox[];
}
export interface Label {
  x: number;
  y: number;
  text: string;
}
export interface Picture {
  bitmap: ImageBitmap;
  view: View;
  rows: Label[];
  racks: Label[];
}
/** One child of a place in the parallel table. */
export interface Child {
  name: string;
  servers: number;
  warning: number;
  critical: number;
  noData: number;
  silenced: number;
}
export interface Place {
  box: Box;
  rack: number;
  path: string[];
  children: Child[];
}
export interface Curve {
  from: number;
  step: number;
  /** By frame; -1 where nothing is known. */
  warning: Int32Array;
  critical: Int32Array;
  noData: Int32Array;
}

/** The worker's verbs: arguments and answer of each. */
export interface Verbs {
  load: { in: { bytes: ArrayBuffer }; out: Shape };
  fit: { in: { width: number; height: number }; out: Plan };
  state: { in: { bytes: ArrayBuffer }; out: { sequence: number } };
  delta: { in: { data: string; sequence: number }; out: { ok: boolean } };
  snapshot: { in: Record<string, never>; out: Snapshot | undefined };
  draw: { in: { view: View; palette: Palette; labels: boolean }; out: Picture | undefined };
  spot: { in: { x: number; y: number }; out: Spot | undefined };
  step: { in: { x: number; y: number; dx: number; dy: number }; out: { x: number; y: number } | undefined };
  cell: { in: { server: number }; out: { x: number; y: number } | undefined };
  place: { in: { path: string[] }; out: Place | undefined };
  history: { in: { bytes: ArrayBuffer }; out: Curve };
  /** With `since`: what is different from that frame. */
  frame: { in: { index: number; since?: number | undefined }; out: Snapshot | undefined };
}
export type Verb = keyof Verbs;
export type Request = { [V in Verb]: { id: number; verb: V; args: Verbs[V]['in'] } }[Verb];
export type Reply = { id: number; value: unknown } | { id: number; error: string; stale: boolean };
