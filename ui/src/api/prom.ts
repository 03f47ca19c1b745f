// Prometheus' HTTP API (manual, "HTTP API"): the calls the pages make and the shapes they return.
import type { Labels } from '../lib/labels.ts';
import type { PlanNode } from '../lib/plan.ts';
import { data, envelope, request } from './http.ts';

/** Seconds since the epoch and the value as text. */
export type Point = [number, string];
export interface NativeHistogram {
  count: string;
  sum: string;
  buckets?: [number, string, string, string][];
}
export interface Series {
  metric: Labels;
  values?: Point[];
  histograms?: [number, NativeHistogram][];
}
export interface Sample {
  metric: Labels;
  value?: Point;
  histogram?: [number, NativeHistogram];
}
export type QueryData =
  | { resultType: 'vector'; result: Sample[] }
  | { resultType: 'matrix'; result: Series[] }
  | { resultType: 'scalar' | 'string'; result: Point };
export interface Answer<T> {
  data: T;
  warnings: string[];
  infos: string[];
}

const answer = async <T>(path: string, params: Record<string, string | number>, signal?: AbortSignal): Promise<Answer<T>> => {
  const body = await envelope<T>(path, params, signal ? { signal } : {});
  return { data: body.data, warnings: body.warnings ?? [], infos: body.infos ?? [] };
};

/** Instant query at `at` (milliseconds). */
export const query = (expr: string, at: number, signal?: AbortSignal): Promise<Answer<QueryData>> =>
  answer('/api/v1/query', { query: expr, time: at / 1000 }, signal);

/** Range query; `from` and `to` in milliseconds, aligned to `step` (seconds) so that reloads hit the same points. */
export const queryRange = (expr: string, from: number, to: number, step: number, signal?: AbortSignal): Promise<Answer<{ resultType: 'matrix'; result: Series[] }>> => {
  const align = (ms: number): number => Math.floor(ms / 1000 / step) * step;
  return answer('/api/v1/query_range', { query: expr, start: align(from), end: align(to), step }, signal);
};

/** What a query took, node by node, besides its answer (our server's `stats=all`). */
export interface Stats {
  timings: { evalTotalTime: number; execQueueTime: number; execTotalTime: number; queryPreparationTime: number };
  samples: { totalQueryableSamples: number; peakSamples: number };
  plan?: PlanNode[];
}
export const explainRange = async (expr: string, from: number, to: number, step: number, signal?: AbortSignal): Promise<Stats> => {
  const align = (ms: number): number => Math.floor(ms / 1000 / step) * step;
  // Past the cache: what is remembered takes no time and tells nothing.
  return (await data<{ stats: Stats }>('/api/v1/query_range', { query: expr, start: align(from), end: align(to), step, stats: 'all', nocache: 1 }, signal ? { signal } : {})).stats;
};

export interface ExemplarSeries {
  seriesLabels: Labels;
  exemplars: { labels: Labels; value: string; timestamp: number }[];
}
export const exemplars = (expr: string, from: number, to: number, signal?: AbortSignal): Promise<ExemplarSeries[]> => data('/api/v1/query_exemplars', { query: expr, start: from / 1000, end: to / 1000 }, signal ? { signal } : {});

export interface Cardinality {
  quarantines: { metric: string; label: string; sinceMs: number; untilMs: number; newSeries: number; distinctValues: number; examples: string[]; refusedSamples: number }[];
  growing: { metric: string; newSeries: number; label: [name: string, values: number] | null }[];
  limits: { series: number; seriesPerMetric: number; seriesPerTarget: number };
  settings: { quarantine: boolean; new_series: number; window: string; duration: string };
}
export const cardinality = (signal?: AbortSignal): Promise<Cardinality> => data('/api/v1/status/cardinality', {}, signal ? { signal } : {});
export const endQuarantine = async (metric: string): Promise<void> => void (await request('/api/v1/status/cardinality', { metric }, { method: 'DELETE' }));
export const flags = (signal?: AbortSignal): Promise<Record<string, string>> => data('/api/v1/status/flags', {}, signal ? { signal } : {});
export const configText = (signal?: AbortSignal): Promise<{ yaml: string }> => data('/api/v1/status/config', {}, signal ? { signal } : {});
export const runtimeInfo = (signal?: AbortSignal): Promise<Record<string, string | number | boolean>> => data('/api/v1/status/runtimeinfo', {}, signal ? { signal } : {});

export const labelValues = (name: string, signal?: AbortSignal): Promise<string[]> =>
  data(`/api/v1/label/${encodeURIComponent(name)}/values`, {}, signal ? { signal } : {});

export interface Metadata {
  type: string;
  help: string;
  unit: string;
}
export const metadata = (signal?: AbortSignal): Promise<Record<string, Metadata[]>> => data('/api/v1/metadata', {}, signal ? { signal } : {});

export interface Target {
  discoveredLabels: Labels;
  labels: Labels;
  scrapePool: string;
  scrapeUrl: string;
  globalUrl: string;
  lastError: string;
  lastScrape: string;
  lastScrapeDuration: number;
  health: 'up' | 'down' | 'unknown';
  scrapeInterval: string;
  scrapeTimeout: string;
}
export interface DroppedTarget {
  discoveredLabels: Labels;
  scrapePool?: string;
}
export interface Targets {
  activeTargets: Target[];
  droppedTargets: DroppedTarget[];
  droppedTargetCounts?: Record<string, number>;
}
export const targets = (signal?: AbortSignal): Promise<Targets> => data('/api/v1/targets', { state: 'any' }, signal ? { signal } : {});

export interface RuleAlert {
  labels: Labels;
  annotations: Labels;
  state: 'pending' | 'firing' | 'inactive';
  activeAt?: string;
  value: string;
}
export interface Rule {
  type: 'alerting' | 'recording';
  name: string;
  query: string;
  labels?: Labels;
  annotations?: Labels;
  duration?: number;
  keepFiringFor?: number;
  health: 'ok' | 'err' | 'unknown';
  lastError?: string;
  evaluationTime: number;
  lastEvaluation: string;
  state?: 'inactive' | 'pending' | 'firing';
  alerts?: RuleAlert[];
}
export interface RuleGroup {
  name: string;
  file: string;
  interval: number;
  rules: Rule[];
  evaluationTime: number;
  lastEvaluation: string;
}
export const rules = (signal?: AbortSignal): Promise<{ groups: RuleGroup[] }> => data('/api/v1/rules', {}, signal ? { signal } : {});
export const ruleAlerts = (signal?: AbortSignal): Promise<{ alerts: RuleAlert[] }> => data('/api/v1/alerts', {}, signal ? { signal } : {});

export interface BuildInfo {
  version: string;
  revision?: string;
  branch?: string;
  buildDate?: string;
  goVersion?: string;
  [key: string]: string | undefined;
}
export const buildInfo = (signal?: AbortSignal): Promise<BuildInfo> => data('/api/v1/status/buildinfo', {}, signal ? { signal } : {});

export interface NameValue {
  name: string;
  value: number;
}
export interface TsdbStatus {
  headStats: { numSeries: number; numLabelPairs?: number; chunkCount: number; minTime: number; maxTime: number };
  seriesCountByMetricName: NameValue[];
  labelValueCountByLabelName: NameValue[];
  memoryInBytesByLabelName: NameValue[];
  seriesCountByLabelValuePair: NameValue[];
}
export const tsdbStatus = (signal?: AbortSignal, limit = 20): Promise<TsdbStatus> => data('/api/v1/status/tsdb', { limit }, signal ? { signal } : {});
