// Prometheus' and Alertmanager's answers for tests: smooth made-up series, some targets, rules and alerts.
import { readdirSync, readFileSync } from 'node:fs';
import { clientsApi } from './clients.ts';
import type { MockFleet } from './fleet.ts';
import { statusApi } from './status.ts';

export interface Answer {
  body: unknown;
  status?: number;
}
const ok = (data: unknown): Answer => ({ body: { status: 'success', data } });

const METRICS: Record<string, [type: string, help: string]> = {
  up: ['gauge', 'Whether the last scrape worked.'],
  node_cpu_seconds_total: ['counter', 'Seconds the CPUs spent in each mode.'],
  node_memory_MemAvailable_bytes: ['gauge', 'Memory available to programs.'],
  node_memory_MemTotal_bytes: ['gauge', 'Memory in total.'],
  node_load1: ['gauge', 'Load, 1 minute.'],
  node_network_receive_bytes_total: ['counter', 'Bytes received.'],
  node_disk_io_time_seconds_total: ['counter', 'Seconds spent doing I/O.'],
  node_filesystem_avail_bytes: ['gauge', 'Free for users.'],
  scrape_duration_seconds: ['gauge', 'How long the scrape took.'],
  http_request_duration_seconds: ['histogram', 'Time to answer.'],
};
const silences: Record<string, unknown>[] = [];

/** Those that ship with the server, and what a test saves. */
const shippedFolder = new URL('../../../crates/api/dashboards/', import.meta.url);
const saved = new Map<string, { meta: Record<string, unknown>; dashboard: Record<string, unknown>; original?: unknown }>();
for (const file of readdirSync(shippedFolder)) {
  const dashboard = JSON.parse(readFileSync(new URL(file, shippedFolder), 'utf8')) as Record<string, unknown>;
  saved.set(String(dashboard.uid), { meta: { uid: dashboard.uid, title: dashboard.title, folder: dashboard.folder, tags: dashboard.tags, version: 0, updated_ms: 0, message: '', shipped: true }, dashboard });
}
function dashboardsApi(path: string, method: string, body: string): Answer | undefined {
  const none: Answer = { status: 404, body: { status: 'error', errorType: 'not_found', error: 'there is no such dashboard' } };
  if (path === '/api/v1/dashboards' && method === 'POST') {
    const sent = JSON.parse(body) as { dashboard: Record<string, unknown>; base_version: number; message: string; original?: unknown };
    const uid = String(sent.dashboard.uid);
    const version = sent.base_version + 1;
    if (Number(saved.get(uid)?.meta.version ?? 0) !== sent.base_version) return { status: 409, body: { status: 'error', errorType: 'conflict', error: 'the dashboard has changed: load it again' } };
    const meta = { uid, title: sent.dashboard.title, folder: sent.dashboard.folder, tags: sent.dashboard.tags, version, updated_ms: Date.now(), message: sent.message, shipped: false };
    saved.set(uid, { meta, dashboard: sent.dashboard, original: sent.original });
    return ok(meta);
  }
  if (path === '/api/v1/dashboards') return ok([...saved.values()].map((one) => one.meta));
  const found = /^\/api\/v1\/dashboards\/([\w-]+)(\/versions)?$/.exec(path);
  const one = saved.get(found?.[1] ?? '');
  if (!found) return undefined;
  if (!one) return none;
  if (found[2]) return ok([one.meta]);
  if (method === 'DELETE') {
    saved.delete(String(one.meta.uid));
    return ok(null);
  }
  return ok(one);
}

const wave = (seed: number, t: number): number => 0.5 + 0.25 * Math.sin(t / 613 + seed) + 0.12 * Math.sin(t / 97 + seed * 3) + 0.06 * Math.sin(t / 13 + seed * 7);

interface MockSeries {
  metric: Record<string, string>;
  at: (t: number) => number;
}
function seriesOf(expr: string): MockSeries[] {
  if (/nothing_here/.test(expr)) return [];
  if (/by \(le/.test(expr)) return [0.001, 0.005, 0.025, 0.1, 0.5, 2, 10].concat(Number.POSITIVE_INFINITY).map((le, i) => ({ metric: { le: le === Number.POSITIVE_INFINITY ? '+Inf' : String(le) }, at: (t) => 40 * (1 - Math.exp(-(i + 1) * (0.4 + 0.5 * wave(3, t)))) }));
  if (/ALERTS|^(min by \(job\) \()?(up|probe_success)\b/.test(expr)) return ['node', 'bellwether', 'shop', 'db'].map((job, i) => ({ metric: { job, alertname: `Alert${i}`, instance: `${job}-1` }, at: (t) => (Math.sin(t / (400 + 300 * i) + i) > -0.92 ? 1 : 0) }));
  if (/mountpoint/.test(expr)) return ['/', '/boot', '/var/lib', '/home'].map((mountpoint, i) => ({ metric: { mountpoint }, at: () => [0.42, 0.18, 0.86, 0.95][i] ?? 0 }));
  if (/^(time\(\)|count|sum|avg|1 -|max\(|min\(|bellwether_|process_)/.test(expr) && !/ by \(/.test(expr)) return [{ metric: {}, at: (t) => (/time\(\)/.test(expr) ? 1_234_567 : /bytes/.test(expr) ? 1.4e8 * (0.9 + 0.2 * wave(2, t)) : /^count/.test(expr) ? 3 : 0.6 * wave(1, t)) }];
  if (/client_error_ratio\(_lower/.test(expr)) return ['', '_lower', '_upper', '_baseline'].map((end, i) => ({ metric: { __name__: `bellwether_client_error_ratio${end}`, value: 'FR' }, at: (t) => [0.2, 0.17, 0.23, 0.002][i]! * (i === 3 ? 1 : wave(2, t)) }));
  if (/bellwether_client_reports_total/.test(expr)) return (/offset 1d/.test(expr) ? ['ok', 'tcp.reset'] : ['ok', 'tcp.reset', 'tls.cert.date_invalid']).map((type, i) => ({ metric: { type, phase: ['application', 'connection', 'connection'][i] ?? '' }, at: () => 9000 / (i * 12 + 1) }));
  const scale = /_bytes/.test(expr) && !/\//.test(expr) ? (/rate/.test(expr) ? 8e6 : 1.2e10) : /load/.test(expr) ? 4 : 0.7;
  const names = /by \(mode\)|CPU/.test(expr) ? ['user', 'system', 'iowait', 'softirq', 'steal', 'nice'] : /device/.test(expr) ? ['eth0', 'eth1', 'eth2'] : /^(1 -|max|scalar)/.test(expr) ? [''] : ['web-1', 'web-2', 'db-1', 'db-2', 'cache-1'];
  const many = /many_series/.test(expr) ? Array.from({ length: 240 }, (_, i) => `host-${i}`) : names;
  const label = /by \(mode\)/.test(expr) ? 'mode' : /device/.test(expr) ? 'device' : 'instance';
  return many.map((name, i): MockSeries => ({ metric: (name ? { [label]: name, job: 'node' } : {}) as Record<string, string>, at: (t) => (scale * wave(i + 1, t)) / (label === 'mode' ? (i + 1) ** 1.6 : 1) }));
}

export function alertsOf(fleet: MockFleet): { labels: Record<string, string>; annotations: Record<string, string>; state: string; activeAt: string; value: string }[] {
  const now = Date.now();
  const made = (name: string, severity: string, instance: string, summary: string, minutes: number, state = 'firing'): ReturnType<typeof alertsOf>[number] => ({ labels: { alertname: name, severity, instance, job: 'node', datacenter: instance.slice(0, 4) }, annotations: { summary, description: `${summary}. It has been so for ${minutes} minutes.` }, state, activeAt: new Date(now - minutes * 60_000).toISOString(), value: '9.3e-01' });
  const n = Math.min(fleet.servers, 2000);
  const out = [
    made('HostCpuBusy', 'warning', 'web-1:9100', 'CPU above 90 % on web-1:9100', 12),
    made('HostCpuBusy', 'warning', 'web-2:9100', 'CPU above 90 % on web-2:9100', 7),
    made('HostDiskFull', 'critical', 'db-1:9100', '/var/lib/postgresql is 97 % full', 41),
    made('TargetDown', 'critical', 'cache-3:9100', 'cache-3:9100 does not answer', 3),
    made('HostMemoryLow', 'warning', 'db-2:9100', 'Less than 5 % of memory is available', 1, 'pending'),
    made('ClockSkew', 'info', 'web-9:9100', 'The clock is 400 ms off', 300),
  ];
  for (let i = 0; i < n; i++) if ((fleet.codes[i] ?? 0) === 2) out.push(made('InstanceDown', 'critical', `${fleet.name(i)}:9100`, `${fleet.name(i)} does not answer`, 11));
  return out;
}

export function promApi(path: string, method: string, q: URLSearchParams, body: string, fleet: MockFleet): Answer | undefined {
  const expr = q.get('query') ?? '';
  const dashboard = dashboardsApi(path, method, body);
  if (dashboard) return dashboard;
  const own = statusApi(path, method, body);
  if (own) return own;
  const clients = clientsApi(path, q);
  if (clients) return ok(clients.data);
  if (path === '/api/v1/query_batch') {
    const { queries } = JSON.parse(body) as { queries: Record<string, string | number>[] };
    return ok(queries.map((one) => promApi(one.step === undefined ? '/api/v1/query' : '/api/v1/query_range', 'GET', new URLSearchParams(Object.entries(one).map(([name, value]): [string, string] => [name, String(value)])), '', fleet)?.body));
  }
  if (/syntax_error/.test(expr)) return { status: 400, body: { status: 'error', errorType: 'bad_data', error: 'invalid parameter "query": 1:14: parse error: unexpected identifier "error"' } };
  switch (path) {
    case '/api/v1/query': {
      const t = Number(q.get('time'));
      return ok({ resultType: 'vector', result: seriesOf(expr).map(({ metric, at }) => ({ metric, value: [t, String(at(t))] })) });
    }
    case '/api/v1/query_range': {
      const [start, end, step] = [Number(q.get('start')), Number(q.get('end')), Number(q.get('step'))];
      const times = Array.from({ length: Math.floor((end - start) / step) + 1 }, (_, i) => start + i * step);
      const stats = { timings: { evalTotalTime: 0.0123, resultSortTime: 0, queryPreparationTime: 0.001, innerEvalTime: 0.0113, execQueueTime: 0.0001, execTotalTime: 0.0124 }, samples: { totalQueryableSamples: 81_230, peakSamples: 4120 }, plan: [{ title: 'node_cpu_seconds_total', inputs: [], series: 48, samples: 81_230, seconds: 0.004 }, { title: 'rate [1m]', inputs: [0], series: 48, samples: 0, seconds: 0.0096 }, { title: 'sum by (mode)', inputs: [1], series: 6, samples: 0, seconds: 0.0113 }] };
      return ok({ resultType: 'matrix', result: seriesOf(expr).map(({ metric, at }) => ({ metric, values: times.map((t) => [t, at(t).toPrecision(6)]) })), ...(q.get('stats') ? { stats } : {}) });
    }
    case '/api/v1/host/events':
      return ok([{ seq: 2, time: Date.now() - 340_000, kind: 'oom_kill', severity: 'critical', message: 'The kernel killed postgres (pid 4121) for want of memory', labels: { group: 'postgres' }, count: 1 }, { seq: 1, time: Date.now() - 4_000_000, kind: 'process_exit', severity: 'warning', message: 'backup ended with status 2', labels: { group: 'backup' }, count: 3 }]);
    case '/api/v1/query_exemplars': {
      const [start, end] = [Number(q.get('start')), Number(q.get('end'))];
      return ok([{ seriesLabels: { job: 'node', instance: 'web-1' }, exemplars: Array.from({ length: 24 }, (_, i) => ({ labels: { trace_id: `${(0xabc0 + i * 977).toString(16)}${(0xdef00 + i * 31).toString(16)}` }, value: String(0.2 + 0.4 * wave(i, i)), timestamp: start + ((end - start) * (i + 0.5)) / 24 })) }]);
    }
    case '/api/v1/status/cardinality':
      if (method === 'DELETE') return { body: {} };
      return ok({ quarantines: [{ tenant: '', metric: 'http_requests_total', label: 'user_id', sinceMs: Date.now() - 900_000, untilMs: Date.now() + 2_700_000, newSeries: 61_200, distinctValues: 58_900, examples: ['u-88123', 'u-88124'], refusedSamples: 421_000 }], growing: [{ tenant: '', metric: 'http_requests_total', newSeries: 61_200, label: ['user_id', 58_900] }, { tenant: '', metric: 'kube_pod_info', newSeries: 3400, label: ['pod', 3400] }], limits: { series: 2_000_000, seriesPerMetric: 100_000, seriesPerTarget: 0 }, settings: { quarantine: true, new_series: 50_000, window: '1h', duration: '1h' } });
    case '/api/v1/status/flags':
      return ok({ 'web.listen_address': '127.0.0.1:9090', 'storage.retention': '15d', 'query.max_concurrency': '20', 'query.lookback': '' });
    case '/api/v1/status/config':
      return ok({ yaml: 'scrape_configs:\n  - job_name: node\n    static_configs:\n      - targets: [web-1:9100]\n' });
    case '/api/v1/status/runtimeinfo':
      return ok({ startTime: new Date().toISOString(), CWD: '/', hostname: 'watch-1', serverTime: new Date().toISOString(), reloadConfigSuccess: true, storageRetention: '15d' });
    case '/api/v1/metadata':
      return ok(Object.fromEntries(Object.entries(METRICS).map(([name, [type, help]]) => [name, [{ type, help, unit: '' }]])));
    case '/api/v1/label/__name__/values':
      return ok(Object.keys(METRICS).sort());
    case '/api/v1/label/job/values':
      return ok(['bellwether', 'node', 'shop']);
    case '/api/v1/label/instance/values':
      return ok(['cache-1', 'db-1', 'db-2', 'web-1', 'web-2']);
    case '/api/v1/labels':
      return ok(['__name__', 'instance', 'job', 'mode', 'device']);
    case '/api/v1/series':
      return ok(Object.keys(METRICS).map((name) => ({ __name__: name, instance: 'web-1', job: 'node' })));
    case '/api/v1/targets': {
      const target = (pool: string, instance: string, health: string, error = ''): unknown => ({ discoveredLabels: { __address__: instance, __scheme__: 'http', __metrics_path__: '/metrics', job: pool }, labels: { instance, job: pool }, scrapePool: pool, scrapeUrl: `http://${instance}/metrics`, globalUrl: `http://${instance}/metrics`, lastError: error, lastScrape: new Date(Date.now() - 4200).toISOString(), lastScrapeDuration: 0.0123, health, scrapeInterval: '15s', scrapeTimeout: '10s' });
      return ok({ activeTargets: [target('bellwether', '127.0.0.1:9090', 'up'), target('node', 'web-1:9100', 'up'), target('node', 'web-2:9100', 'up'), target('node', 'cache-3:9100', 'down', 'connect to cache-3:9100: connection refused (os error 111)'), target('node', 'db-1:9100', 'up'), target('blackbox', 'shop.example:443', 'unknown')], droppedTargets: [], droppedTargetCounts: { node: 3 } });
    }
    case '/api/v1/rules':
      return ok({ groups: [{ name: 'host', file: 'shipped/host.yml', interval: 15, evaluationTime: 0.0021, lastEvaluation: new Date(Date.now() - 3000).toISOString(), rules: [
        { type: 'recording', name: 'instance:cpu:busy', query: '1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[1m]))', health: 'ok', evaluationTime: 0.0004, lastEvaluation: new Date().toISOString() },
        { type: 'alerting', name: 'HostCpuBusy', query: 'instance:cpu:busy > 0.9', duration: 300, labels: { severity: 'warning' }, annotations: { summary: 'CPU above 90 % on {{ $labels.instance }}' }, health: 'ok', evaluationTime: 0.0004, lastEvaluation: new Date().toISOString(), state: 'firing', alerts: alertsOf(fleet).slice(0, 2) },
        { type: 'alerting', name: 'HostDiskFull', query: 'node_filesystem_avail_bytes / node_filesystem_size_bytes < 0.05', duration: 600, labels: { severity: 'critical' }, annotations: {}, health: 'err', lastError: 'many-to-many matching not allowed', evaluationTime: 0.0004, lastEvaluation: new Date().toISOString(), state: 'inactive', alerts: [] },
      ] }] });
    case '/api/v1/parse_query':
      return ok({ type: 'binaryExpr' });
    case '/api/v1/alerts/timeline':
      return ok({ episodes: episodes(Number(q.get('start')), Number(q.get('end'))) });
    case '/api/v1/alerts/report':
      return ok({ total: { fired: 36, resolved: 33, notified: 30, acknowledged: 4, suppressed: 2, notifications: 61, failures: 1 }, rules: [], neverFired: [{ alertname: 'HostTooHot', file: 'shipped/host.yml', group: 'host', query: 'node_hwmon_temp_celsius > 85' }] });
    case '/api/v1/alerts/explain':
      return ok({ verdict: ['rule HostCpuBusy (shipped/host.yml, line 8): fires since 12 minutes', 'default was told 11 minutes ago'], rules: [], manager: { verdict: [], labels: { alertname: 'HostCpuBusy' }, route: [{ key: '0', matched: true, failed: null, taken: false }, { key: '0.0', matched: false, failed: 'team="db"', taken: false }, { key: '0.1', matched: true, failed: null, taken: true }], routes: [{ key: '0.1', receiver: 'default', ways: ['webhook[0]'], group: { alertname: 'HostCpuBusy' }, interval: null }], groups: [], silences: [], events: [{ id: 2, at: Date.now() - 660_000, kind: 'delivered', fingerprint: '1', alertname: 'HostCpuBusy', groupKey: '', receiver: 'default', detail: {} }, { id: 1, at: Date.now() - 720_000, kind: 'firing', fingerprint: '1', alertname: 'HostCpuBusy', groupKey: '', receiver: '', detail: {} }] } });
    case '/api/v1/alerts':
      return ok({ alerts: alertsOf(fleet) });
    case '/api/v1/status/buildinfo':
      return ok({ version: '0.1.0', revision: 'abcdef0123456', goVersion: '' });
    case '/api/v1/status/tsdb': {
      const rows = (names: string[]): unknown => names.map((name, i) => ({ name, value: Math.round(4000 / (i + 1)) }));
      return ok({ headStats: { numSeries: 12345, chunkCount: 45678, minTime: Date.now() - 7200_000, maxTime: Date.now() }, seriesCountByMetricName: rows(Object.keys(METRICS)), labelValueCountByLabelName: rows(['instance', 'mode', 'device']), memoryInBytesByLabelName: [], seriesCountByLabelValuePair: rows(['job=node', 'instance=web-1']) });
    }
    case '/api/v2/status':
      return { body: { uptime: new Date().toISOString(), versionInfo: {}, config: { original: '' }, cluster: { status: 'ready' } } };
    case '/api/v2/receivers':
      return { body: [{ name: 'default' }] };
    case '/api/v2/alerts':
      return { body: alertsOf(fleet).filter((alert) => alert.state === 'firing').map((alert, i) => ({ ...alert, startsAt: alert.activeAt, endsAt: alert.activeAt, updatedAt: alert.activeAt, fingerprint: String(i), receivers: [{ name: 'default' }], status: { state: i === 1 ? 'suppressed' : 'active', silencedBy: i === 1 ? ['s1'] : [], inhibitedBy: [] } })) };
    case '/api/v2/silences':
      if (method === 'POST') {
        const made = JSON.parse(body) as Record<string, unknown>;
        const id = `s${silences.length + 1}`;
        silences.push({ ...made, id, updatedAt: new Date().toISOString(), status: { state: 'active' } });
        return { body: { silenceID: id } };
      }
      return { body: silences };
    default: {
      const end = /^\/api\/v2\/silence\/(.+)$/.exec(path);
      if (!end) return undefined;
      for (const silence of silences) if (silence.id === end[1]) silence.status = { state: 'expired' };
      return { body: {} };
    }
  }
}

/** Made-up firings over a range of seconds, oldest first. */
export function episodes(start: number, end: number): unknown[] {
  const names = ['HostCpuBusy', 'HostDiskFull', 'TargetDown', 'HostMemoryLow', 'InstanceDown', 'ClockSkew'];
  const out: unknown[] = [];
  const span = end - start;
  names.forEach((alertname, n) => {
    for (let i = 0; i < 6; i++) {
      const from = start + span * ((i + 0.15 * n) / 6.6) + 40 * n;
      const to = i === 5 && n % 2 ? null : from + span * (0.012 + 0.03 * ((i * 7 + n * 3) % 5));
      const iso = (seconds: number): string => new Date(seconds * 1000).toISOString();
      const labels = { alertname, instance: `web-${(i % 3) + 1}:9100`, job: 'node', severity: n % 3 === 1 ? 'critical' : n === 5 ? 'info' : 'warning' };
      out.push({ fingerprint: `${n}${i}`, alertname, labels, startsAt: iso(from), endsAt: to === null ? null : iso(to), notifiedAt: n === 5 ? null : iso(from + 30), notifications: n === 5 ? 0 : 1 + (i % 3), receivers: ['default'], suppressed: [] });
    }
  });
  return out;
}
