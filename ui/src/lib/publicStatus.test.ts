import { expect, test } from 'vitest';
import type { PublicComponent } from '../api/statusPage.ts';
import { dayText, uptime, uptimeText, worstOf } from './publicStatus.ts';

test('a day shows its worst as the public page does', () => {
  expect(worstOf({ day: 1 })).toBe('unknown');
  expect(worstOf({ day: 1, ok_ms: 864e5, outage_ms: 30_000 })).toBe('operational');
  expect(worstOf({ day: 1, outage_ms: 30_000 })).toBe('outage');
  expect(worstOf({ day: 1, ok_ms: 864e5, degraded_ms: 60_000 })).toBe('degraded');
  expect(worstOf({ day: 1, maintenance_ms: 60_000 })).toBe('maintenance');
  expect(dayText({ day: 20_500, ok_ms: 1, outage_ms: 7_260_000 })).toBe('2026-02-16: outage 2 h 1 min');
});

test('uptime leaves maintenance and ignorance out, and is never rounded up', () => {
  const one = (days: PublicComponent['days']): PublicComponent => ({ id: 'a', name: 'A', group: '', description: '', state: 'operational', since_ms: 0, days });
  expect(uptime(one([{ day: 1 }]))).toBeUndefined();
  expect(uptime(one([{ day: 1, ok_ms: 90, maintenance_ms: 500 }, { day: 2, degraded_ms: 5, outage_ms: 5 }]))).toBe(0.95);
  expect(uptimeText(0.99999)).toBe('99.99% uptime');
});
