// Dashboards as the server keeps them, and many queries in one request.
import type { QueryData } from './prom.ts';
import { ApiError, data, request, type Envelope } from './http.ts';

export interface DashMeta {
  uid: string;
  title: string;
  folder: string;
  tags: string[];
  /** 0 for one that ships with the server. */
  version: number;
  updated_ms: number;
  message: string;
  shipped: boolean;
}
export interface StoredDashboard {
  meta: DashMeta;
  dashboard: unknown;
  original?: unknown;
}
const one = (uid: string): string => `/api/v1/dashboards/${encodeURIComponent(uid)}`;
const init = (signal: AbortSignal | undefined): RequestInit => (signal ? { signal } : {});

export const dashboards = (signal?: AbortSignal): Promise<DashMeta[]> => data('/api/v1/dashboards', {}, init(signal));
export const dashboard = (uid: string, signal?: AbortSignal): Promise<StoredDashboard> => data(one(uid), {}, init(signal));
export const dashboardVersions = (uid: string): Promise<DashMeta[]> => data(`${one(uid)}/versions`);
export const dashboardVersion = (uid: string, version: number): Promise<StoredDashboard> => data(`${one(uid)}/versions/${version}`);
export const deleteDashboard = (uid: string): Promise<null> => data(one(uid), {}, { method: 'DELETE' });
export const saveDashboard = (dashboard: unknown, base_version: number, message: string, original?: unknown): Promise<DashMeta> =>
  data('/api/v1/dashboards', {}, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ dashboard, base_version, message, ...(original === undefined ? {} : { original }) }) });

/** Seconds. A query with a step is over a range. */
export type Query = { query: string; time: number } | { query: string; start: number; end: number; step: number };
export interface QueryAnswer {
  data: QueryData | undefined;
  error: string | undefined;
  warnings: string[];
}
interface Waiting {
  query: Query;
  signal: AbortSignal;
  done: (answer: QueryAnswer) => void;
  failed: (cause: unknown) => void;
}
const AT_MOST = 100;
let waiting: Waiting[] = [];
let timer: ReturnType<typeof setTimeout> | undefined;

/** Asks together with everything else that is asked in the same moment. Equal queries are sent once. */
export function batched(queries: readonly Query[], signal: AbortSignal): Promise<QueryAnswer[]> {
  return Promise.all(
    queries.map(
      (query) =>
        new Promise<QueryAnswer>((done, failed) => {
          waiting.push({ query, signal, done, failed });
          timer ??= setTimeout(send, 20);
        }),
    ),
  );
}

function send(): void {
  timer = undefined;
  const live = waiting.filter((item) => !item.signal.aborted);
  waiting.filter((item) => item.signal.aborted).forEach((item) => item.failed(item.signal.reason));
  waiting = [];
  const groups = new Map<string, Waiting[]>();
  for (const item of live) groups.set(JSON.stringify(item.query), [...(groups.get(JSON.stringify(item.query)) ?? []), item]);
  const list = [...groups.values()];
  for (let i = 0; i < list.length; i += AT_MOST) void post(list.slice(i, i + AT_MOST));
}

async function post(groups: Waiting[][]): Promise<void> {
  const abort = new AbortController();
  const everyone = groups.flat();
  const gone = (): void => void (everyone.every((item) => item.signal.aborted) && abort.abort());
  everyone.forEach((item) => item.signal.addEventListener('abort', gone));
  try {
    const answer = await request('/api/v1/query_batch', {}, { method: 'POST', signal: abort.signal, headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ queries: groups.map((group) => group[0]?.query) }) });
    const body = (await answer.json()) as Envelope<Envelope<QueryData>[]>;
    groups.forEach((group, i) => {
      const one = body.data[i];
      const ok = one?.status === 'success';
      const made: QueryAnswer = { data: ok ? one.data : undefined, error: ok ? undefined : (one?.error ?? 'the server left this query out'), warnings: [...(one?.warnings ?? []), ...(one?.infos ?? [])] };
      group.forEach((item) => item.done(made));
    });
  } catch (cause) {
    const error = cause instanceof ApiError ? cause : cause;
    everyone.forEach((item) => item.failed(error));
  } finally {
    everyone.forEach((item) => item.signal.removeEventListener('abort', gone));
  }
}
