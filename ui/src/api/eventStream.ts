// The fleet's event stream: deltas and ticks, with reconnection and the sequence it must go on from.
export interface Tick {
  sequence: number;
  time_ms: number;
  interval_ms: number;
  topo_hash: string;
}
export type StreamEvent =
  | { kind: 'delta'; data: string; sequence: number }
  | { kind: 'tick'; tick: Tick }
  /** The state must be fetched again. */
  | { kind: 'resync'; reason: string };

const FIRST_RETRY_MS = 1000;
const LAST_RETRY_MS = 30_000;

/** One connection. When it breaks it is opened again, after a second, then two, up to half a minute. */
export class EventStream {
  #source: EventSource | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #retry = FIRST_RETRY_MS;
  #by: string;
  #since: () => number;
  #tell: (event: StreamEvent) => void;

  constructor(by: string, since: () => number, tell: (event: StreamEvent) => void) {
    this.#by = by;
    this.#since = since;
    this.#tell = tell;
    this.#open();
  }
  #open(): void {
    const source = (this.#source = new EventSource(`/api/v1/fleet/stream?by=${encodeURIComponent(this.#by)}&since=${this.#since()}`));
    source.addEventListener('delta', (event: MessageEvent<string>) => this.#tell({ kind: 'delta', data: event.data, sequence: Number(event.lastEventId) }));
    source.addEventListener('tick', (event: MessageEvent<string>) => {
      this.#retry = FIRST_RETRY_MS;
      this.#tell({ kind: 'tick', tick: JSON.parse(event.data) as Tick });
    });
    source.addEventListener('resync', (event: MessageEvent<string>) => this.#tell({ kind: 'resync', reason: (JSON.parse(event.data) as { reason: string }).reason }));
    // The browser would go on with an address whose `since` is out of date: reconnect by hand.
    source.onerror = () => {
      source.close();
      this.#timer = setTimeout(() => this.#open(), this.#retry);
      this.#retry = Math.min(LAST_RETRY_MS, this.#retry * 2);
    };
  }
  close(): void {
    clearTimeout(this.#timer);
    this.#source?.close();
  }
}

