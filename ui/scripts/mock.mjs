// Serves dist/ with the test server: node scripts/mock.mjs [servers] [port]
import { fileURLToPath } from 'node:url';
import { runnerImport } from 'vite';

const { module } = await runnerImport(fileURLToPath(new URL('../tests/mock/server.ts', import.meta.url)), { configFile: false, logLevel: 'error' });
const mock = await module.start(fileURLToPath(new URL('../dist', import.meta.url)), Number(process.argv[2] ?? 1_000_000), Number(process.argv[3] ?? 9099));
console.log(mock.url);
