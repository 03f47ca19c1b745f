// One way to ask the server: same origin, JSON in Prometheus' envelope, errors that carry the server's own words.

export class ApiError extends Error {
  /** HTTP status; 0 when no answer came. */
  readonly status: number;
  /** Prometheus' `errorType`, or a word of our own. */
  readonly kind: string;
  /** What was asked for. */
  readonly path: string;

  constructor(status: number, kind: string, message: string, path: string) {
    super(message);
    this.name = 'ApiError';
    this.status = status;
    this.kind = kind;
    this.path = path;
  }
}

let refused: (why: string) => void = () => undefined;
/** Called when the server asks for a token. */
export function onRefused(tell: (why: string) => void): void {
  refused = tell;
}

export type Params = Record<string, string | number | string[] | undefined>;

export interface Envelope<T> {
  status: 'success' | 'error';
  data: T;
  error?: string;
  errorType?: string;
  warnings?: string[];
  infos?: string[];
}

function search(params: Params): URLSearchParams {
  const out = new URLSearchParams();
  for (const [key, value] of Object.entries(params)) {
    if (value === undefined) continue;
    for (const item of Array.isArray(value) ? value : [value]) out.append(key, String(item));
  }
  return out;
}

/** The raw response; throws `ApiError` when no answer came or the status says no. */
export async function request(path: string, params: Params = {}, init: RequestInit = {}): Promise<Response> {
  const query = search(params).toString();
  const long = query.length > 1800 && (init.method ?? 'GET') === 'GET';
  let response: Response;
  try {
    response = long
      ? await fetch(path, { ...init, method: 'POST', body: query, headers: { 'Content-Type': 'application/x-www-form-urlencoded' } })
      : await fetch(query ? `${path}?${query}` : path, init);
  } catch (cause) {
    if (init.signal?.aborted) throw cause;
    throw new ApiError(0, 'unreachable', 'The server does not answer. It may be restarting, or the network is down.', path);
  }
  if (!response.ok) {
    const cause = await failure(response, path);
    if (cause.status === 401 && path !== '/api/v1/session') refused(cause.message);
    throw cause;
  }
  return response;
}

async function failure(response: Response, path: string): Promise<ApiError> {
  const text = await response.text();
  try {
    const body = JSON.parse(text) as Partial<Envelope<unknown>> | string;
    if (typeof body === 'string') return new ApiError(response.status, 'error', body, path);
    return new ApiError(response.status, body.errorType ?? 'error', body.error ?? text, path);
  } catch {
    return new ApiError(response.status, 'error', text.trim().slice(0, 500) || `HTTP ${response.status}`, path);
  }
}

/** Prometheus' envelope, unwrapped but for its warnings. */
export async function envelope<T>(path: string, params: Params = {}, init: RequestInit = {}): Promise<Envelope<T>> {
  const body = (await (await request(path, params, init)).json()) as Envelope<T>;
  if (body.status !== 'success') throw new ApiError(200, body.errorType ?? 'error', body.error ?? 'the server reported an error', path);
  return body;
}

/** The `data` of a successful answer. */
export async function data<T>(path: string, params: Params = {}, init: RequestInit = {}): Promise<T> {
  return (await envelope<T>(path, params, init)).data;
}

/** Plain JSON (Alertmanager's API has no envelope). */
export async function json<T>(path: string, params: Params = {}, init: RequestInit = {}): Promise<T> {
  return (await (await request(path, params, init)).json()) as T;
}
