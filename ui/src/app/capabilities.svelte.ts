// Which parts of the server exist: a page whose part answers 404 is not offered.
import { request, ApiError } from '../api/http.ts';

const PROBES = {
  alertmanager: '/api/v2/status',
  dashboards: '/api/v1/dashboards',
  history: '/api/v1/alerts/report?start=0&end=1',
  library: '/api/v1/library',
  rules: '/api/v1/rules',
  status: '/api/v1/status_page',
  tokens: '/api/v1/tokens',
  tsdb: '/api/v1/status/tsdb',
} as const;
export type Capability = keyof typeof PROBES;

class Capabilities {
  has = $state<Partial<Record<Capability, boolean>>>({});

  async probe(): Promise<void> {
    await Promise.all(
      (Object.keys(PROBES) as Capability[]).map(async (name) => {
        try {
          const answer = await request(PROBES[name]);
          this.has[name] = (answer.headers.get('Content-Type') ?? '').includes('json');
        } catch (cause) {
          // Anything but "no such thing" (a server that starts, a timeout) leaves the page in place: it will say what is wrong.
          this.has[name] = !(cause instanceof ApiError && [404, 405, 501].includes(cause.status));
        }
      }),
    );
  }
}
export const capabilities = new Capabilities();
