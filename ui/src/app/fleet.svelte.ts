// The live fleet: fetches topology and state, follows the stream, looks at the past, and keeps the map's worker up to date.
import { tick } from 'svelte';
import { ApiError } from '../api/http.ts';
import { history, state, topology } from '../api/fleet.ts';
import type { StreamEvent } from '../api/eventStream.ts';
import { follow } from '../api/stream.ts';
import { FleetClient, WorkerError } from '../lib/fleet/client.ts';
import type { Snapshot } from '../lib/fleet/engine.ts';
import type { Curve, Plan, Shape } from '../lib/fleet/protocol.ts';

const POLL_MS = 15_000;
const HISTORY_STEPS = 360;

export class FleetModel {
  readonly client = new FleetClient();
  shape = $state.raw<Shape | undefined>();
  plan = $state.raw<Plan | undefined>();
  snapshot = $state.raw<Snapshot | undefined>();
  error = $state.raw<ApiError | undefined>();
  /** The server has no fleet endpoints. */
  missing = $state(false);
  curve = $state.raw<Curve | undefined>();
  /** When the newest word from the server came, and how often it speaks (milliseconds). */
  heard = $state(0);
  interval = $state(POLL_MS);
  /** Counts up whenever the picture must be drawn again. */
  version = $state(0);
  /** The instant shown, when it is not now. */
  past = $state<number | undefined>();
  /** The frame that the shown one is compared with. */
  base = $state<number | undefined>();

  #by: string;
  #size = { width: 0, height: 0 };
  #stream: { close: () => void } | undefined;
  #poll: ReturnType<typeof setTimeout> | undefined;
  #queue: Promise<void> = Promise.resolve();
  #dirty = false;
  #closed = false;
  /** The last change that the worker has. */
  #sequence = 0;

  constructor(by: string) {
    this.#by = by;
  }

  /** Begins once the size of the map is known; later calls lay out again. */
  async fit(width: number, height: number): Promise<void> {
    if (width < 40 || height < 40 || (this.#size.width === width && this.#size.height === height)) return;
    const first = this.#size.width === 0;
    this.#size = { width, height };
    if (first) await this.#run(() => this.#begin());
    else if (this.shape) await this.#run(async () => this.#fitted(await this.client.ask('fit', this.#size)));
  }
  #fitted(plan: Plan): void {
    this.plan = plan;
    this.version++;
    void this.client.ask('snapshot', {}).then((made) => made && (this.snapshot = made));
  }

  /** One thing after the other: a state must not overtake its topology. */
  #run(step: () => Promise<void>): Promise<void> {
    this.#queue = this.#queue.then(async () => {
      if (this.#closed) return;
      try {
        await step();
        this.error = undefined;
      } catch (cause) {
        if (this.#closed) return;
        if (cause instanceof ApiError && cause.status === 404 && !this.shape) this.missing = true;
        else this.error = cause instanceof ApiError ? cause : new ApiError(0, 'unreadable', cause instanceof Error ? cause.message : String(cause), '/api/v1/fleet');
        this.#again();
      }
    });
    return this.#queue;
  }
  #again(): void {
    clearTimeout(this.#poll);
    if (!this.missing) this.#poll = setTimeout(() => void this.#run(() => (this.shape ? this.#refetch() : this.#begin())), POLL_MS / 3);
  }

  async #begin(): Promise<void> {
    const [topo, now] = await Promise.all([topology(), state(this.#by, undefined)]);
    performance.mark('fleet-payload');
    this.shape = await this.client.ask('load', { bytes: topo }, [topo]);
    this.plan = await this.client.ask('fit', this.#size);
    await this.#apply(now);
    this.#follow();
  }
  async #apply(bytes: ArrayBuffer): Promise<void> {
    this.#sequence = (await this.client.ask('state', { bytes }, [bytes])).sequence;
    this.heard = Date.now();
    this.version++;
    // The picture is asked for first, what it means after it.
    await tick();
    this.snapshot = (await this.client.ask('snapshot', {})) ?? this.snapshot;
  }
  async #refetch(): Promise<void> {
    const bytes = await state(this.#by, this.past);
    try {
      await this.#apply(bytes);
      if (!this.#stream) this.#follow();
    } catch (cause) {
      if (!(cause instanceof WorkerError && cause.stale)) throw cause;
      this.#stream?.close();
      this.#stream = undefined;
      await this.#begin();
    }
  }

  #follow(): void {
    if (this.#by !== 'alert' && this.#by !== 'up') {
      clearTimeout(this.#poll);
      this.#poll = setTimeout(() => void this.#run(() => this.#refetch()), POLL_MS);
      return;
    }
    this.#stream?.close();
    // When nothing is heard the badge goes stale by itself.
    this.#stream = follow(this.#by, () => this.#sequence, (event) => this.#hear(event));
  }
  #hear(event: StreamEvent): void {
    if (event.kind === 'tick') {
      this.heard = Date.now();
      this.interval = event.tick.interval_ms;
    }
    if (this.past !== undefined) return;
    void this.#run(async () => {
      // The past may have been asked for while this waited.
      if (this.past !== undefined) return;
      if (event.kind === 'delta') await this.#delta(event.data, event.sequence);
      else if (event.kind === 'resync') await this.#refetch();
      // A delta that never came shows in the next tick.
      else if (event.tick.topo_hash !== this.shape?.hash || event.tick.sequence > this.#sequence) await this.#refetch();
    });
  }
  async #delta(data: string, sequence: number): Promise<void> {
    const { ok } = await this.client.ask('delta', { data, sequence });
    if (!ok) return this.#refetch();
    this.#sequence = Math.max(this.#sequence, sequence);
    this.heard = Date.now();
    // Many deltas in one frame are one repaint.
    if (this.#dirty) return;
    this.#dirty = true;
    requestAnimationFrame(() => {
      this.#dirty = false;
      this.version++;
      void this.client.ask('snapshot', {}).then((made) => made && this.past === undefined && (this.snapshot = made));
    });
  }

  /** Counts over time for the scrubber; left out when the server keeps none. */
  async loadHistory(from: number, to: number): Promise<void> {
    const step = Math.max(5000, Math.ceil((to - from) / HISTORY_STEPS / 5000) * 5000);
    try {
      const start = Math.floor(from / step) * step;
      const bytes = await history(this.#by, start, Math.floor(to / step) * step, step);
      this.curve = await this.client.ask('history', { bytes }, [bytes]);
    } catch (cause) {
      if (cause instanceof ApiError && [400, 404, 501].includes(cause.status)) this.curve = undefined;
      else if (!(cause instanceof WorkerError && cause.stale)) throw cause;
    }
  }
  /** Shows one frame of the history. */
  async showFrame(index: number): Promise<void> {
    const { curve } = this;
    if (!curve) return;
    this.past = curve.from + index * curve.step;
    await this.#run(async () => {
      const made = await this.client.ask('frame', { index, since: this.base });
      if (made) this.snapshot = made;
      this.version++;
    });
  }
  /** From now on frames are shown as what is different from this one; `undefined` shows them as they were. */
  async compare(base: number | undefined, index: number | undefined): Promise<void> {
    this.base = base;
    if (base === undefined && index === undefined) await this.live();
    else if (this.curve) await this.showFrame(index ?? this.curve.warning.length - 1);
  }
  /** Back to now. */
  async live(): Promise<void> {
    this.base = undefined;
    this.past = undefined;
    await this.#run(() => this.#refetch());
  }
  close(): void {
    this.#closed = true;
    clearTimeout(this.#poll);
    this.#stream?.close();
    this.client.close();
  }
}
