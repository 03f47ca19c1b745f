import { defineConfig } from 'vitest/config';

// Browser tests, one after the other: they measure times.
export default defineConfig({ test: { include: ['tests/e2e/*.e2e.ts'], environment: 'node', fileParallelism: false, testTimeout: 90_000, hookTimeout: 60_000 } });
