// Builds dist/ from src/ with the packages of ui/: node build.mjs [--check]
//
// --check builds to memory and fails when dist/ is stale or the script is over its budget.

import { createRequire } from "node:module";
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const BUDGET = 5 * 1024;
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const require = createRequire(here("../../ui/package.json"));
const { build } = await import(createRequire(require.resolve("vite")).resolve("rolldown"));

const outputs = [
  ["src/script.ts", "dist/bellwether.js", "iife"],
  ["src/agent.ts", "dist/bellwether.mjs", "esm"],
  ["src/worker.ts", "dist/bellwether-worker.js", "iife"],
];
const check = process.argv.includes("--check");
let bad = false;
for (const [input, file, format] of outputs) {
  const { output } = await build({
    input: here(input),
    write: false,
    output: { format, minify: true },
    logLevel: "warn",
    ...(format === "iife" ? { treeshake: true } : {}),
  });
  const code = `/* Bellwether agent, Apache-2.0 */\n${output[0].code.trim()}\n`;
  const size = gzipSync(code, { level: 9 }).length;
  console.log(`${file}: ${code.length} bytes, ${size} gzip`);
  if (size > BUDGET) {
    console.error(`${file} is over its budget of ${BUDGET} bytes gzip`);
    bad = true;
  }
  if (!check) writeFileSync(here(file), code);
  else if (readFileSync(here(file), "utf8") !== code) {
    console.error(`${file} is stale: run node agents/browser/build.mjs`);
    bad = true;
  }
}
process.exit(bad ? 1 : 0);
