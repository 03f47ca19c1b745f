// A collector's answers for tests: one site with a network operator in trouble, one that is well, one without clients.
const ASNS = ['AS3320', 'AS7922', 'AS3215', 'AS6805', 'AS4713', 'AS17676', 'AS28573', 'AS9829', 'AS2856', 'AS5617', 'AS12322', 'AS4134', 'AS1136', 'AS3269', 'AS701', 'AS8151', 'AS45609', 'AS6830', 'AS22773', 'AS5089', 'AS13285', 'AS4766', 'AS9318', 'AS7018', 'AS55836', 'AS24560', 'AS7713', 'AS9299', 'AS18881', 'AS26599', 'AS27699', 'AS7303', 'AS6327', 'AS577', 'AS812'];
const COUNTRIES = ['DE', 'US', 'FR', 'JP', 'BR', 'IN', 'GB', 'PL', 'NL', 'IT', 'MX', 'KR', 'ID', 'PH', 'AR', 'CA', 'ES', 'SE', 'TR', 'ZA', 'AU', 'SG', 'NG', 'EG', 'UA', 'CL', 'CO', 'VN'];
const base = 0.0021;

interface Row {
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
function row(cohort: string, value: string, requests: number, ratio: number, main = 'tcp'): Row {
  const failures = Math.round(requests * ratio);
  const spread = 1.96 * Math.sqrt((ratio * (1 - ratio)) / Math.max(1, requests / 20));
  return { cohort, value, requests, failures, ratio, lower: Math.max(0, ratio - spread), upper: Math.min(1, ratio + spread), baseline: base, groups: { ok: requests - failures, [main]: Math.round(failures * 0.8), dns: Math.round(failures * 0.08), certificate: Math.round(failures * 0.05), server_error: Math.round(failures * 0.07), client_error: Math.round(requests * 0.02), abandoned: Math.round(requests * 0.01) } };
}
const usual = (i: number): number => base * (0.7 + 0.6 * Math.abs(Math.sin(i * 1.7)));

export function cohortRows(site: string): Row[] {
  if (site !== 'shop' && site !== 'media') return [];
  const ill = site === 'shop';
  return [
    row('global', 'all', 1_240_000, ill ? 0.041 : base),
    ...ASNS.map((value, i) => row('asn', value, Math.round(260_000 / (i + 1)), ill && i === 2 ? 0.62 : ill && i === 8 ? 0.009 : usual(i))),
    ...COUNTRIES.map((value, i) => row('country', value, Math.round(300_000 / (i + 1)), ill && value === 'FR' ? 0.34 : ill && value === 'ES' ? 0.013 : ill && value === 'VN' ? 0.03 : usual(i))),
    ...['fra', 'iad', 'nrt', 'gru', '203.0.113.0/24'].map((value, i) => row('pop', value, Math.round(500_000 / (i + 1)), ill && i === 0 ? 0.05 : usual(i))),
    ...['h2', 'h3', 'http/1.1'].map((value, i) => row('protocol', value, Math.round(700_000 / (i + 1)), usual(i))),
    ...['chrome', 'edge', 'samsung', 'opera'].map((value, i) => row('browser', value, Math.round(900_000 / (i + 1) ** 2), usual(i))),
    row('origin', 'https://shop.example', 1_200_000, 0.04),
  ];
}

const FIELDS = [
  { place: 'connection', name: 'client address', fate: 'reduced', kept: 'country and autonomous system, by a local database' },
  { place: 'envelope', name: 'type', fate: 'kept', kept: 'the kind of report' },
  { place: 'envelope', name: 'url', fate: 'reduced', kept: 'origin: scheme, host, port; no user, path, query or fragment' },
  { place: 'body', name: 'elapsed_time', fate: 'used', kept: 'tells a repeated upload from a new report, as a hash in memory' },
  { place: 'body', name: 'referrer', fate: 'dropped', kept: 'never read' },
];

export function clientsApi(path: string, q: URLSearchParams): { status?: number; data: unknown } | undefined {
  const name = /^\/api\/v1\/clients\/(\w+)$/.exec(path)?.[1];
  const now = Date.now();
  switch (name) {
    case 'sites':
      return { data: { minClients: 20, keepReports: '0s', sites: ['shop', 'media', 'quiet'].map((site) => ({ name: site, origins: [`https://${site}.example`], collectors: ['https://c1.example.net', 'https://c2.example.org'], successFraction: 0.05, failureFraction: 1, retired: false })) } };
    case 'cohorts':
      return { data: cohortRows(q.get('site') ?? '') };
    case 'incidents': {
      const one = { site: 'shop', source: 'nel', silent: false, lower: 0.58, upper: 0.66, baseline: base, minutes: 3, requests: 52_000, clients: 61, explains: 0.93 };
      return {
        data: [
          { ...one, id: 7, verdict: 'isp', sentence: 'Clients of one network, AS3215, cannot reach the site; others can.', cohort: 'asn', value: 'AS3215', opened: now - 260_000, ended: null, ratio: 0.62, evidence: 4210, groups: [['tcp', 29_000], ['dns', 1800], ['certificate', 420]], checks: [{ check: 'probes', query: 'probe_success{job="shop"}', says: 'confirms', value: 0.5, sentence: '1 of 2 probes fails.' }, { check: 'server_errors', query: 'job:http_errors:ratio{job="shop"}', says: 'confirms', value: 0.001, sentence: 'The server itself counts 0.1% errors: it is not the service.' }] },
          { ...one, id: 6, verdict: 'certificate', sentence: "Clients everywhere refuse the site's certificate.", cohort: 'global', value: 'all', opened: now - 7_200_000, ended: now - 5_400_000, ratio: 0.95, evidence: 90_000, explains: 1, groups: [['certificate', 990_000]], checks: [] },
        ],
      };
    }
    case 'fields':
      return { data: FIELDS };
    case 'policy':
      return { data: { headers: [{ name: 'NEL', value: '{}' }], snippet: `add_header NEL '{"report_to":"bellwether","max_age":${q.get('active') === 'false' ? 0 : 2592000}}' always;\n` } };
    case 'lint':
      return { data: q.get('site') === 'shop' ? [{ level: 'warning', kind: 'asn', message: 'https://c1.example.net and https://shop.example are in the same network, AS64500' }] : [] };
    default:
      return undefined;
  }
}
