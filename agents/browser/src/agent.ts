// The agent: sees failures of a page's own requests and reports them to collectors elsewhere, after consent.
//
// It never throws into the page, never reports itself, and does nothing at all before consent.

import { encode, type Entry, FIELDS, matches, MAX_AGE, MAX_ENTRIES, type Policy, send } from "./policy";

const STORE = "bellwether.";
/** Least time between uploads, in milliseconds. */
const PAUSE = 10_000;
/** Longest time between attempts, in milliseconds. */
const MAX_PAUSE = 300_000;
/** Failures that one page reports. */
const MAX_FAILURES = 20;
/** Entries are gathered for so long, in milliseconds. */
const GATHER = 500;
/** Most characters of the stored queue. */
const MAX_STORED = 16_384;

type Fail = (this: unknown, ...args: never[]) => unknown;

const win = window;
const plainFetch = win.fetch.bind(win);
let policy: Policy | undefined;
let on = false;
let installed = false;
let sampled = false;
let failures = 0;
let queue: Entry[] = [];
let timer: ReturnType<typeof setTimeout> | undefined;
let lastSent = 0;
let pause = PAUSE;

function safe<T extends Fail>(work: T): T {
  return function (this: unknown, ...args: never[]) {
    try {
      return work.apply(this, args);
    } catch {
      return undefined;
    }
  } as T;
}

function store(key: string, value?: unknown): void {
  try {
    if (value === undefined) localStorage.removeItem(STORE + key);
    else localStorage.setItem(STORE + key, JSON.stringify(value));
  } catch {
    // Without storage the page's own memory has to do.
  }
}

function load<T>(key: string): T | undefined {
  try {
    return JSON.parse(localStorage.getItem(STORE + key) ?? "null") ?? undefined;
  } catch {
    return undefined;
  }
}

/** The origin of a request that is to be reported, "" for any other. */
function target(url: unknown): string {
  try {
    const { href, origin } = new URL(String((url as Request).url ?? url), location.href);
    const ours = policy?.collectors?.some((collector) => href.startsWith(collector));
    return !ours && matches(origin, policy?.origins ?? [location.origin]) ? origin : "";
  } catch {
    return "";
  }
}

const record = safe((origin: string, type: string, status?: number, protocol?: string) => {
  if (!on || !policy || !origin) return;
  const ok = type === "ok";
  const fraction = (ok ? policy.success_fraction : policy.failure_fraction) ?? 1;
  if (ok ? !sampled : failures >= MAX_FAILURES || Math.random() >= fraction) return;
  if (!ok) {
    failures++;
    if (type.startsWith("agent.") && navigator.onLine === false) type = "agent.local";
  }
  const now = Date.now();
  const same = queue.find(
    ({ t, url, body }) => now - t < 60_000 && url === origin && body.type === type && body.status_code === status,
  );
  if (same) same.body.count++;
  else {
    const body: Entry["body"] = { type, count: 1, sampling_fraction: fraction };
    if (status) body.status_code = status;
    if (protocol) body.protocol = protocol;
    queue.push({ t: now, url: origin, body });
    if (queue.length > MAX_ENTRIES) queue.shift();
  }
  keep();
  // Successes wait for company; failures go soon.
  plan(ok ? PAUSE : GATHER);
});

function keep(): void {
  while (JSON.stringify(queue).length > MAX_STORED) queue.shift();
  store("queue", queue.length ? queue : undefined);
}

function plan(wait: number): void {
  const at = Math.max(wait, lastSent + pause - Date.now());
  clearTimeout(timer);
  timer = setTimeout(() => void flush(), at);
}

async function flush(): Promise<void> {
  const now = Date.now();
  queue = queue.filter(({ t }) => now - t < MAX_AGE);
  if (!on || !policy?.collectors || !queue.length || navigator.onLine === false) return;
  const batch = queue;
  queue = [];
  lastSent = now;
  const outcome = await send(plainFetch, policy.collectors, encode(batch, now));
  if (outcome === "gone") return forget();
  if (outcome === "failed") {
    queue = batch.concat(queue).slice(-MAX_ENTRIES);
    pause = Math.min(pause * 2, MAX_PAUSE);
    plan(pause * (0.5 + Math.random()));
  } else {
    pause = PAUSE;
  }
  keep();
}

function forget(): void {
  policy = undefined;
  queue = [];
  clearTimeout(timer);
  for (const key of ["queue", "policy"]) store(key);
}

/** What the outcome of a rejected request is called. */
function reason(error: unknown): string {
  const name = (error as Error)?.name;
  return name === "AbortError" ? "abandoned" : name === "TimeoutError" ? "agent.timeout" : "agent.unreachable";
}

function answered(origin: string, status: number): void {
  record(origin, status >= 400 ? "http.error" : "ok", status >= 400 ? status : undefined, protocolOf(origin));
}

/** The HTTP version of the latest answer of an origin. */
function protocolOf(origin: string): string | undefined {
  const entries = performance.getEntriesByType("resource") as PerformanceResourceTiming[];
  for (let i = entries.length - 1; i >= 0 && i > entries.length - 20; i--) {
    const entry = entries[i];
    if (entry?.name.startsWith(origin + "/") && entry.nextHopProtocol) return entry.nextHopProtocol;
  }
  return undefined;
}

const learn = safe((header: string | null) => {
  if (header) configure(JSON.parse(header) as Policy);
});

function install(): void {
  if (installed) return;
  installed = true;

  win.fetch = function (this: unknown, ...args: Parameters<typeof fetch>) {
    const answer = plainFetch(...args);
    const origin = target(args[0]);
    if (on && origin) {
      answer.then(
        safe((response: Response) => {
          if (origin === location.origin) learn(response.headers.get("Bellwether-Policy"));
          if (response.type !== "opaque") answered(origin, response.status);
        }),
        (error) => record(origin, reason(error)),
      );
    }
    return answer;
  } as typeof fetch;

  for (const name of ["text", "json", "blob", "arrayBuffer"] as const) {
    const plain = Response.prototype[name] as () => Promise<unknown>;
    Response.prototype[name] = function (this: Response) {
      const used = this.bodyUsed;
      const body = plain.call(this);
      if (on && !used) {
        body.catch((error) => {
          if ((error as Error)?.name === "TypeError") record(target(this.url), "agent.truncated");
        });
      }
      return body as never;
    };
  }

  const open = XMLHttpRequest.prototype.open;
  XMLHttpRequest.prototype.open = function (this: XMLHttpRequest, ...args: unknown[]) {
    const origin = target(args[1]);
    if (on && origin) {
      const end = (type: string) => () => record(origin, type);
      this.addEventListener("error", end("agent.unreachable"), { once: true });
      this.addEventListener("timeout", end("agent.timeout"), { once: true });
      this.addEventListener("abort", end("abandoned"), { once: true });
      this.addEventListener("load", () => answered(origin, this.status), { once: true });
    }
    return (open as Fail).apply(this, args as never[]) as void;
  };

  win.addEventListener(
    "error",
    safe((event: Event) => {
      const node = event.target as HTMLImageElement & HTMLLinkElement;
      if (node && (node as unknown) !== win) record(target(node.src || node.href), "agent.resource");
    }),
    true,
  );
  win.addEventListener("online", () => plan(Math.random() * 2000));
  win.addEventListener(
    "pagehide",
    safe(() => {
      const first = policy?.collectors?.[0];
      if (on && first && queue.length && navigator.onLine !== false) {
        // It cannot be told whether this arrives, so only what can be spared goes this way.
        const spare = queue.filter(({ body }) => body.type === "ok");
        if (spare.length && navigator.sendBeacon(first, encode(spare, Date.now()))) {
          queue = queue.filter((entry) => !spare.includes(entry));
          keep();
        }
      }
    }),
  );
}

function start(): void {
  on = true;
  const stored = load<{ policy: Policy; until: number }>("policy");
  if (!policy && stored && stored.until > Date.now()) policy = stored.policy;
  queue = (load<Entry[]>("queue") ?? []).concat(queue).slice(-MAX_ENTRIES);
  install();
  sampled = Math.random() < (policy?.success_fraction ?? 1);
  record(target(location.href), "ok");
  if (queue.length) plan(GATHER + Math.random() * GATHER);
  worker();
}

/** Tells the service worker, if the site uses ours. */
function worker(): void {
  navigator.serviceWorker?.controller?.postMessage({ bellwether: on ? policy : null });
}

/** Sets the policy; `max_age` 0 ends it. */
export const configure = safe((next: Policy): void => {
  if (!next.max_age) {
    forget();
  } else {
    policy = next;
    sampled ||= Math.random() < (next.success_fraction ?? 1);
    if (on) store("policy", { policy, until: Date.now() + next.max_age * 1000 });
  }
  worker();
});

/** The person's choice. It is kept; without one nothing is seen, stored or sent. */
export const consent = safe((choice: boolean): void => {
  store("consent", choice ? 1 : 0);
  if (choice && !on) start();
  if (!choice) {
    on = false;
    queue = [];
    clearTimeout(timer);
    for (const key of ["queue", "policy"]) store(key);
    worker();
  }
});

/** Whether reporting is on, under which policy, and every field that is sent. */
export function describe(): { on: boolean; policy: Policy | undefined; fields: Record<string, string> } {
  return { on, policy, fields: FIELDS };
}

/** Sends what waits, now. */
export const flushNow = (): Promise<void> => flush();

safe(() => {
  const meta = document.querySelector<HTMLMetaElement>('meta[name="bellwether-policy"]')?.content;
  if (meta) policy = JSON.parse(meta) as Policy;
  if (policy && !policy.max_age) forget();
  if (load("consent")) start();
})();
