// The page's side of the map's worker: verbs as promises.
import type { Reply, Verb, Verbs } from './protocol.ts';

export class WorkerError extends Error {
  /** The payload belongs to a topology that is not loaded: fetch the topology again. */
  readonly stale: boolean;
  constructor(message: string, stale: boolean) {
    super(message);
    this.name = 'WorkerError';
    this.stale = stale;
  }
}

export class FleetClient {
  #worker: Worker;
  #next = 1;
  #waiting = new Map<number, { resolve: (value: never) => void; reject: (cause: Error) => void }>();

  constructor() {
    this.#worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module', name: 'fleet map' });
    this.#worker.onmessage = (event: MessageEvent<Reply>) => {
      const reply = event.data;
      const waiting = this.#waiting.get(reply.id);
      this.#waiting.delete(reply.id);
      if ('error' in reply) waiting?.reject(new WorkerError(reply.error, reply.stale));
      else waiting?.resolve(reply.value as never);
    };
    this.#worker.onerror = (event) => {
      const cause = new WorkerError(`the map's worker stopped: ${event.message}`, false);
      for (const waiting of this.#waiting.values()) waiting.reject(cause);
      this.#waiting.clear();
    };
  }
  ask<V extends Verb>(verb: V, args: Verbs[V]['in'], transfer: Transferable[] = []): Promise<Verbs[V]['out']> {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, verb, args }, transfer);
    });
  }
  close(): void {
    this.#worker.terminate();
    this.#waiting.clear();
  }
}
