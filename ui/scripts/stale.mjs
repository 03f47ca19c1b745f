// Builds into a temporary folder and compares with the committed dist/: exit 1 when they differ.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';

const root = fileURLToPath(new URL('..', import.meta.url));
const fresh = mkdtempSync(join(tmpdir(), 'bellwether-ui-'));
const list = (folder) => readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(folder.length + 1)).sort();
try {
  await build({ root, logLevel: 'error', build: { outDir: fresh, emptyOutDir: true } });
  const dist = join(root, 'dist');
  const names = new Set([...list(fresh), ...list(dist)]);
  const bad = [...names].filter((name) => {
    try {
      return !readFileSync(join(fresh, name)).equals(readFileSync(join(dist, name)));
    } catch {
      return true; // in one of the two only
    }
  });
  for (const name of bad) console.error(`stale: dist/${name}`);
  if (bad.length) {
    console.error('ui/dist is not what ui/src builds: run "npm run build" in ui/ and commit dist/');
    process.exitCode = 1;
  } else console.log(`dist/ is up to date (${names.size} files)`);
} finally {
  rmSync(fresh, { recursive: true, force: true });
}
