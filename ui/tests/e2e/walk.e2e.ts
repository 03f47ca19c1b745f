// What somebody on call does, from the fault to its history, in a browser against the real server; and a server that dies while it is looked at.
import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { launch, open, SHOTS } from './browser.ts';
import { BINARY, room, scratch, serve, type Room, type Running } from './server.ts';

const RACKS = ['a', 'b', 'c'];
const SERVERS = 8;
const names = (rack: string): string[] => Array.from({ length: SERVERS }, (_, i) => `web-${rack}${i + 1}`);
const PATIENCE = { timeout: 45_000 };

const config = (at: string): string => `
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
scrape_configs:
  - job_name: node
    relabel_configs:
      - {source_labels: [__address__], regex: '(.*):.*', target_label: __metrics_path__, replacement: '/metrics/$1'}
      - {source_labels: [__address__], target_label: instance}
      - {target_label: __address__, replacement: '${at}'}
    static_configs:
${RACKS.map((rack) => `      - {targets: [${names(rack).map((name) => `'${name}:9100'`).join(', ')}], labels: {region: eu, datacenter: fra1, row: 'row 1', rack: 'rack ${rack}'}}`).join('\n')}
`;
const routes = (at: string): string => `
route: {receiver: hook, group_by: [alertname], group_wait: 1s, group_interval: 1s, repeat_interval: 1h}
receivers:
  - name: hook
    webhook_configs: [{url: 'http://${at}/notify'}]
`;

describe.skipIf(!BINARY)('on call (BELLWETHER_BIN names the binary)', () => {
  let browser: Browser;
  let machines: Room;
  let server: Running;
  let folder: ReturnType<typeof scratch>;
  let args: string[];
  let page: Page;
  let complaints: string[];
  beforeAll(async () => {
    machines = await room();
    folder = scratch({ 'bellwether.yml': config(machines.url), 'routes.yml': routes(machines.url) });
    args = [`--config.file=${folder.path}/bellwether.yml`, `--alerts.config-file=${folder.path}/routes.yml`, '--sources.host.enabled=false'];
    server = await serve(folder.path, args);
    browser = await launch();
    ({ page, complaints } = await open(browser, server.url, '/', 'dark'));
  });
  afterAll(async () => {
    await browser.close();
    await server.kill();
    await machines.close();
    folder.remove();
  });
  // What was on the screen when something did not happen.
  afterEach(async ({ task }) => {
    if (task.result?.state === 'fail') await shot(`failed-${task.name.slice(0, 10)}`);
  });
  const shot = (name: string): Promise<unknown> => page.screenshot({ path: `${SHOTS}walk-${name}.png` });
  const told = (status: string): number => machines.told.filter((one) => one.alerts.some((alert) => alert.labels.alertname === 'RackDown' && alert.status === status)).length;

  test('find fault → server → explore → alert → preview → save → fires → silence → resolve → history', { timeout: 180_000 }, async () => {
    // The fault: a rack goes dark, and the map names it.
    await page.waitForSelector('aside:has-text("24")', PATIENCE);
    expect(await page.locator('ol li').count()).toBe(0);
    // Long enough alive to leave a line on a chart of an hour.
    const alive = async (): Promise<number> => {
      const answer = await fetch(`${server.url}/api/v1/query?query=${encodeURIComponent('min(count_over_time(node_load1{rack="rack b"}[1m]))')}`);
      const { data } = (await answer.json()) as { data: { result: { value: [number, string] }[] } };
      return Number(data.result[0]?.value[1] ?? 0);
    };
    await expect.poll(alive, { timeout: 60_000 }).toBeGreaterThanOrEqual(22);
    for (const name of names('b')) machines.dead.add(name);
    await page.waitForSelector('ol li:has-text("rack b")', PATIENCE);
    await page.waitForSelector('ol li .amount:text-is("8")', PATIENCE);
    await shot('1-fault');
    await page.click('ol li button');
    await page.waitForURL(/domain=/);
    // Its servers, one of them.
    await page.focus('canvas[role=application]');
    await page.keyboard.press('/');
    await page.keyboard.type('web-b3');
    await page.waitForSelector('[role=option]:has-text("web-b3")', PATIENCE);
    await page.keyboard.press('Enter');
    await page.waitForURL(/\/host\/web-b3/);
    await page.waitForSelector('.now b:has-text("Critical")', PATIENCE);
    expect(await page.locator('[aria-label="Neighbours in the rack"] a').count()).toBe(SERVERS);
    await page.waitForSelector('.chart canvas', PATIENCE);
    await shot('2-server');
    // Explore from one of its charts, then another question.
    await page.click('[aria-label="Explore Load"]');
    await page.waitForURL(/\/explore/);
    await page.waitForSelector('.chart canvas', PATIENCE);
    await page.click('.cm-content');
    await page.keyboard.press('Control+a');
    await page.keyboard.insertText('up{rack="rack b"} == 0');
    await page.keyboard.press('Control+Enter');
    await page.waitForURL(/q=up/);
    await page.waitForSelector('text=8 series', PATIENCE);
    await shot('3-explore');
    // An alert of it, looked at before it is kept.
    await page.click('a:has-text("Make alert")');
    await page.waitForURL(/\/rules\/edit/);
    await page.fill('label:has-text("Name") input >> nth=0', 'RackDown');
    await page.fill('label:has-text("For") input', '0s');
    await page.selectOption('label:has-text("Severity") select', 'critical');
    await page.fill('label:has-text("Summary") input', '{{ $labels.instance }} does not answer');
    await page.waitForSelector('p:has-text("8 results now"):has-text("fire at once")', PATIENCE);
    await shot('4-preview');
    await page.fill('label:has-text("Your name") input', 'nora');
    await page.click('button:has-text("Keep and evaluate")');
    await page.waitForURL(/\/rules\?/);
    await page.waitForSelector('text=RackDown', PATIENCE);
    await shot('5-kept');
    // It fires, and somebody is told.
    await page.click('nav a[href^="/alerts"]');
    await page.waitForSelector('.item:has-text("web-b3:9100 does not answer")', PATIENCE);
    await expect.poll(() => told('firing'), { timeout: 30_000 }).toBeGreaterThan(0);
    await shot('6-fires');
    // Silence the whole group; nobody is told any more, and it still stands on the page.
    await page.click('.group:has-text("RackDown") button:has-text("Silence")');
    await page.waitForURL(/\/silences/);
    await page.waitForSelector('p:has-text("8 of")', PATIENCE);
    await page.fill('label:has-text("Your name") input', 'nora');
    await page.fill('label:has-text("Reason") input', 'the power feed is being mended');
    await shot('7-silence');
    await page.click('form button[type=submit]');
    await page.waitForSelector('li:has-text("the power feed is being mended"):has-text("8 quiet")', PATIENCE);
    await page.goto(`${server.url}/alerts?silenced=1&theme=dark`);
    await page.waitForSelector('.item:has-text("web-b3"):has-text("silenced")', PATIENCE);
    await shot('8-silenced');
    // On the map the rack is quiet now, not gone.
    await page.goto(`${server.url}/?theme=dark`);
    await page.waitForSelector('aside:has-text("ilenced")', PATIENCE);
    await shot('9-map');
    // Mended.
    machines.dead.clear();
    await page.goto(`${server.url}/alerts?silenced=1&theme=dark`);
    await page.waitForSelector('.item:has-text("web-b3")', { state: 'detached', timeout: 30_000 });
    await page.waitForFunction(() => !document.body.textContent?.includes('RackDown'), undefined, PATIENCE);
    await page.goto(`${server.url}/alerts/history?theme=dark`);
    await page.waitForSelector('li:has-text("RackDown"):has-text("for ")', PATIENCE);
    expect(await page.locator('li:has-text("RackDown"):has-text("told")').count()).toBe(SERVERS);
    await shot('10-history');
    expect(complaints).toEqual([]);
  });

  test('the server is killed while the map is open: stale, then it recovers, and nothing that was kept is lost', { timeout: 240_000 }, async () => {
    await page.goto(`${server.url}/?theme=dark`);
    await page.waitForSelector('[role=status]:has-text("Live")', PATIENCE);
    const address = new URL(server.url).host;
    await server.kill();
    // Three rounds without news; killed before the first tick, the page still counts with rounds of 15 s.
    await page.waitForSelector('button.stale', { timeout: 75_000 });
    await shot('11-stale');
    for (const name of names('c')) machines.dead.add(name);
    server = await serve(folder.path, args, address);
    await page.waitForSelector('button.stale', { state: 'detached', timeout: 60_000 });
    await page.waitForSelector('ol li:has-text("rack c")', PATIENCE);
    await shot('12-recovered');
    await page.goto(`${server.url}/rules?q=RackDown&theme=dark`);
    await page.waitForSelector('text=RackDown', PATIENCE);
    await page.goto(`${server.url}/silences?theme=dark`);
    await page.waitForSelector('li:has-text("the power feed is being mended")', PATIENCE);
    await page.goto(`${server.url}/alerts/history?theme=dark`);
    await page.waitForSelector('li:has-text("RackDown")', PATIENCE);
  });
});
