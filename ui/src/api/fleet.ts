// The fleet endpoints of docs/formats/fleet.md.
import type { Labels } from '../lib/labels.ts';
import { ApiError, data, request } from './http.ts';

export type HostState = 'ok' | 'warning' | 'critical' | 'no_data';
export interface HostAlert {
  name: string;
  severity: string;
  state: 'firing' | 'pending';
  since_ms: number;
  silenced: boolean;
  inhibited: boolean;
  summary: string;
}
export interface RackServer {
  index: number;
  slot: number;
  name: string;
  state: HostState;
  silenced: boolean;
  since_ms: number | null;
  labels: Labels;
  alerts_total: number;
  alerts: HostAlert[];
}
export interface Rack {
  topo_hash: string;
  sequence: number;
  time_ms: number;
  rack: number;
  first_server: number;
  slots_total: number;
  path: { level: string; name: string }[];
  servers: RackServer[];
}
export interface FoundHost {
  index: number;
  rack: number;
  slot: number;
  name: string;
  state: HostState;
  path: string[];
  labels: Labels;
  /** Every target that runs on it; given when one server is asked for by name. */
  targets?: { job: string; instance: string; state: HostState; last_ms: number }[];
}
export interface Found {
  topo_hash: string;
  total: number;
  matches: FoundHost[];
}

const bytes = async (path: string, params: Record<string, string | number | undefined>, signal?: AbortSignal): Promise<ArrayBuffer> => {
  const answer = await request(path, params, signal ? { signal } : {});
  if ((answer.headers.get('Content-Type') ?? '').includes('text/html')) throw new ApiError(404, 'missing', 'this server has no such endpoint', path);
  return answer.arrayBuffer();
};

export const topology = (signal?: AbortSignal): Promise<ArrayBuffer> => bytes('/api/v1/fleet/topology', {}, signal);
export const state = (by: string, at: number | undefined, signal?: AbortSignal): Promise<ArrayBuffer> => bytes('/api/v1/fleet/state', { by, at }, signal);
export const history = (by: string, from: number, to: number, step: number, signal?: AbortSignal): Promise<ArrayBuffer> =>
  bytes('/api/v1/fleet/history', { by, from, to, step }, signal);
export const rack = (id: number, topo: string, at?: number, signal?: AbortSignal): Promise<Rack> => data(`/api/v1/fleet/rack/${id}`, { topo, at }, signal ? { signal } : {});
export const find = (q: string, limit: number, signal?: AbortSignal): Promise<Found> => data('/api/v1/fleet/find', { q, limit }, signal ? { signal } : {});
export const findExact = (name: string, signal?: AbortSignal): Promise<Found> => data('/api/v1/fleet/find', { name }, signal ? { signal } : {});

/** What happened to the host that the server runs on. */
export interface HostEvent {
  seq: number;
  time: number;
  kind: string;
  severity: 'info' | 'warning' | 'critical';
  message: string;
  labels: Labels;
  count: number;
}
export const hostEvents = (signal?: AbortSignal): Promise<HostEvent[]> => data('/api/v1/host/events', { limit: 1000 }, signal ? { signal } : {});
