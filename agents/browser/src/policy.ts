// What the site asks of its clients, as the header `Bellwether-Policy` says it (docs/formats/clients.md).

export interface Policy {
  /** Upload URLs, in the order in which they are tried. */
  collectors?: string[];
  /** Origins that are reported, `https://*.example.com` for all below; the page's own when absent. */
  origins?: string[];
  /** Share of page loads whose successes are counted. */
  success_fraction?: number;
  /** Share of failures that are reported. */
  failure_fraction?: number;
  /** Seconds for which the policy holds; 0 ends it and empties the queue. */
  max_age: number;
}

/** One upload entry, in the envelope of the Reporting API. */
export interface Entry {
  /** When it happened, milliseconds since the epoch; sent as an age. */
  t: number;
  url: string;
  body: {
    type: string;
    status_code?: number;
    protocol?: string;
    count: number;
    sampling_fraction: number;
  };
}

/** Largest queue, in entries. */
export const MAX_ENTRIES = 50;
/** Older entries are dropped, in milliseconds. */
export const MAX_AGE = 48 * 3600e3;
/** Until a collector is given up for the next one, in milliseconds. */
const PATIENCE = 3000;

/** What the field list says: the whole of what is sent. */
export const FIELDS: Record<string, string> = {
  url: "origin of the request: scheme, host and port; no path, no query",
  type: "what happened: ok, http.error, abandoned, agent.unreachable, agent.timeout, agent.truncated, agent.resource or agent.local",
  status_code: "HTTP status of an error",
  protocol: "HTTP version, when the browser tells it",
  count: "how many requests the entry stands for",
  sampling_fraction: "the chance with which such an entry is made",
  age: "milliseconds since the first of them",
};

export function matches(origin: string, patterns: string[]): boolean {
  return patterns.some((pattern) => {
    const [scheme, host] = pattern.split("://*.");
    return host ? origin.startsWith(scheme + "://") && origin.endsWith("." + host) : origin === pattern;
  });
}

/** The body of an upload. */
export function encode(entries: Entry[], now: number): string {
  return JSON.stringify(
    entries.map(({ t, url, body }) => ({ type: "bellwether", age: Math.max(0, now - t), url: url + "/", body })),
  );
}

/** Tries the collectors in order. `gone`: a collector says that the site takes no more reports. */
export async function send(
  fetcher: typeof fetch,
  collectors: string[],
  body: string,
): Promise<"sent" | "gone" | "failed"> {
  for (const url of collectors) {
    const stop = new AbortController();
    const timer = setTimeout(() => stop.abort(), PATIENCE);
    try {
      // A string goes as text/plain, which needs no preflight.
      const answer = await fetcher(url, {
        method: "POST",
        body,
        keepalive: true,
        credentials: "omit",
        referrerPolicy: "no-referrer",
        cache: "no-store",
        signal: stop.signal,
      });
      if (answer.status === 410) return "gone";
      if (answer.ok) return "sent";
    } catch {
      // The next one.
    } finally {
      clearTimeout(timer);
    }
  }
  return "failed";
}
