// A stand-in for the real server, for tests alone: serves the built pages and answers the APIs from a generated fleet.
import { createReadStream, existsSync, statSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { gzipSync } from 'node:zlib';
import { encodeDelta, encodeHistory, encodeState } from '../../src/lib/fleet/codec.ts';
import { hex64 } from '../../src/lib/fleet/bytes.ts';
import { fleet, STATE_WORDS, type MockFleet } from './fleet.ts';
import { promApi } from './prom.ts';

const TYPES: Record<string, string> = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.woff2': 'font/woff2' };

export interface Mock {
  url: string;
  fleet: MockFleet;
  /** Changes the state of servers and sends the delta to every stream. */
  set: (changes: [server: number, code: number][]) => void;
  /** Stops ticks and deltas without closing connections. */
  mute: (on: boolean) => void;
  close: () => Promise<void>;
}

export async function start(root: string, servers: number, port = 0): Promise<Mock> {
  const made = fleet(servers);
  let codes = made.codes.slice();
  let sequence = 1;
  let muted = false;
  const streams = new Set<ServerResponse>();
  const hash = hex64(made.hash);
  const since = Date.now() - 11 * 60_000;

  const send = (response: ServerResponse, body: string | Uint8Array, type = 'application/json', status = 200): void => {
    const raw = typeof body === 'string' ? Buffer.from(body) : Buffer.from(body);
    response.writeHead(status, { 'Content-Type': type, 'Content-Encoding': 'gzip', 'Cache-Control': 'no-cache' });
    response.end(gzipSync(raw, { level: 1 }));
  };
  const ok = (response: ServerResponse, data: unknown): void => send(response, JSON.stringify({ status: 'success', data }));
  const bytes = (response: ServerResponse, body: Uint8Array): void => send(response, body, 'application/octet-stream');
  const tick = (): string => `id: ${sequence}\nevent: tick\ndata: ${JSON.stringify({ sequence, time_ms: Date.now(), interval_ms: 2000, topo_hash: hash })}\n\n`;

  function server(index: number): unknown {
    const rack = made.rackOf(index);
    const code = codes[index] ?? 0;
    const names = [[], ['HighTemperature'], ['InstanceDown', 'RackUplinkLost'], ['NoScrape']][code] ?? [];
    const alerts = names.map((name) => ({ name, severity: code === 2 ? 'critical' : 'warning', state: 'firing', since_ms: since, silenced: made.silenced[index] === 1, inhibited: false, summary: `${name} on ${made.name(index)}` }));
    return { index, slot: index - rack.first, name: made.name(index), state: STATE_WORDS[code], silenced: made.silenced[index] === 1, since_ms: code ? since : null, labels: { instance: `${made.name(index)}:9100`, job: 'node' }, alerts_total: alerts.length, alerts };
  }
  const path = (id: number): { level: string; name: string }[] => {
    const rack = made.racks[id];
    if (!rack) return [];
    const two = (n: number): string => String(n + 1).padStart(2, '0');
    return [{ level: 'region', name: rack.region }, { level: 'datacenter', name: rack.hall }, { level: 'row', name: `row ${two(rack.row)}` }, { level: 'rack', name: `rack ${two(rack.position)}` }];
  };

  /** Faults appear over the last hours: frame by frame, hall after hall. */
  function history(from: number, to: number, step: number): Uint8Array {
    const frames = Math.floor((to - from) / step) + 1;
    const halls = [...new Set(made.racks.map((rack) => rack.hall))];
    const owner = made.racks.map((rack) => halls.indexOf(rack.hall));
    let last = '';
    let now = made.quiet;
    const states = Array.from({ length: frames }, (_, i) => {
      const share = i / Math.max(1, frames - 1);
      const bad = halls.filter((_, n) => {
        const h = n / halls.length;
        return share > 0.78 + 0.2 * h || (share > 0.2 && share < 0.28 && h > 0.4 && h < 0.5);
      });
      if (i === frames - 1) return codes;
      if (bad.join() === last) return now;
      last = bad.join();
      now = made.quiet.slice();
      made.racks.forEach((rack, r) => {
        if (bad.includes(halls[owner[r] ?? 0] ?? '')) now.set(made.codes.subarray(rack.first, rack.first + rack.used), rack.first);
      });
      return now;
    });
    return encodeHistory(made.hash, from, step, made.servers, states);
  }

  function api(request: IncomingMessage, response: ServerResponse, url: URL, body: string): void {
    const q = url.searchParams;
    const rack = /^\/api\/v1\/fleet\/rack\/(\d+)$/.exec(url.pathname);
    if (url.pathname === '/api/v1/fleet/topology') return bytes(response, made.topology);
    if (url.pathname === '/api/v1/fleet/state') {
      if (!['alert', 'up'].includes(q.get('by') ?? 'alert')) {
        const ramp = Uint8Array.from(codes, (code, i) => (code === 3 ? 15 : Math.floor(7 + 5 * Math.sin(i / 900) + 2 * Math.sin(i / 37))));
        return bytes(response, encodeState({ hash: made.hash, sequence, time: Date.now(), bits: 4, encoding: 0, codes: ramp, ramp: { min: 0.02, max: 7.4 } }));
      }
      return bytes(response, encodeState({ hash: made.hash, sequence, time: Date.now(), bits: 2, encoding: 0, codes, silenced: made.silenced }));
    }
    if (url.pathname === '/api/v1/fleet/history') return bytes(response, history(Number(q.get('from')), Number(q.get('to')), Number(q.get('step'))));
    if (url.pathname === '/api/v1/fleet/stream') {
      response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache' });
      if (Number(q.get('since')) !== sequence) response.write('event: resync\ndata: {"reason":"gap"}\n\n');
      response.write(tick());
      streams.add(response);
      response.on('close', () => streams.delete(response));
      return;
    }
    if (rack) {
      const id = Number(rack[1]);
      const found = made.racks[id];
      if (!found) return send(response, JSON.stringify({ status: 'error', errorType: 'not_found', error: `no rack ${id}` }), 'application/json', 404);
      return ok(response, { topo_hash: hash, sequence, time_ms: Date.now(), rack: id, first_server: found.first, slots_total: 40, path: path(id), servers: Array.from({ length: found.used }, (_, s) => server(found.first + s)) });
    }
    if (url.pathname === '/api/v1/fleet/find') {
      const exact = q.get('name');
      const text = (q.get('q') ?? '').toLowerCase();
      const matches: unknown[] = [];
      let total = 0;
      for (let i = 0; i < made.servers && total < 500; i++) {
        const name = made.name(i);
        if (exact !== null ? name !== exact : !name.includes(text)) continue;
        total++;
        const home = made.rackOf(i);
        if (matches.length < 12) matches.push({ index: i, rack: home.id, slot: i - home.first, name, state: STATE_WORDS[codes[i] ?? 0], path: path(home.id).map((part) => part.name), labels: { instance: `${name}:9100` } });
      }
      return ok(response, { topo_hash: hash, total, matches });
    }
    const answer = promApi(url.pathname, request.method ?? 'GET', new URLSearchParams(`${url.search.slice(1)}&${body.startsWith('{') ? '' : body}`), body, made);
    if (answer === undefined) return send(response, JSON.stringify({ status: 'error', errorType: 'not_found', error: `no ${url.pathname}` }), 'application/json', 404);
    send(response, JSON.stringify(answer.body), 'application/json', answer.status ?? 200);
  }

  const http: Server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://mock');
    if (url.pathname.startsWith('/api/')) {
      let body = '';
      request.on('data', (chunk: Buffer) => (body += chunk.toString()));
      request.on('end', () => api(request, response, url, body));
      return;
    }
    let file = join(root, normalize(url.pathname));
    if (!existsSync(file) || statSync(file).isDirectory()) file = join(root, 'index.html');
    response.writeHead(200, {
      'Content-Type': TYPES[extname(file)] ?? 'application/octet-stream',
      'Content-Security-Policy': "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; worker-src 'self'; object-src 'none'; base-uri 'none'",
    });
    createReadStream(file).pipe(response);
  });
  await new Promise<void>((resolve) => http.listen(port, '127.0.0.1', resolve));
  const ticking = setInterval(() => {
    if (!muted) for (const stream of streams) stream.write(tick());
  }, 2000);
  const address = http.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return {
    url: `http://127.0.0.1:${address.port}`,
    fleet: made,
    set: (changes) => {
      const next = codes.slice();
      for (const [index, code] of changes) next[index] = code;
      const delta = Buffer.from(encodeDelta(codes, next)).toString('base64');
      codes = next;
      sequence++;
      if (!muted) for (const stream of streams) stream.write(`id: ${sequence}\nevent: delta\ndata: ${delta}\n\n${tick()}`);
    },
    mute: (on) => (muted = on),
    close: async () => {
      clearInterval(ticking);
      for (const stream of streams) stream.destroy();
      http.closeAllConnections();
      await new Promise((resolve) => http.close(resolve));
    },
  };
}
