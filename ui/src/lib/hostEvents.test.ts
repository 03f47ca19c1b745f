import { expect, test } from 'vitest';
import type { Episode } from '../api/history.ts';
import { happened, isAbout } from './hostEvents.ts';

test('an alert is about the server that its labels name', () => {
  expect(isAbout({ instance: 'web-1:9100' }, 'web-1', 'web-1:9100')).toBe(true);
  expect(isAbout({ instance: 'web-1:8080' }, 'web-1', 'web-1:9100')).toBe(true);
  expect(isAbout({ instance: 'web-10:9100' }, 'web-1', 'web-1:9100')).toBe(false);
  expect(isAbout({ nodename: 'web-1' }, 'web-1', 'web-1:9100')).toBe(true);
  expect(isAbout({ job: 'node' }, 'web-1', 'web-1:9100')).toBe(false);
});

test('alerts and events stand in one list, newest first, without heartbeats', () => {
  const episode = (alertname: string, startsAt: string, instance: string): Episode => ({ fingerprint: alertname, alertname, labels: { instance, severity: 'critical' }, startsAt, endsAt: null, notifiedAt: null, notifications: 2 });
  const list = happened(
    [episode('TargetDown', '2026-01-01T10:00:00Z', 'web-1:9100'), episode('Watchdog', '2026-01-01T11:00:00Z', 'web-1:9100'), episode('TargetDown', '2026-01-01T10:30:00Z', 'web-2:9100')],
    [{ seq: 1, time: Date.parse('2026-01-01T10:15:00Z'), kind: 'oom_kill', severity: 'critical', message: 'postgres was killed', labels: {}, count: 3 }],
    'web-1',
    'web-1:9100',
  );
  expect(list.map((one) => [one.what, one.more])).toEqual([['postgres was killed', '3 ×'], ['TargetDown', 'fires, told 2 ×']]);
});
