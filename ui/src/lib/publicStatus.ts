// Words and figures of the public status page. Pure.
import type { Day, Impact, IncidentStatus, PublicComponent, PublicState } from '../api/statusPage.ts';

export const STATE_WORDS: Record<PublicState, string> = { operational: 'Operational', unknown: 'Not known', maintenance: 'Under maintenance', degraded: 'Degraded', outage: 'Outage' };
export const STATUS_WORDS: Record<IncidentStatus, string> = { investigating: 'Investigating', identified: 'Identified', monitoring: 'Monitoring', resolved: 'Resolved', scheduled: 'Scheduled', in_progress: 'In progress', completed: 'Completed' };
export const statusesOf = (impact: Impact): IncidentStatus[] => (impact === 'maintenance' ? ['scheduled', 'in_progress', 'completed'] : ['investigating', 'identified', 'monitoring', 'resolved']);

/** The worst state that took at least a minute, or any time when nothing did for that long: as the server draws it. */
export function worstOf(day: Day): PublicState {
  const { ok_ms: ok = 0, degraded_ms: degraded = 0, outage_ms: outage = 0, maintenance_ms: maintenance = 0 } = day;
  const floor = ok + maintenance >= 60_000 ? 60_000 : 1;
  if (outage >= floor) return 'outage';
  if (degraded >= floor) return 'degraded';
  if (maintenance >= floor) return 'maintenance';
  return ok > 0 ? 'operational' : 'unknown';
}

/** Share of the known time, maintenance left out, in which it worked at least in part; `undefined` without knowledge. */
export function uptime(component: PublicComponent): number | undefined {
  const sum = (pick: (day: Day) => number | undefined): number => component.days.reduce((total, day) => total + (pick(day) ?? 0), 0);
  const up = sum((day) => day.ok_ms) + sum((day) => day.degraded_ms);
  const down = sum((day) => day.outage_ms);
  return up + down > 0 ? up / (up + down) : undefined;
}

/** Never rounded up to a hundred. */
export const uptimeText = (share: number | undefined): string => (share === undefined ? 'not measured yet' : `${(Math.floor(share * 10_000) / 100).toFixed(2)}% uptime`);

const minutes = (ms: number): string => (ms < 60_000 ? 'less than a minute' : ms < 7_200_000 ? `${Math.floor(ms / 60_000)} min` : `${Math.floor(ms / 3_600_000)} h ${Math.floor(ms / 60_000) % 60} min`);
/** What a bar says when one points at it. */
export function dayText(day: Day): string {
  const date = new Date(day.day * 864e5).toISOString().slice(0, 10);
  const parts = [day.outage_ms ? `outage ${minutes(day.outage_ms)}` : '', day.degraded_ms ? `degraded ${minutes(day.degraded_ms)}` : '', day.maintenance_ms ? `maintenance ${minutes(day.maintenance_ms)}` : ''].filter(Boolean);
  return `${date}: ${parts.join(', ') || STATE_WORDS[worstOf(day)].toLowerCase()}`;
}
