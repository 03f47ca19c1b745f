// What clients report: /api/v1/clients/* (docs/formats/clients.md).
import { data } from './http.ts';

export type Source = 'nel' | 'agent' | 'native';
export interface ClientSite {
  name: string;
  origins: string[];
  collectors: string[];
  successFraction: number;
  failureFraction: number;
  retired: boolean;
}
export interface ClientSites {
  sites: ClientSite[];
  minClients: number;
  keepReports: string;
}
export interface CohortRow {
  cohort: string;
  value: string;
  requests: number;
  failures: number;
  ratio: number;
  lower: number;
  upper: number;
  baseline: number;
  groups: Record<string, number>;
}
export interface Check {
  check: string;
  query: string;
  says: 'confirms' | 'contradicts' | 'unknown';
  value: number | null;
  sentence: string;
}
export interface Incident {
  id: number;
  site: string;
  source: Source;
  verdict: string;
  sentence: string;
  cohort: string;
  value: string;
  opened: number;
  ended: number | null;
  silent: boolean;
  ratio: number;
  lower: number;
  upper: number;
  baseline: number;
  evidence: number;
  minutes: number;
  requests: number;
  clients: number;
  explains: number;
  groups: [group: string, excess: number][];
  checks?: Check[];
}
export interface FieldFate {
  place: string;
  name: string;
  fate: 'kept' | 'reduced' | 'used' | 'dropped';
  kept: string;
}
export interface Policy {
  headers: { name: string; value: string }[];
  snippet: string;
}
export interface Finding {
  level: 'error' | 'warning';
  kind: string;
  message: string;
}
const init = (signal: AbortSignal | undefined): RequestInit => (signal ? { signal } : {});

export const sites = (signal?: AbortSignal): Promise<ClientSites> => data('/api/v1/clients/sites', {}, init(signal));
export const cohorts = (site: string, source: Source, minutes: number, signal?: AbortSignal): Promise<CohortRow[]> => data('/api/v1/clients/cohorts', { site, source, minutes }, init(signal));
export const incidents = (signal?: AbortSignal): Promise<Incident[]> => data('/api/v1/clients/incidents', {}, init(signal));
export const fields = (signal?: AbortSignal): Promise<FieldFate[]> => data('/api/v1/clients/fields', {}, init(signal));
export const policy = (site: string, server: string, active: boolean, signal?: AbortSignal): Promise<Policy> => data('/api/v1/clients/policy', { site, for: server, active: String(active) }, init(signal));
export const lint = (site: string, signal?: AbortSignal): Promise<Finding[]> => data('/api/v1/clients/lint', { site }, init(signal));
