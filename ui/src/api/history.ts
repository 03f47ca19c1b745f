// What happened to alerts, why one was told or not, and trying out receivers: /api/v1/alerts/*; edited documents: /api/v1/library.
import type { Labels } from '../lib/labels.ts';
import { data } from './http.ts';

export interface Episode {
  fingerprint: string;
  alertname: string;
  labels: Labels;
  startsAt: string;
  endsAt: string | null;
  notifiedAt: string | null;
  notifications: number;
  receivers?: string[];
  suppressed?: { at: string; group: string; cause: string }[];
}
export interface Figures {
  fired: number;
  resolved: number;
  notified: number;
  acknowledged: number;
  suppressed: number;
  notifications: number;
  failures: number;
  [more: string]: unknown;
}
export interface AlertReport {
  total: Figures;
  rules: ({ alertname: string } & Figures)[];
  neverFired: { alertname: string; file: string; group: string; query: string }[];
}
export interface AlertEvent {
  id: number;
  at: number | string;
  kind: string;
  fingerprint: string;
  alertname: string;
  groupKey: string;
  receiver: string;
  detail: unknown;
}
export interface RouteStep {
  key: string;
  matched: boolean;
  failed: string | null;
  taken: boolean;
}
export interface Explained {
  verdict: string[];
  rules: { name: string; file: string; line: number; verdict: string }[];
  manager: {
    verdict: string[];
    labels: Labels;
    route: RouteStep[];
    routes: { key: string; receiver: string; ways: string[]; group: Labels; interval: string | null }[];
    groups: { key: string; receiver: string; nextFlush: string; interval: string | null; told: { integration: string; index: number; at: string | null; knows: string; claimed: boolean }[] }[];
    silences: { id: string; comment: string; createdBy: string }[];
    events: AlertEvent[];
  };
}
type Range = { start: number; end: number };
const init = (signal: AbortSignal | undefined): RequestInit => (signal ? { signal } : {});

export const timeline = async (range: Range, signal?: AbortSignal): Promise<Episode[]> => (await data<{ episodes: Episode[] }>('/api/v1/alerts/timeline', { ...range, limit: 2000 }, init(signal))).episodes;
export const report = (range: Range, signal?: AbortSignal): Promise<AlertReport> => data('/api/v1/alerts/report', { ...range }, init(signal));
export const explain = (alert: string, signal?: AbortSignal): Promise<Explained> => data('/api/v1/alerts/explain', { alert }, init(signal));

export interface ReceiverTest {
  receiver: string;
  delivered: boolean;
  attempts: { way: string; delivered: boolean; code: number | null; answer: string }[];
}
export const testReceiver = (name: string): Promise<ReceiverTest> => data(`/api/v1/alerts/receivers/${encodeURIComponent(name)}/test`, {}, { method: 'POST' });

export interface LibraryDocument {
  kind: string;
  name: string;
  version: number;
  author: string;
  comment: string;
  deleted: boolean;
  content?: string;
}
export const library = (signal?: AbortSignal): Promise<{ authority: { rules: string; alerting: string }; documents: LibraryDocument[] }> => data('/api/v1/library', {}, init(signal));
export const libraryDocument = (kind: string, name: string, signal?: AbortSignal): Promise<LibraryDocument> => data(`/api/v1/library/${kind}/${encodeURIComponent(name)}`, {}, init(signal));
export const saveDocument = (kind: string, name: string, content: string, author: string, comment: string, expectedVersion: number | undefined): Promise<unknown> =>
  data(`/api/v1/library/${kind}/${encodeURIComponent(name)}`, {}, { method: 'PUT', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ content, author, comment, ...(expectedVersion === undefined ? {} : { expectedVersion }) }) });
