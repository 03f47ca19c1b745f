// A real browser for tests: the system's Chromium, a fresh profile, nothing allowed off the origin, every complaint kept.
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { chromium, type Browser, type Page } from 'playwright-core';

const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
/** Screenshots go to the workspace's target folder. */
export const SHOTS = fileURLToPath(new URL('../../../target/ui-screenshots/', import.meta.url));

export function launch(): Promise<Browser> {
  const path = process.env.CHROMIUM ?? '/usr/bin/chromium';
  if (!existsSync(path)) throw new Error(`no Chromium at ${path}: install the distribution's package chromium, or set CHROMIUM`);
  mkdirSync(SHOTS, { recursive: true });
  return chromium.launch({ executablePath: path, args: FLAGS });
}

export interface Opened {
  page: Page;
  /** Console errors, page errors and requests that left the origin. */
  complaints: string[];
}

/** Statuses that a page may meet on purpose: probes for parts that a server may lack. */
const PROBES = /\/api\/(v2\/status|v1\/status\/tsdb|v1\/fleet\/|v1\/library|v1\/status_page$|v1\/alerts\/(report|timeline|explain)|v1\/clients\/(sites|incidents)|v1\/dashboards$)/;

export async function open(browser: Browser, origin: string, path: string, theme: 'dark' | 'light', size = { width: 1440, height: 900 }): Promise<Opened> {
  const context = await browser.newContext({ viewport: size, colorScheme: theme });
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on('console', (message) => {
    if (message.type() !== 'error') return;
    if (/Failed to load resource.*404/.test(message.text()) && PROBES.test(message.location().url)) return;
    complaints.push(`console: ${message.text()} (${message.location().url})`);
  });
  page.on('pageerror', (error) => complaints.push(`page: ${error.message}`));
  page.on('request', (request) => {
    const url = new URL(request.url());
    if (url.origin !== origin && !/^(data|blob|about):$/.test(url.protocol)) complaints.push(`left the origin: ${request.url()}`);
  });
  await page.goto(`${origin}${path}${path.includes('?') ? '&' : '?'}theme=${theme}`);
  await page.waitForSelector('h1');
  return { page, complaints };
}

/** Serious and critical findings of axe, in words. */
export async function axe(page: Page): Promise<string[]> {
  // Through the debugger: the pages' content policy forbids scripts from elsewhere.
  await page.evaluate(AXE);
  return page.evaluate(async () => {
    const { axe } = window as unknown as { axe: { run: (context: unknown, options: unknown) => Promise<{ violations: { id: string; impact: string; help: string; nodes: { target: string[]; failureSummary: string }[] }[] }> } };
    const found = await axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'] });
    return found.violations
      .filter((violation) => violation.impact === 'serious' || violation.impact === 'critical')
      .map((violation) => `${violation.id}: ${violation.help}\n${violation.nodes.slice(0, 3).map((node) => `  ${node.target.join(' ')} ${node.failureSummary.split('\n').slice(1, 3).join(' ')}`).join('\n')}`);
  });
}

/** How many times longer than its CPU time a thread runs here now: 1 on an idle machine, 5 where five want its core. Budgets in wall time are multiplied by it. */
export function crowding(): number {
  const cpu = process.cpuUsage();
  const wall = performance.now();
  let sum = 0;
  while (process.cpuUsage(cpu).user < 400_000) for (let i = 0; i < 1e5; i++) sum += Math.sqrt(i);
  const used = process.cpuUsage(cpu);
  return sum > 0 ? Math.max(1, ((performance.now() - wall) * 1000) / (used.user + used.system)) : 1;
}

/** The middle one of `values`. */
export const median = (values: number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
