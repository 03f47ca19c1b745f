// Every page in both themes, against the real server (BELLWETHER_URL) or the test server: no console error, no request off the origin, no serious finding of axe.
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fileURLToPath } from 'node:url';
import { start, type Mock } from '../mock/server.ts';
import { axe, launch, open, SHOTS } from './browser.ts';

const real = process.env.BELLWETHER_URL?.replace(/\/$/, '');
let browser: Browser;
let mock: Mock | undefined;
let origin: string;
beforeAll(async () => {
  browser = await launch();
  if (!real) mock = await start(fileURLToPath(new URL('../../dist', import.meta.url)), 20_000);
  origin = real ?? mock?.url ?? '';
});
afterAll(async () => {
  await browser.close();
  await mock?.close();
});

const cpu = encodeURIComponent('sum by (mode) (rate(node_cpu_seconds_total[1m]))');
const pages: [name: string, path: string, ready: string][] = [
  ['fleet', '/', 'aside'],
  ['fleet-table', '/?view=table', 'table'],
  ['explore', `/explore?q=${cpu}`, '.chart canvas'],
  ['explore-table', `/explore?q=${cpu}&tab=table`, 'td'],
  ['explore-explain', `/explore?q=${cpu}&tab=explain`, 'tbody tr'],
  ['explore-empty', '/explore', '.ideas, .empty'],
  ['alerts', '/alerts', '.tile'],
  ['silences', '/silences?new=severity%3D%22critical%22', 'form'],
  ['rules', '/rules', 'section, .empty'],
  ['targets', '/targets', '.item'],
  ['system', '/system', '.body'],
  ['cardinality', '/cardinality', '.lists li b'],
  ['settings', '/settings', 'dl dt'],
  ['status', '/status', '.bars, .empty'],
  ['status-new', '/status?new=1', 'form, .empty'],
  ['tokens', '/tokens', 'ul.card, .empty'],
  ['dashboards', '/dashboards', 'li a.title'],
  ['dashboard-host', '/dashboards/host', '.gauge text'],
  ['dashboard-targets', '/dashboards/targets', 'section.panel svg'],
  ['dashboard-new', '/dashboards/new', '.empty'],
  ['alert-history', '/alerts/history', '.tile, .box'],
  ['alert-explain', `/alerts/explain?alert=${encodeURIComponent('{alertname="HostCpuBusy",severity="warning"}')}`, '.verdict, .box'],
  ['rule-editor', `/rules/edit?expr=${encodeURIComponent('node_load1 >= 0')}`, '.card:not(.yaml) > h2'],
  ['clients', '/clients', '.map svg, .empty'],
  ['clients-networks', '/clients?by=asn&value=AS3215', '.map .box, .empty'],
  ['clients-time', '/clients?tab=time&value=FR', '.chart canvas, .empty'],
  ['clients-setup', '/clients?tab=setup', 'pre'],
  ['clients-privacy', '/clients?tab=privacy', 'dl dt'],
  ['host', '/host/iad1-r02-k02-u05', '[aria-label=Events] li, [aria-label=Events] p'],
  ['missing', '/nothing/here', '.empty'],
];

describe.each(['dark', 'light'] as const)('%s', (theme) => {
  test.each(pages)('%s', async (name, path, ready) => {
    const { page, complaints } = await open(browser, origin, path, theme);
    await page.waitForSelector(ready, { timeout: 30_000 });
    await page.waitForTimeout(700);
    await page.screenshot({ path: `${SHOTS}${name}-${theme}.png` });
    expect(await axe(page)).toEqual([]);
    expect(complaints).toEqual([]);
    await page.context().close();
  });
});

describe.each([[390, 844], [2560, 1440]])('%d × %d', (width, height) => {
  test.each(pages.filter(([name]) => ['fleet', 'explore', 'alerts', 'targets', 'dashboards', 'dashboard-host', 'alert-history', 'status', 'tokens', 'rules', 'system', 'silences', 'rule-editor', 'host', 'clients', 'clients-privacy', 'cardinality', 'settings', 'explore-explain'].includes(name)))('%s has no sideways scroll', async (name, path, ready) => {
    const { page, complaints } = await open(browser, origin, path, 'dark', { width, height });
    await page.waitForSelector(ready, { timeout: 30_000 });
    await page.waitForTimeout(500);
    await page.screenshot({ path: `${SHOTS}${name}-${width}.png` });
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
    expect(complaints).toEqual([]);
    await page.context().close();
  });
});

test('the keyboard reaches another page, and the address holds its state', async () => {
  const { page } = await open(browser, origin, '/targets', 'dark');
  await page.waitForSelector('.item');
  await page.keyboard.press('Control+k');
  await page.waitForSelector('input:focus');
  await page.keyboard.type('explore');
  await page.waitForSelector('[role=option]:has-text("Explore")');
  await page.keyboard.press('Enter');
  await page.waitForURL(/\/explore/);
  await page.click('.cm-content, textarea');
  await page.keyboard.type('up');
  await page.keyboard.press('Control+Enter');
  await page.waitForURL(/q=up/);
  await page.waitForSelector('.chart canvas');
  await page.goBack();
  await page.goBack();
  await page.waitForURL(/\/targets/);
  await page.context().close();
});

test.skipIf(real)('clients: the verdict leads to its cohort, the table is enough for the keyboard, a dead collector does not look healthy', async () => {
  const { page, complaints } = await open(browser, origin, '/clients', 'dark');
  await page.waitForSelector('article.open h3');
  expect(await page.textContent('article.open h3')).toContain('AS3215');
  expect(await page.locator('path.s4').count()).toBe(1); // France
  await page.click('article.open h3 a');
  await page.waitForURL(/by=asn.*value=AS3215/);
  await page.waitForSelector('tr[aria-current]');
  expect(await page.textContent('tbody tr:first-child')).toContain('62.00%');
  await page.focus('tbody tr:nth-child(2) a');
  await page.keyboard.press('Enter');
  await page.waitForURL(/tab=time/);
  await page.waitForSelector('.chart canvas');
  await page.goBack();
  await page.selectOption('select', 'media');
  await page.waitForURL(/site=media/);
  await page.selectOption('select', 'quiet');
  await page.waitForSelector('.empty:has-text("Fewer than 20 clients")');
  expect(complaints).toEqual([]);
  // No answer: what is shown fades, and the reason is said.
  await page.goto(`${origin}/clients`);
  await page.waitForSelector('.tiles');
  await page.route('**/api/v1/clients/cohorts*', (route) => route.abort());
  await page.waitForSelector('.tiles.dim', { timeout: 30_000 });
  await page.waitForSelector('[role=alert]:has-text("Could not load the cohorts")');
  await page.context().close();
});

test.skipIf(real)('clients: a server without a collector says how to start one, and still tells what would be kept', async () => {
  const { page } = await open(browser, origin, '/system', 'dark');
  await page.route('**/api/v1/clients/{sites,incidents,cohorts}*', (route) => route.fulfill({ status: 404, contentType: 'application/json', body: JSON.stringify({ status: 'error', errorType: 'not_found', error: 'the collector is switched off (collector.enabled)' }) }));
  await page.goto(`${origin}/clients`);
  await page.waitForSelector('.empty:has-text("collector:")');
  await page.click('button:has-text("Privacy")');
  await page.waitForSelector('dt:has-text("referrer")');
  await page.context().close();
});

test('explore: exemplars stand in the graph and below it', async () => {
  const { page, complaints } = await open(browser, origin, `/explore?q=${cpu}`, 'dark');
  await page.waitForSelector('.chart canvas');
  await page.click('label:has-text("Exemplars") input');
  await page.waitForSelector('summary:has-text("exemplars"), p:has-text("No exemplars")');
  expect(complaints).toEqual([]);
  await page.context().close();
});

test.skipIf(real)('cardinality: a quarantine is explained and can be ended', async () => {
  const { page } = await open(browser, origin, '/system', 'dark');
  await page.click('a:has-text("Cardinality")');
  await page.waitForSelector('section.ill:has-text("user_id")');
  await page.click('section.ill button');
  await page.waitForSelector('text=may have new series again');
  await page.fill('input[type=search]', 'load');
  await page.waitForURL(/filter=load/);
  await page.context().close();
});

test.skipIf(real)('fleet: the difference of two instants is in the address, says what broke, and can be left', async () => {
  const { page, complaints } = await open(browser, origin, '/', 'dark');
  await page.waitForSelector('.scrubber input[type=range]', { timeout: 30_000 });
  await page.fill('.scrubber input[type=range]', '40');
  await page.click('.scrubber button:has-text("Compare")');
  await page.waitForURL(/since=\d+/);
  await page.waitForSelector('[aria-label="Difference of two instants"] b', { timeout: 30_000 });
  expect(Number((await page.textContent('[aria-label="Difference of two instants"] .big b'))?.replace(/\D/g, ''))).toBeGreaterThan(0);
  await page.waitForTimeout(600);
  await page.screenshot({ path: `${SHOTS}fleet-difference.png` });
  expect(await axe(page)).toEqual([]);
  await page.reload();
  await page.waitForSelector('[aria-label="Difference of two instants"] b', { timeout: 30_000 });
  await page.click('[aria-label="Leave the comparison"]');
  await page.waitForSelector('section[aria-label="Fleet health"]');
  expect(page.url()).not.toContain('since=');
  expect(complaints).toEqual([]);
  await page.context().close();
});

test.skipIf(real)('status page: an incident is opened, told more of, and resolved', async () => {
  const { page, complaints } = await open(browser, origin, '/status', 'dark');
  await page.click('button:has-text("New incident")');
  await page.fill('label:has-text("Title") input', 'Basket is empty');
  await page.click('fieldset label:has-text("Shop") input');
  await page.fill('textarea', 'We are looking into it.');
  await page.click('button:text-is("Publish")');
  const card = page.locator('article:has-text("Basket is empty")');
  await card.waitFor();
  await card.locator('select').selectOption('resolved');
  await card.locator('input').fill('It is full again.');
  await card.locator('button:has-text("Publish update")').click();
  await page.waitForSelector('article:has-text("Basket is empty"):has-text("It is full again."):not(:has(form))');
  await page.fill('input[type=url]', 'https://example.com/hook');
  await page.click('button:has-text("Add webhook")');
  await page.waitForSelector('.secret code');
  expect(complaints).toEqual([]);
  await page.context().close();
});

test.skipIf(real)('tokens: one is issued, shown once, and revoked; a page that is refused asks for one', async () => {
  const { page } = await open(browser, origin, '/tokens', 'dark');
  await page.fill('label:has-text("Name") input', 'Backup job');
  await page.click('button:has-text("Issue token")');
  await page.waitForSelector('.secret code:has-text("bw_")');
  await page.click('button:has-text("Done")');
  await page.click('li:has-text("Backup job") button:has-text("Revoke")');
  await page.click('button:has-text("Revoke for good")');
  await page.waitForSelector('li:has-text("Backup job")', { state: 'detached' });
  await page.route('**/api/v1/targets*', (route) => route.fulfill({ status: 401, contentType: 'application/json', body: JSON.stringify({ status: 'error', errorType: 'unauthorized', error: 'this needs a token with the scope read' }) }));
  await page.goto(`${origin}/targets`);
  await page.waitForSelector('dialog:has-text("scope read")');
  await page.screenshot({ path: `${SHOTS}sign-in.png` });
  expect(await axe(page)).toEqual([]);
  await page.context().close();
});
