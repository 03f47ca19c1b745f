// The fleet in memory: topology, layout, states and their pictures. Runs in a worker; has no DOM of its own.
import { applyDelta, decodeState, decodeTopology, OK, splitDelta, type State, type Topology } from './codec.ts';
import type { Change } from './difference.ts';
import { findDomains, type Findings } from './domains.ts';
import { fill, grid, rackOf, RAMP_RANKS, STATE_RANKS, update, type Grid } from './grid.ts';
import { hit, layout, rackIndex, type Layout, type RackIndex } from './layout.ts';
import { tree, type Tree } from './tree.ts';

export interface Counts {
  ok: number;
  warning: number;
  critical: number;
  noData: number;
  silenced: number;
}
export interface HallSummary {
  hall: number;
  /** Worst state with its count, by code. */
  state: number;
  affected: number;
  bad: [number, number, number, number];
}
export interface Snapshot {
  time: number;
  sequence: number;
  counts: Counts;
  halls: HallSummary[];
  findings: Findings;
  ramp: { min: number; max: number } | undefined;
  /** Of a difference: what it counts. */
  change?: Change | undefined;
}
/** Where a cell is, for tooltips and links. */
export interface Spot {
  server: number;
  rack: number;
  slot: number;
  state: number;
  silenced: boolean;
  region: string;
  hall: string;
  row: string;
  rackName: string;
}

/** Above this many changes a full rebuild is cheaper than cell by cell. */
const REBUILD = 60_000;

export class Engine {
  topology: Topology | undefined;
  tree: Tree | undefined;
  layout: Layout | undefined;
  grid: Grid | undefined;
  state: State | undefined;
  #change: Change | undefined;
  #index: RackIndex = [];
  #layouts = new Map<string, Layout>();

  load(bytes: Uint8Array): void {
    this.topology = decodeTopology(bytes);
    this.tree = tree(this.topology);
    this.#layouts.clear();
    this.layout = undefined;
    this.grid = undefined;
    this.state = undefined;
  }

  /** Lays out for a viewport in CSS pixels; answers from memory when it has seen the size. */
  fit(width: number, height: number): Layout {
    if (!this.tree) throw new Error('no topology is loaded');
    const key = `${width}x${height}`;
    let made = this.#layouts.get(key);
    if (!made) {
      made = layout(this.tree, width, height);
      if (this.#layouts.size >= 4) this.#layouts.delete(this.#layouts.keys().next().value ?? '');
      this.#layouts.set(key, made);
    }
    if (made !== this.layout) {
      this.layout = made;
      this.#index = rackIndex(this.tree, made);
      this.grid = undefined;
      this.#paint();
    }
    return made;
  }

  /** A whole state. Throws `StaleTopology` when it belongs to another topology. */
  replace(bytes: Uint8Array): void {
    if (!this.topology) throw new Error('no topology is loaded');
    this.show(decodeState(bytes, this.topology));
  }
  /** A decoded state (of the server, or of the history), or a difference of two. */
  show(state: State, change?: Change): void {
    this.#change = change;
    if ((state.ramp !== undefined) !== (this.state?.ramp !== undefined)) this.grid = undefined;
    this.state = state;
    this.#paint();
  }
  #paint(): void {
    if (!this.layout || !this.state) return;
    if (this.grid) fill(this.grid, this.layout, this.state.codes, this.state.silenced);
    else this.grid = grid(this.layout, this.state.codes, this.state.silenced, this.state.ramp ? RAMP_RANKS : STATE_RANKS);
  }

  /** The change of one round. `false` when it does not follow what is here: fetch the whole state. */
  delta(data: string, sequence: number): boolean {
    const state = this.state;
    if (!state) return false;
    if (sequence <= state.sequence) return true;
    if (sequence !== state.sequence + 1) return false;
    const change = splitDelta(data);
    const touched: number[] = [];
    const note = (index: number): void => void touched.push(index);
    applyDelta(change.codes, state.codes, note);
    if (change.silenced) applyDelta(change.silenced, (state.silenced ??= new Uint8Array(state.codes.length)), note);
    state.sequence = sequence;
    if (!this.grid || !this.layout) return true;
    if (touched.length > REBUILD) this.#paint();
    else {
      for (const server of touched) {
        const rack = rackOf(this.layout, server);
        update(this.grid, this.layout, rack, server - (this.layout.rackFirst[rack] as number), state.silenced?.[server] ? OK : (state.codes[server] as number));
      }
    }
    return true;
  }

  snapshot(): Snapshot | undefined {
    const { tree: places, layout: plan, state } = this;
    if (!places || !plan || !state) return undefined;
    const counts: Counts = { ok: 0, warning: 0, critical: 0, noData: 0, silenced: 0 };
    const base = { time: state.time, sequence: state.sequence, ramp: state.ramp, change: this.#change };
    if (state.ramp) return { ...base, counts, halls: [], findings: { domains: [], unhealthy: 0, explained: 0 } };
    const halls = places.halls.map((hall, h): HallSummary => {
      const bad: [number, number, number, number] = [0, 0, 0, 0];
      for (let i = hall.first; i < hall.first + hall.servers; i++) {
        if (state.silenced?.[i]) counts.silenced++;
        bad[(state.silenced?.[i] ? OK : (state.codes[i] as number)) as 0]++;
      }
      counts.ok += bad[0];
      counts.warning += bad[1];
      counts.critical += bad[2];
      counts.noData += bad[3];
      const total = bad[1] + bad[2] + bad[3];
      const most = Math.max(bad[1], bad[2], bad[3]);
      const kind = most === bad[2] ? 2 : most === bad[3] ? 3 : 1;
      return { hall: h, state: kind, affected: total, bad };
    });
    return { ...base, counts, halls, findings: findDomains(places, plan, state.codes, state.silenced) };
  }

  /** The server (or empty slot) at a cell. */
  spot(x: number, y: number): Spot | undefined {
    if (!this.layout || !this.tree) return undefined;
    const { rack, slot } = hit(this.layout, this.#index, Math.floor(x), Math.floor(y));
    return rack < 0 || slot < 0 ? undefined : this.spotOf(rack, slot);
  }
  spotOf(rack: number, slot: number): Spot | undefined {
    const { layout: plan, tree: places } = this;
    if (!plan || !places) return undefined;
    const hall = places.halls[plan.rackHall[rack] as number];
    const row = hall?.rows[plan.rackRow[rack] as number];
    const server = (plan.rackFirst[rack] as number) + slot;
    if (!hall || !row) return undefined;
    return {
      server,
      rack,
      slot,
      state: this.state?.codes[server] ?? OK,
      silenced: this.state?.silenced?.[server] === 1,
      region: places.regions[hall.region]?.name ?? '',
      hall: hall.name,
      row: row.name,
      rackName: row.racks.find((r) => r.id === rack)?.name ?? '',
    };
  }
}
