import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

const server = process.env.BELLWETHER_URL ?? 'http://127.0.0.1:9090';

export default defineConfig({
  plugins: [svelte()],
  build: {
    outDir: process.env.BELLWETHER_UI_OUT ?? 'dist',
    emptyOutDir: true,
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    chunkSizeWarningLimit: 700,
  },
  worker: { format: 'es' },
  server: { proxy: { '/api': server, '/-': server } },
  test: { testTimeout: 30_000, include: ['src/**/*.test.ts', 'tests/*.test.ts'], environment: 'node' },
});
