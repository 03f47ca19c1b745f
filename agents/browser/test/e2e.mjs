// Real Chromium against the real collector: node agents/browser/test/e2e.mjs target/debug/bellwether
//
// A site is reached, fails, and goes away, with no other server running: what Chromium then tells (Network Error Logging) and
// what the agent tells must become series and an alert at a webhook. CHROMIUM names the browser.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const PATIENCE = 60_000;
const here = (file) => fileURLToPath(new URL(file, import.meta.url));
const { chromium } = createRequire(here("../../../ui/package.json"))("playwright-core");
const [binary] = process.argv.slice(2);
assert(binary, "usage: node e2e.mjs path/to/bellwether");

const folder = mkdtempSync(path.join(tmpdir(), "bellwether-agent-"));
const file = (name) => path.join(folder, name);
const undo = [];
const say = (text) => console.log(`  ${text}`);

/** Asks again until `question` has an answer that is truthy. */
async function until(what, question, patience = PATIENCE) {
  const end = Date.now() + patience;
  for (;;) {
    const answer = await question();
    if (answer) return answer;
    assert(Date.now() < end, `${what}: not within ${patience / 1000} s`);
    await new Promise((go) => setTimeout(go, 100));
  }
}

function listen(server, port = 0, host = "127.0.0.1") {
  return new Promise((done, fail) => {
    server.once("error", fail);
    server.listen(port, host, () => done(server.address().port));
  });
}

/** A port that nothing listens on. */
async function deadPort() {
  const server = http.createServer();
  const port = await listen(server);
  await new Promise((done) => server.close(done));
  return port;
}

function certificate() {
  const names = "subjectAltName=DNS:app.test,DNS:*.app.test,DNS:old.test,DNS:collector.test";
  execFileSync("openssl", [
    "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
    "-keyout", file("key.pem"), "-out", file("cert.pem"), "-subj", "/CN=app.test", "-addext", names,
  ], { stdio: "pipe" });
  const spki = execFileSync("openssl", ["x509", "-in", file("cert.pem"), "-pubkey", "-noout"]);
  const der = execFileSync("openssl", ["pkey", "-pubin", "-outform", "der"], { input: spki });
  return execFileSync("openssl", ["dgst", "-sha256", "-binary"], { input: der }).toString("base64");
}

/** Starts a collector; `collector` is its part of the configuration. */
async function startCollector(name, collector, webhook) {
  writeFileSync(file(`${name}-alerts.yml`), JSON.stringify({
    route: { receiver: "hook", group_wait: "0s", group_interval: "1s", group_by: ["alertname"] },
    receivers: [{ name: "hook", webhook_configs: [{ url: webhook, send_resolved: false }] }],
  }));
  writeFileSync(file(`${name}.yml`), `global: ${JSON.stringify({ evaluation_interval: "1s" })}
alerts: ${JSON.stringify({ config_file: file(`${name}-alerts.yml`) })}
collector: ${JSON.stringify(collector)}
`);
  const child = spawn(binary, [
    "collector", `--config.file=${file(`${name}.yml`)}`, `--storage.path=${file(name)}`, "--web.listen-address=127.0.0.1:0",
  ], { stdio: ["ignore", "pipe", "pipe"] });
  undo.push(() => child.kill("SIGKILL"));
  let out = "", log = "";
  child.stdout.on("data", (chunk) => (out += chunk));
  child.stderr.on("data", (chunk) => (log += chunk));
  const ended = new Promise((done) => child.on("exit", done));
  const page = await until(`${name} starts`, () => {
    assert(child.exitCode === null, `${name} ended: ${out}${log}`);
    return out.match(/page +(http:\S+?)\/?\n/)?.[1];
  });
  const uploads = out.match(/reports of clients at (\S+)/)[1];
  const ask = async (where) => (await fetch(page + where)).json();
  return {
    port: Number(uploads.split(":").pop()),
    log: () => log,
    end: async () => { child.kill("SIGTERM"); await ended; },
    incidents: async () => (await ask("/api/v1/clients/incidents")).data,
    query: async (expression) => {
      const answer = await ask(`/api/v1/query?query=${encodeURIComponent(expression)}`);
      return answer.data.result.map(({ metric, value }) => ({ ...metric, v: Number(value[1]) }));
    },
    metric: async (start) => {
      const text = await (await fetch(`${page}/metrics`)).text();
      const lines = text.split("\n").filter((line) => line.startsWith(start));
      return lines.reduce((sum, line) => sum + Number(line.split(" ").pop()), 0);
    },
  };
}

async function browser(args = []) {
  const context = await chromium.launchPersistentContext(mkdtempSync(path.join(folder, "profile-")), {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    chromiumSandbox: false,
    env: { ...process.env, HOME: folder },
    args: ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update", "--disable-sync", ...args],
  });
  undo.push(() => context.close());
  return context;
}

const TUNED = { interval: "1s", min_evidence: 3 };

async function networkErrorLogging() {
  const spki = certificate();
  const tls = { key: readFileSync(file("key.pem")), cert: readFileSync(file("cert.pem")) };
  const alerts = [];
  const hook = http.createServer((request, response) => {
    let body = "";
    request.on("data", (chunk) => (body += chunk));
    request.on("end", () => { alerts.push(...JSON.parse(body).alerts); response.end(); });
  });
  const webhook = `http://127.0.0.1:${await listen(hook)}/`;
  undo.push(() => hook.close());
  const collector = await startCollector("nel", {
    listen_address: "127.0.0.2:0",
    tls: { cert_file: file("cert.pem"), key_file: file("key.pem") },
    min_clients: 1,
    keep_reports: "1h",
    detection: TUNED,
    sites: [
      { name: "app", origins: ["https://app.test:*", "https://*.app.test:*"], success_fraction: 1 },
      { name: "old", origins: ["https://old.test:*"], retired: true, success_fraction: 1 },
    ],
  }, webhook);

  const dead = await deadPort();
  const policy = (site, seconds = 86400) => ({
    "Report-To": JSON.stringify({
      group: "b", max_age: seconds, include_subdomains: true,
      // The first collector is down: reports must come to the second.
      endpoints: [
        { url: `https://collector.test:${dead}/r/${site}`, priority: 1 },
        { url: `https://collector.test:${collector.port}/r/${site}`, priority: 2 },
      ],
    }),
    NEL: JSON.stringify(seconds
      ? { report_to: "b", max_age: seconds, include_subdomains: true, success_fraction: 1, failure_fraction: 1 }
      : { report_to: "b", max_age: 0 }),
  });
  let seconds = 86400;
  const sockets = new Set();
  const start = async (port) => {
    const app = https.createServer(tls, (request, response) => {
      const site = request.headers.host.startsWith("old.") ? "old" : "app";
      const status = request.url.startsWith("/500") ? 500 : 200;
      // A retired site's policy is learned once: every header would name the removed collector anew.
      const headers = site === "old" && request.url !== "/" ? {} : policy(site, seconds);
      response.writeHead(status, { ...headers, "Content-Type": "text/html", "Cache-Control": "no-store" });
      response.end('<link rel=icon href="data:,">');
    });
    app.on("connection", (socket) => { sockets.add(socket); socket.on("close", () => sockets.delete(socket)); });
    return [app, await listen(app, port)];
  };
  let [app, port] = await start(0);
  const stop = () => new Promise((done) => { app.close(done); for (const socket of sockets) socket.destroy(); });
  undo.push(stop);

  const context = await browser([
    "--short-reporting-delay", `--ignore-certificate-errors-spki-list=${spki}`,
    "--host-resolver-rules=MAP nx.app.test ~NOTFOUND, MAP app.test 127.0.0.1, MAP old.test 127.0.0.1, MAP collector.test 127.0.0.2",
  ]);
  const page = await context.newPage();
  const request = (url) => page.evaluate((url) => fetch(url, { cache: "no-store" }).then((r) => r.status, () => 0), url);
  const counted = (type) => async () =>
    (await collector.query(`bellwether_client_reports_total{site="app",type="${type}"}`)).some((one) => one.v > 0);

  await page.goto(`https://app.test:${port}/planted-path?planted-query=1`);
  const begun = Date.now();
  assert.equal(await request("/500?planted-query=2"), 500);
  await until("reports fail over", async () => (await collector.metric("bellwether_collector_reports_total")) >= 2);
  say(`reports came to the second collector ${Date.now() - begun} ms after the request`);
  await until("success is counted", counted("ok"));
  await until("status 500 is counted", counted("http.error.5xx"));
  assert.equal(await request(`https://nx.app.test:${port}/`), 0);
  await until("a name that is not resolved is counted", counted("dns.name_not_resolved"));
  await stop();
  assert.equal(await request("/gone"), 0);
  await until("a refused connection is counted", counted("tcp.refused"));
  const ratio = await until("there is a rate", async () =>
    (await collector.query('bellwether_client_error_ratio{site="app",cohort="global"}')).find((one) => one.v > 0));
  say(`error ratio of everybody: ${ratio.v.toFixed(2)}`);
  const alert = await until("an alert at the webhook", () => alerts.find((one) => one.labels.alertname === "ClientsCannotReachSite"));
  assert.equal(alert.labels.site, "app");
  say(`alert at the webhook while the site is down: ${alert.annotations.summary}`);

  // A retired site: its first report is answered 410 and none follows.
  [app, port] = await start(port);
  await page.goto(`https://old.test:${port}/`);
  await until("410 is answered", async () => (await collector.metric('bellwether_collector_uploads_total{code="410"}')) >= 1);
  const gone = await collector.metric('bellwether_collector_uploads_total{code="410"}');
  assert.equal(await request("/500"), 500);
  // max_age 0: the app's policy is taken back; old.test's later report would have come by then, too.
  await page.goto(`https://app.test:${port}/`);
  seconds = 0;
  assert.equal(await request("/"), 200);
  const before = await until("uploads are quiet", async () => {
    const one = await collector.metric("bellwether_collector_reports_");
    await new Promise((go) => setTimeout(go, 1500));
    return one === (await collector.metric("bellwether_collector_reports_")) && one;
  });
  for (let n = 0; n < 3; n++) assert.equal(await request("/500"), 500);
  await new Promise((go) => setTimeout(go, 2000));
  assert.equal(await collector.metric("bellwether_collector_reports_"), before, "reports after max_age 0");
  assert.equal(await collector.metric('bellwether_collector_uploads_total{code="410"}'), gone, "reports after 410");
  say("410 and max_age 0 stop the flow");

  await context.close();
  await collector.end();
  const found = execFileSync("sh", ["-c", `grep -rla planted '${file("nel")}' || true`]).toString();
  assert.equal(found, "", "a path or query lies on disk");
  assert(!collector.log().includes("planted"), "a path or query is in the log");
  say("no path and no query in the data folder and the log");
}

async function agent() {
  const site = http.createServer((request, response) => {
    if (request.url === "/bellwether.js") {
      response.setHeader("Content-Type", "text/javascript");
      return response.end(readFileSync(here("../dist/bellwether.js")));
    }
    if (request.url === "/cut") {
      response.writeHead(200, { "Content-Length": "100000" });
      response.write("x".repeat(1000));
      return setTimeout(() => request.socket.destroy(), 100);
    }
    if (request.url === "/slow") return setTimeout(() => response.end("late"), 3000);
    if (request.url.startsWith("/reset")) return request.socket.destroy();
    if (request.url.startsWith("/503")) { response.statusCode = 503; return response.end(); }
    response.setHeader("Content-Type", "text/html");
    response.end(`<link rel=icon href="data:,"><script src="/bellwether.js"></script>`);
  });
  const origin = `http://127.0.0.1:${await listen(site)}`;
  undo.push(() => { site.close(); site.closeAllConnections(); });
  const collector = await startCollector("agent", {
    listen_address: "127.0.0.1:0", min_clients: 1, detection: TUNED,
    sites: [{ name: "page", origins: [origin], success_fraction: 1 }],
  }, `http://127.0.0.1:${await deadPort()}/`);
  const collectors = [await deadPort(), collector.port].map((port) => `http://127.0.0.1:${port}/r/page`);
  const context = await browser();
  const page = await context.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  const uploads = [];
  context.on("request", (one) => { if (one.url().includes("/r/page")) uploads.push(one); });
  await page.goto(origin);

  // No consent: nothing is sent, stored or wrapped.
  await page.evaluate((collectors) => Bellwether.configure({ max_age: 3600, collectors, success_fraction: 1 }), collectors);
  await page.evaluate(() => fetch("/reset-1").catch(() => 0));
  await page.evaluate(() => Bellwether.flush());
  assert.equal(uploads.length, 0, "requests without consent");
  assert.equal(await page.evaluate(() => localStorage.length), 0, "storage without consent");
  assert(await page.evaluate(() => /native code/.test(String(window.fetch))), "fetch is wrapped without consent");
  say("consent off: no request, nothing stored, nothing wrapped");

  await page.evaluate(() => Bellwether.consent(true));
  await page.evaluate(async () => {
    const calm = (work) => work.catch(() => 0);
    await fetch("/");
    await fetch("/503");
    await calm(fetch("/reset-2"));
    await calm(fetch("/slow", { signal: AbortSignal.timeout(100) }));
    const stop = new AbortController();
    const slow = calm(fetch("/slow", { signal: stop.signal }));
    stop.abort();
    await slow;
    await calm(fetch("/cut").then((answer) => answer.text()));
    await new Promise((done) => {
      const request = new XMLHttpRequest();
      request.onerror = done;
      request.open("GET", "/reset-3");
      request.send();
    });
    await new Promise((done) => {
      const image = new Image();
      image.onerror = done;
      image.src = "/reset-4";
      document.body.append(image);
    });
  });
  await page.evaluate(() => Bellwether.flush());
  const has = (type) => async () =>
    (await collector.query(`bellwether_client_reports_total{source="agent",type="${type}"}`)).some((one) => one.v > 0);
  for (const type of ["ok", "http.error.5xx", "agent.unreachable", "agent.timeout", "abandoned", "agent.truncated", "agent.resource"]) {
    await until(`${type} is counted`, has(type));
  }
  say("the first collector is down, every class came to the second");
  const body = JSON.parse(uploads.at(-1).postData());
  const known = ["type", "age", "url", "body", "status_code", "protocol", "count", "sampling_fraction"];
  const names = new Set(body.flatMap((one) => [...Object.keys(one), ...Object.keys(one.body)]));
  assert.deepEqual([...names].filter((name) => !known.includes(name)), [], "fields that describe() does not name");
  assert(body.every((one) => one.url === `${origin}/`), "a URL is more than its origin");
  assert(!uploads.some((one) => one.headers().referer || one.headers().cookie), "a referrer or cookie is sent");

  // Off, and nothing more; on again.
  await page.evaluate(() => Bellwether.consent(false));
  const sent = uploads.length;
  await page.evaluate(() => fetch("/503"));
  await page.evaluate(() => Bellwether.flush());
  assert.equal(uploads.length, sent, "requests after consent was taken back");

  // Offline: kept, and delivered when the network is back, even on the next page.
  await page.evaluate((collectors) => {
    Bellwether.consent(true);
    Bellwether.configure({ max_age: 3600, collectors, success_fraction: 1 });
  }, collectors);
  const before = (await collector.query('sum(bellwether_client_reports_total{source="agent",type="agent.local"})'))[0]?.v ?? 0;
  await context.setOffline(true);
  await page.evaluate(() => fetch("/offline").catch(() => 0));
  await page.evaluate(() => Bellwether.flush());
  assert(await page.evaluate(() => localStorage["bellwether.queue"].includes("agent.local")), "it is not queued");
  await context.setOffline(false);
  await until("the queue is delivered", async () =>
    ((await collector.query('sum(bellwether_client_reports_total{source="agent",type="agent.local"})'))[0]?.v ?? 0) > before);
  say("offline: kept, then delivered");

  await page.evaluate(() => Bellwether.configure({ max_age: 0 }));
  assert.equal(await page.evaluate(() => localStorage.getItem("bellwether.queue") ?? localStorage.getItem("bellwether.policy")), null);
  assert.deepEqual(errors, [], "errors in the page");
  await context.close();
  await collector.end();
}

let failed;
try {
  console.log("network error logging");
  await networkErrorLogging();
  console.log("agent");
  await agent();
} catch (error) {
  failed = error;
}
for (const step of undo.reverse()) {
  try {
    await step();
  } catch {
    // It has ended before.
  }
}
rmSync(folder, { recursive: true, force: true });
if (failed) {
  console.error(failed);
  process.exit(1);
}
process.exit(0);
