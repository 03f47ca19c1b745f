// The map of a million servers against the test server: budgets, single failures, keyboard, resilience.
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { fileURLToPath } from 'node:url';
import { start, type Mock } from '../mock/server.ts';
import { crowding, launch, median, open, SHOTS } from './browser.ts';

// Without a GPU, on a shared machine: the budgets with this much slack, and times `crowding()`.
const SLACK = 3;
let browser: Browser;
let mock: Mock;
beforeAll(async () => {
  browser = await launch();
  mock = await start(fileURLToPath(new URL('../../dist', import.meta.url)), 1_000_000);
});
afterAll(async () => {
  await browser.close();
  await mock.close();
});

/** Marks that the page sets while it loads, in milliseconds. */
type Marks = Record<string, number>;
const marks = (page: Awaited<ReturnType<typeof open>>['page']): Promise<Marks> =>
  page.evaluate(() => Object.fromEntries(performance.getEntriesByType('mark').map((mark) => [mark.name, mark.startTime])));

test('a million servers: payload to first paint, screenshots in both themes', async () => {
  const times: number[] = [];
  const crowds = [crowding()];
  for (const theme of ['dark', 'light', 'dark'] as const) {
    const { page, complaints } = await open(browser, mock.url, '/', theme);
    await page.waitForFunction(() => performance.getEntriesByName('fleet-painted').length > 0, undefined, { timeout: 30_000 });
    const m = await marks(page);
    times.push((m['fleet-painted'] ?? 0) - (m['fleet-payload'] ?? 0));
    await page.waitForSelector('.scrubber', { timeout: 30_000 });
    await page.waitForTimeout(800);
    await page.screenshot({ path: `${SHOTS}million-${theme}.png` });
    expect(complaints).toEqual([]);
    await page.context().close();
  }
  crowds.push(crowding());
  console.log(`payload to first paint, ms: ${times.map((t) => Math.round(t)).join(' ')}; crowding ${crowds.map((c) => c.toFixed(1)).join(' ')}`);
  expect(median(times)).toBeLessThan(300 * SLACK * Math.max(...crowds));
});

test('a change reaches the picture, a stopped server is called stale and comes back', async () => {
  const { page } = await open(browser, mock.url, '/', 'dark');
  await page.waitForFunction(() => performance.getEntriesByName('fleet-painted').length > 0, undefined, { timeout: 30_000 });
  await page.waitForSelector('ol li');
  const before = await page.textContent('aside ul');
  const dead = Array.from({ length: 40 }, (_, i): [number, number] => [(mock.fleet.racks[9]?.first ?? 0) + i, 2]);
  mock.set(dead);
  await page.waitForFunction((old) => document.querySelector('aside ul')?.textContent !== old, before, { timeout: 5000 });
  mock.mute(true);
  await page.waitForSelector('button.stale', { timeout: 15_000 });
  await page.screenshot({ path: `${SHOTS}fleet-stale.png` });
  mock.mute(false);
  await page.waitForSelector('button.stale', { state: 'detached', timeout: 15_000 });
  mock.set(dead.map(([i]) => [i, 0]));
  await page.context().close();
});

test('keyboard: next failure domain, its outline in the address, up again', async () => {
  const { page } = await open(browser, mock.url, '/', 'dark');
  await page.waitForSelector('ol li');
  await page.focus('canvas[role=application]');
  await page.keyboard.press('f');
  await page.waitForURL(/domain=/);
  await page.waitForTimeout(1500);
  await page.screenshot({ path: `${SHOTS}fleet-domain.png` });
  await page.keyboard.press('Escape');
  await page.waitForURL((url) => !url.search.includes('domain='));
  await page.keyboard.press('ArrowRight');
  await page.waitForSelector('.tip strong');
  await page.keyboard.press('/');
  await page.keyboard.type('iad1-r28-k15');
  await page.waitForSelector('[role=option]');
  await page.keyboard.press('Enter');
  await page.waitForURL(/\/host\/iad1-r28-k15/);
  await page.context().close();
});

test('panning does not block the page', async () => {
  const crowd = crowding();
  const { page } = await open(browser, mock.url, '/', 'dark');
  await page.waitForFunction(() => performance.getEntriesByName('fleet-painted').length > 0, undefined, { timeout: 30_000 });
  await page.waitForTimeout(1000);
  await page.evaluate(() => {
    const w = window as unknown as { slow: number[] };
    w.slow = [];
    new PerformanceObserver((list) => w.slow.push(...list.getEntries().map((entry) => entry.duration))).observe({ type: 'longtask' });
  });
  await page.mouse.move(500, 400);
  await page.mouse.down();
  for (let i = 0; i < 60; i++) await page.mouse.move(500 + i * 4, 400 + i * 2);
  await page.mouse.up();
  for (let i = 0; i < 12; i++) await page.mouse.wheel(0, -120);
  await page.waitForTimeout(500);
  const slow = await page.evaluate(() => (window as unknown as { slow: number[] }).slow);
  console.log(`tasks over 50 ms while panning and zooming: ${slow.length}, longest ${Math.round(Math.max(0, ...slow))} ms`);
  expect(Math.max(0, ...slow)).toBeLessThan(100 * SLACK * Math.max(crowd, crowding()));
  await page.screenshot({ path: `${SHOTS}fleet-zoomed.png` });
  await page.context().close();
});
