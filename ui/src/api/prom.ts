// Prometheus' HTTP API (manual, "HTTP API"): the calls the pages make and the shapes they return.
import type { Labels } from '../lib/labels.ts';
import { data, envelope } from './http.ts';

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
export const tsdbStatus = (signal?: AbortSignal): Promise<TsdbStatus> => data('/api/v1/status/tsdb', { limit: 20 }, signal ? { signal } : {});
