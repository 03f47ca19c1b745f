// Scrape targets ordered for reading: pools with failures first, failing targets first in each.
import type { Target } from '../api/prom.ts';
import { labelsMatch } from './labels.ts';

export type TargetRow = Target & { key: string };
export interface Pool {
  name: string;
  rows: TargetRow[];
  up: number;
  down: number;
}

/** Targets of one health (`all` for any) whose labels, address or error hold every word. */
export function filterTargets(targets: readonly Target[], words: string, health: string): Target[] {
  return targets.filter((target) => (health === 'all' || target.health === health) && labelsMatch({ ...target.labels, url: target.scrapeUrl, error: target.lastError }, words));
}

const RANK = { down: 0, unknown: 1, up: 2 } as const;

/** Targets by scrape pool. */
export function pools(targets: readonly Target[]): Pool[] {
  const byName = new Map<string, Pool>();
  for (const target of targets) {
    let pool = byName.get(target.scrapePool);
    if (!pool) byName.set(target.scrapePool, (pool = { name: target.scrapePool, rows: [], up: 0, down: 0 }));
    pool.rows.push({ ...target, key: `${target.scrapePool} ${target.scrapeUrl} ${pool.rows.length}` });
    if (target.health === 'up') pool.up++;
    if (target.health === 'down') pool.down++;
  }
  for (const pool of byName.values()) {
    pool.rows.sort((a, b) => RANK[a.health] - RANK[b.health] || (a.labels.instance ?? '').localeCompare(b.labels.instance ?? '', 'en', { numeric: true }));
  }
  return [...byName.values()].sort((a, b) => Number(b.down > 0) - Number(a.down > 0) || a.name.localeCompare(b.name));
}
