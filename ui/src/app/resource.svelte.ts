// A value fetched again and again: keeps the last answer while the next one loads, says how long that takes, can be cancelled.
import { ApiError } from '../api/http.ts';

export class Resource<T> {
  value = $state.raw<T | undefined>(undefined);
  error = $state.raw<ApiError | undefined>(undefined);
  loading = $state(false);
  /** When the running request began, and when the last answer came (milliseconds). */
  began = $state(0);
  arrived = $state(0);
  #fetch: (signal: AbortSignal) => Promise<T>;
  #abort: AbortController | undefined;

  constructor(fetch: (signal: AbortSignal) => Promise<T>) {
    this.#fetch = fetch;
  }

  /** Starts over; a request still running is cancelled. Resolves when this one is settled. */
  async load(fetch?: (signal: AbortSignal) => Promise<T>): Promise<void> {
    if (fetch) this.#fetch = fetch;
    this.#abort?.abort();
    const abort = (this.#abort = new AbortController());
    this.loading = true;
    this.began = Date.now();
    try {
      const value = await this.#fetch(abort.signal);
      if (abort.signal.aborted) return;
      this.value = value;
      this.error = undefined;
      this.arrived = Date.now();
    } catch (cause) {
      if (abort.signal.aborted) return;
      this.error = cause instanceof ApiError ? cause : new ApiError(0, 'unreadable', cause instanceof Error ? cause.message : String(cause), '');
    }
    this.loading = false;
  }
  cancel(): void {
    this.#abort?.abort();
    this.loading = false;
  }
}

/** A resource that loads now and every `everyMs`, as long as the component lives and the page is visible. */
export function polled<T>(fetch: (signal: AbortSignal) => Promise<T>, everyMs: () => number): Resource<T> {
  const resource = new Resource(fetch);
  $effect(() => {
    void resource.load();
    return () => resource.cancel();
  });
  $effect(() => {
    const every = everyMs();
    if (every <= 0) return;
    const timer = setInterval(() => {
      if (document.visibilityState === 'visible' && !resource.loading) void resource.load();
    }, every);
    return () => clearInterval(timer);
  });
  return resource;
}
