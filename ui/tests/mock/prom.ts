// Prometheus' and Alertmanager's answers for tests: smooth made-up series, some targets, rules and alerts.
import type { MockFleet } from './fleet.ts';

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

const wave = (seed: number, t: number): number => 0.5 + 0.25 * Math.sin(t / 613 + seed) + 0.12 * Math.sin(t / 97 + seed * 3) + 0.06 * Math.sin(t / 13 + seed * 7);

interface MockSeries {
  metric: Record<string, string>;
  at: (t: number) => number;
}
function seriesOf(expr: string): MockSeries[] {
  if (/nothing_here/.test(expr)) return [];
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
  if (/syntax_error/.test(expr)) return { status: 400, body: { status: 'error', errorType: 'bad_data', error: 'invalid parameter "query": 1:14: parse error: unexpected identifier "error"' } };
  switch (path) {
    case '/api/v1/query': {
      const t = Number(q.get('time'));
      return ok({ resultType: 'vector', result: seriesOf(expr).map(({ metric, at }) => ({ metric, value: [t, String(at(t))] })) });
    }
    case '/api/v1/query_range': {
      const [start, end, step] = [Number(q.get('start')), Number(q.get('end')), Number(q.get('step'))];
      const times = Array.from({ length: Math.floor((end - start) / step) + 1 }, (_, i) => start + i * step);
      return ok({ resultType: 'matrix', result: seriesOf(expr).map(({ metric, at }) => ({ metric, values: times.map((t) => [t, at(t).toPrecision(6)]) })) });
    }
    case '/api/v1/metadata':
      return ok(Object.fromEntries(Object.entries(METRICS).map(([name, [type, help]]) => [name, [{ type, help, unit: '' }]])));
    case '/api/v1/label/__name__/values':
      return ok(Object.keys(METRICS).sort());
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
