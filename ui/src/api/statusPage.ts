// The public status page, for those who run it: /api/v1/status_page.
import { data } from './http.ts';

export type PublicState = 'operational' | 'unknown' | 'maintenance' | 'degraded' | 'outage';
export type Impact = 'minor' | 'major' | 'critical' | 'maintenance';
export type IncidentStatus = 'investigating' | 'identified' | 'monitoring' | 'resolved' | 'scheduled' | 'in_progress' | 'completed';
export interface Day {
  /** Days since 1970-01-01, UTC. */
  day: number;
  ok_ms?: number;
  degraded_ms?: number;
  outage_ms?: number;
  maintenance_ms?: number;
}
export interface PublicComponent {
  id: string;
  name: string;
  group: string;
  description: string;
  state: PublicState;
  since_ms: number;
  days: Day[];
}
export interface Incident {
  id: number;
  title: string;
  impact: Impact;
  components: string[];
  starts_ms: number;
  ends_ms?: number;
  resolved_ms?: number;
  updates: { at_ms: number; status: IncidentStatus; text: string }[];
}
export interface StatusPage {
  listen_address: string;
  url: string;
  components: { id: string; name: string; expr: string; degraded_below: number; outage_below: number }[];
  /** Null before the first round. */
  snapshot: { title: string; generated_ms: number; interval_ms: number; components: PublicComponent[]; incidents: Incident[] } | null;
}
export interface Webhook {
  id: number;
  name: string;
  url: string;
  created_ms: number;
  last_ok_ms: number;
  failures: number;
  last_error: string;
  ended: boolean;
  /** In the answer that made it, and never again. */
  secret?: string;
}
export interface NewIncident {
  title: string;
  impact: Impact;
  components: string[];
  status: IncidentStatus;
  text: string;
  starts_ms?: number;
  ends_ms?: number;
}
const BASE = '/api/v1/status_page';
const init = (signal: AbortSignal | undefined): RequestInit => (signal ? { signal } : {});
const post = (body: unknown): RequestInit => ({ method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });

export const statusPage = (signal?: AbortSignal): Promise<StatusPage> => data(BASE, {}, init(signal));
export const webhooks = (signal?: AbortSignal): Promise<Webhook[]> => data(`${BASE}/webhooks`, {}, init(signal));
export const openIncident = (incident: NewIncident): Promise<Incident> => data(`${BASE}/incidents`, {}, post(incident));
export const updateIncident = (id: number, update: { status: IncidentStatus; text: string }): Promise<Incident> => data(`${BASE}/incidents/${id}/updates`, {}, post(update));
export const deleteIncident = (id: number): Promise<unknown> => data(`${BASE}/incidents/${id}`, {}, { method: 'DELETE' });
export const addWebhook = (url: string, name: string): Promise<Webhook> => data(`${BASE}/webhooks`, {}, post({ url, name }));
export const removeWebhook = (id: number): Promise<unknown> => data(`${BASE}/webhooks/${id}`, {}, { method: 'DELETE' });
