// Alertmanager's API v2: active alerts with why they are quiet, and silences.
import type { Labels } from '../lib/labels.ts';
import { json, request } from './http.ts';

export interface AlertStatus {
  state: 'unprocessed' | 'active' | 'suppressed';
  silencedBy: string[];
  inhibitedBy: string[];
  mutedBy?: string[];
}
export interface GettableAlert {
  labels: Labels;
  annotations: Labels;
  startsAt: string;
  endsAt: string;
  updatedAt: string;
  fingerprint: string;
  generatorURL?: string;
  receivers: { name: string }[];
  status: AlertStatus;
}
export interface Matcher {
  name: string;
  value: string;
  isRegex: boolean;
  isEqual?: boolean;
}
export interface Silence {
  id: string;
  matchers: Matcher[];
  startsAt: string;
  endsAt: string;
  createdBy: string;
  comment: string;
  updatedAt: string;
  status: { state: 'active' | 'pending' | 'expired' };
}
export type NewSilence = Pick<Silence, 'matchers' | 'startsAt' | 'endsAt' | 'createdBy' | 'comment'> & { id?: string };

export const activeAlerts = (signal?: AbortSignal): Promise<GettableAlert[]> => json('/api/v2/alerts', {}, signal ? { signal } : {});
export const silences = (signal?: AbortSignal): Promise<Silence[]> => json('/api/v2/silences', {}, signal ? { signal } : {});
export const receivers = (signal?: AbortSignal): Promise<{ name: string }[]> => json('/api/v2/receivers', {}, signal ? { signal } : {});

export interface ManagerStatus {
  uptime: string;
  versionInfo: Record<string, string>;
  config: { original: string };
  cluster: { status: string };
}
export const managerStatus = (signal?: AbortSignal): Promise<ManagerStatus> => json('/api/v2/status', {}, signal ? { signal } : {});

/** Creates or replaces (same `id`) a silence; answers its id. */
export async function putSilence(silence: NewSilence): Promise<string> {
  const body = JSON.stringify(silence);
  const answer = await request('/api/v2/silences', {}, { method: 'POST', body, headers: { 'Content-Type': 'application/json' } });
  return ((await answer.json()) as { silenceID: string }).silenceID;
}
/** Ends a silence now. */
export async function expireSilence(id: string): Promise<void> {
  await request(`/api/v2/silence/${encodeURIComponent(id)}`, {}, { method: 'DELETE' });
}
