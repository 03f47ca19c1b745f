// For a site's service worker: `importScripts("bellwether-worker.js")`. Sees what no page can: that a page did not load.
//
// It acts only on a policy that the agent has handed over after consent, kept in a cache of its own.

import { encode, type Entry, MAX_AGE, MAX_ENTRIES, type Policy, send } from "./policy";

const sw = self as unknown as ServiceWorkerGlobalScope;
interface ServiceWorkerGlobalScope {
  addEventListener(type: string, listener: (event: WorkerEvent) => void): void;
  location: Location;
}
interface WorkerEvent {
  data?: { bellwether?: Policy | null };
  request: Request;
  respondWith(answer: Promise<Response>): void;
  waitUntil(work: Promise<unknown>): void;
}
interface State {
  policy: Policy;
  queue: Entry[];
}

const KEY = "/bellwether-state";
const OFFLINE =
  '<!doctype html><meta charset=utf-8><meta name=viewport content="width=device-width"><title>Not reachable</title><p>This page cannot be reached now.<p><a href="">Try again</a>';

async function load(): Promise<State | undefined> {
  const found = await (await caches.open("bellwether")).match(KEY);
  return found ? ((await found.json()) as State) : undefined;
}

async function save(state: State | undefined): Promise<void> {
  const cache = await caches.open("bellwether");
  if (state) await cache.put(KEY, new Response(JSON.stringify(state)));
  else await cache.delete(KEY);
}

async function flush(state: State): Promise<void> {
  const now = Date.now();
  state.queue = state.queue.filter(({ t }) => now - t < MAX_AGE);
  if (state.queue.length && state.policy.collectors) {
    const outcome = await send(fetch.bind(self), state.policy.collectors, encode(state.queue, now));
    if (outcome === "gone") return save(undefined);
    if (outcome === "sent") state.queue = [];
  }
  await save(state);
}

async function failed(origin: string): Promise<void> {
  const state = await load();
  if (!state) return;
  const fraction = state.policy.failure_fraction ?? 1;
  if (Math.random() >= fraction) return;
  const type = navigator.onLine === false ? "agent.local" : "agent.unreachable";
  state.queue.push({ t: Date.now(), url: origin, body: { type, count: 1, sampling_fraction: fraction } });
  state.queue = state.queue.slice(-MAX_ENTRIES);
  await flush(state);
}

sw.addEventListener("message", (event) => {
  const policy = event.data?.bellwether;
  if (policy === undefined) return;
  event.waitUntil(
    load().then((state) => (policy?.max_age ? flush({ policy, queue: state?.queue ?? [] }) : save(undefined))),
  );
});

sw.addEventListener("fetch", (event) => {
  if (event.request.mode !== "navigate") return;
  event.respondWith(
    fetch(event.request).catch(() => {
      event.waitUntil(failed(sw.location.origin).catch(() => undefined));
      return new Response(OFFLINE, { status: 503, headers: { "content-type": "text/html" } });
    }),
  );
});
