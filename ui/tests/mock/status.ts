// The status page's and the tokens' answers for tests.
import type { Answer } from './prom.ts';

const ok = (data: unknown): Answer => ({ body: { status: 'success', data } });
const DAY = 864e5;
const components = [
  { id: 'shop', name: 'Shop', group: 'Web', description: 'Catalogue, basket, checkout', state: 'degraded' },
  { id: 'api', name: 'API', group: 'Web', description: '', state: 'operational' },
  { id: 'mail', name: 'Mail', group: 'Messages', description: 'In and out', state: 'maintenance' },
  { id: 'search', name: 'Search', group: 'Messages', description: '', state: 'operational' },
];
interface MockIncident {
  id: number;
  resolved_ms?: number;
  updates: { at_ms: number; status: string; text: string }[];
  [more: string]: unknown;
}
const incidents: MockIncident[] = [
  { id: 3, title: 'Checkout is slow', impact: 'minor', components: ['shop'], starts_ms: Date.now() - 26e5, updates: [{ at_ms: Date.now() - 26e5, status: 'investigating', text: 'Orders take up to a minute. We are looking for the cause.' }, { at_ms: Date.now() - 9e5, status: 'identified', text: 'A database index is being rebuilt; it will take about half an hour.' }] },
  { id: 2, title: 'New mail servers', impact: 'maintenance', components: ['mail'], starts_ms: Date.now() - 6e5, ends_ms: Date.now() + 66e5, updates: [{ at_ms: Date.now() - 2 * DAY, status: 'scheduled', text: 'Mail is delivered late while we move.' }, { at_ms: Date.now() - 6e5, status: 'in_progress', text: 'The announced work has begun.' }] },
  { id: 1, title: 'Search finds nothing', impact: 'major', components: ['search'], starts_ms: Date.now() - 9 * DAY, resolved_ms: Date.now() - 9 * DAY + 48e5, updates: [{ at_ms: Date.now() - 9 * DAY, status: 'investigating', text: 'Searches return no results.' }, { at_ms: Date.now() - 9 * DAY + 48e5, status: 'resolved', text: 'The index is back.' }] },
];
const hooks: Record<string, unknown>[] = [{ id: 1, name: 'Chat', url: 'https://chat.example/hooks/4711', created_ms: Date.now() - 40 * DAY, last_ok_ms: Date.now() - 9e5, failures: 0, last_error: '', ended: false }, { id: 2, name: 'Partner', url: 'https://partner.example/status', created_ms: Date.now() - 4 * DAY, last_ok_ms: 0, failures: 3, last_error: 'it answered 502', ended: false }];
const tokens: Record<string, unknown>[] = [
  { id: 'a1', name: 'Prometheus in Frankfurt', scopes: ['push'], created_ms: Date.now() - 60 * DAY, expires_ms: 0, last_used_ms: Date.now() - 12_000 },
  { id: 'b2', name: 'Wall screen', scopes: ['read'], created_ms: Date.now() - 12 * DAY, expires_ms: Date.now() + 78 * DAY, last_used_ms: Date.now() - 240_000 },
  { id: 'c3', name: 'Trial of the new agent', scopes: ['push', 'read'], created_ms: Date.now() - 31 * DAY, expires_ms: Date.now() - DAY, last_used_ms: Date.now() - 2 * DAY },
];

function days(c: number): unknown[] {
  const today = Math.floor(Date.now() / DAY);
  return Array.from({ length: 90 }, (_, i) => {
    const day = { day: today - 89 + i };
    if (c === 3 && i < 20) return day;
    const dice = (i * 37 + c * 11) % 43;
    if (dice === 5) return { ...day, ok_ms: DAY - 66e5, outage_ms: 66e5 };
    if (dice === 11 || (c === 0 && i === 89)) return { ...day, ok_ms: DAY - 26e5, degraded_ms: 26e5 };
    if (c === 2 && i === 89) return { ...day, ok_ms: DAY / 2, maintenance_ms: 6e5 };
    return { ...day, ok_ms: DAY };
  });
}

export function statusApi(path: string, method: string, body: string): Answer | undefined {
  const sent = (): Record<string, unknown> => JSON.parse(body) as Record<string, unknown>;
  if (path === '/api/v1/status_page') {
    return ok({ listen_address: ':8080', url: 'https://status.example.com', components: components.map(({ id, name }) => ({ id, name, expr: `probe_success{job="${id}"}`, degraded_below: 1, outage_below: 0.5 })), snapshot: { title: 'Example', about: '', url: '', generated_ms: Date.now() - 4000, interval_ms: 30_000, components: components.map((one, i) => ({ ...one, since_ms: Date.now() - 26e5 * (i + 1), days: days(i) })), incidents } });
  }
  if (path === '/api/v1/status_page/incidents') {
    const { status, text, ...rest } = sent();
    const made = { ...rest, id: incidents.length + 1, starts_ms: Date.now(), updates: [{ at_ms: Date.now(), status: String(status), text: String(text) }] };
    incidents.unshift(made);
    return ok(made);
  }
  const update = /^\/api\/v1\/status_page\/incidents\/(\d+)(\/updates)?$/.exec(path);
  if (update) {
    const at = incidents.findIndex((one) => one.id === Number(update[1]));
    if (method === 'DELETE') incidents.splice(at, 1);
    else {
      const one = incidents[at];
      const { status, text } = sent();
      one?.updates.push({ at_ms: Date.now(), status: String(status), text: String(text) });
      if (one && status === 'resolved') one.resolved_ms = Date.now();
    }
    return ok(null);
  }
  if (path === '/api/v1/status_page/webhooks') {
    if (method !== 'POST') return ok(hooks);
    const made = { ...sent(), id: hooks.length + 1, created_ms: Date.now(), last_ok_ms: 0, failures: 0, last_error: '', ended: false };
    hooks.push(made);
    return ok({ ...made, secret: '5f0c'.repeat(16) });
  }
  if (path === '/api/v1/tokens') {
    if (method !== 'POST') return ok({ mode: 'write', tokens });
    const made = { ...sent(), id: `t${tokens.length}`, created_ms: Date.now(), last_used_ms: 0 };
    tokens.unshift(made);
    return ok({ ...made, token: `bw_${'9ac3'.repeat(16)}` });
  }
  const token = /^\/api\/v1\/tokens\/(\w+)$/.exec(path);
  if (token) {
    tokens.splice(tokens.findIndex((one) => one.id === token[1]), 1);
    return ok(null);
  }
  if (path === '/api/v1/session') return ok({ mode: 'write', name: 'web.admin_token_file', scopes: ['admin'] });
  return undefined;
}
