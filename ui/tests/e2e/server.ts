// The real binary for tests: started on a folder of its own, killed without warning, started again on the same port.
import { spawn, type ChildProcess } from 'node:child_process';
import { createServer, type Server } from 'node:http';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** The binary under test; tests that need it are skipped without one. */
export const BINARY = process.env.BELLWETHER_BIN;

export interface Running {
  url: string;
  /** `kill -9`; ends when the process is gone. */
  kill: () => Promise<void>;
}

/** Starts `bellwether server` and waits for the line that says where its page is. */
export async function serve(folder: string, args: string[], address = '127.0.0.1:0'): Promise<Running> {
  if (!BINARY) throw new Error('BELLWETHER_BIN names no binary');
  const child: ChildProcess = spawn(BINARY, ['server', `--storage.path=${join(folder, 'data')}`, `--web.listen-address=${address}`, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const said: string[] = [];
  if (child.stderr) createInterface(child.stderr).on('line', (line) => said.push(line));
  const gone = new Promise<void>((resolve) => child.on('exit', () => resolve()));
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL');
    await gone;
  };
  const url = await new Promise<string>((resolve, reject) => {
    if (child.stdout) {
      createInterface(child.stdout).on('line', (line) => {
        const found = /http:\/\/\S+/.exec(line);
        if (found) resolve(found[0].replace(/\/$/, ''));
      });
    }
    child.on('exit', (code) => reject(new Error(`the server ended with ${code}:\n${said.join('\n')}`)));
    child.on('error', reject);
  });
  return { url, kill };
}

/** A folder for one test file. */
export function scratch(files: Record<string, string>): { path: string; remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), 'bellwether-walk-'));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(path, name), text);
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Servers of a small machine room behind one address (`/metrics/<name>`), and a receiver of notifications (`/notify`). */
export interface Room {
  url: string;
  /** Names of servers that do not answer now. */
  dead: Set<string>;
  /** What was notified, newest last. */
  told: { status: string; alerts: { labels: Record<string, string>; status: string }[] }[];
  close: () => Promise<void>;
}
export async function room(): Promise<Room> {
  const dead = new Set<string>();
  const told: Room['told'] = [];
  const began = Date.now();
  const http: Server = createServer((request, response) => {
    const name = /^\/metrics\/(\S+)$/.exec(request.url ?? '')?.[1];
    if (request.method === 'POST') {
      let body = '';
      request.on('data', (chunk: Buffer) => (body += chunk.toString()));
      request.on('end', () => {
        told.push(JSON.parse(body) as Room['told'][number]);
        response.end();
      });
    } else if (name === undefined || dead.has(name)) response.writeHead(503).end();
    else response.writeHead(200, { 'Content-Type': 'text/plain; version=0.0.4' }).end(exposition(name, (Date.now() - began) / 1000));
  });
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  const address = http.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return {
    url: `127.0.0.1:${address.port}`,
    dead,
    told,
    close: () => {
      http.closeAllConnections();
      return new Promise((resolve) => http.close(() => resolve()));
    },
  };
}
/** What a node exporter would say of a server that has been up for `age` seconds. */
function exposition(name: string, age: number): string {
  const phase = [...name].reduce((sum, c) => sum + c.charCodeAt(0), 0);
  const load = 1 + 0.5 * Math.sin(age / 20 + phase);
  const lines = [
    '# TYPE node_uname_info gauge',
    `node_uname_info{nodename="${name}",sysname="Linux",release="6.1.0"} 1`,
    '# TYPE node_load1 gauge',
    `node_load1 ${load}`,
    `node_load5 ${load * 0.9}`,
    `node_load15 ${load * 0.8}`,
    'node_memory_MemTotal_bytes 6.7e10',
    `node_memory_MemAvailable_bytes ${4e10 - 1e9 * load}`,
    '# TYPE node_cpu_seconds_total counter',
    ...['idle', 'user', 'system'].map((mode, i) => `node_cpu_seconds_total{cpu="0",mode="${mode}"} ${age * ([0.7, 0.2, 0.1][i] ?? 0) + phase}`),
    '# TYPE node_network_receive_bytes_total counter',
    `node_network_receive_bytes_total{device="eth0"} ${age * 1e6 * load}`,
  ];
  return `${lines.join('\n')}\n`;
}
