// The fleet's event stream: deltas and ticks, with reconnection and the sequence it must go on from.
export interface Tick {
  sequence: number;
  time_ms: number;
  interval_ms: number;
  topo_hash: string;
}
export interface StreamHandlers {
  delta: (data: string, sequence: number) => void;
  tick: (tick: Tick) => void;
  /** The state must be fetched again. */
  resync: (reason: string) => void;
  /** The connection broke; it is tried again after a while. */
  lost: () => void;
}

const FIRST_RETRY_MS = 1000;
const LAST_RETRY_MS = 30_000;

export class FleetStream {
  #source: EventSource | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #retry = FIRST_RETRY_MS;
  #by: string;
  #since: () => number;
  #on: StreamHandlers;

  constructor(by: string, since: () => number, on: StreamHandlers) {
    this.#by = by;
    this.#since = since;
    this.#on = on;
    this.#open();
  }
  #open(): void {
    const source = (this.#source = new EventSource(`/api/v1/fleet/stream?by=${encodeURIComponent(this.#by)}&since=${this.#since()}`));
    source.addEventListener('delta', (event: MessageEvent<string>) => this.#on.delta(event.data, Number(event.lastEventId)));
    source.addEventListener('tick', (event: MessageEvent<string>) => {
      this.#retry = FIRST_RETRY_MS;
      this.#on.tick(JSON.parse(event.data) as Tick);
    });
    source.addEventListener('resync', (event: MessageEvent<string>) => this.#on.resync((JSON.parse(event.data) as { reason: string }).reason));
    // The browser would go on with an address whose `since` is out of date: reconnect by hand.
    source.onerror = () => {
      source.close();
      this.#on.lost();
      this.#timer = setTimeout(() => this.#open(), this.#retry);
      this.#retry = Math.min(LAST_RETRY_MS, this.#retry * 2);
    };
  }
  close(): void {
    clearTimeout(this.#timer);
    this.#source?.close();
  }
}
