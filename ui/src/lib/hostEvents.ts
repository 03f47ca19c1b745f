// What happened to one server, from the history of alerts and from the host itself, newest first. Pure.
import type { HostEvent } from '../api/fleet.ts';
import type { Episode } from '../api/history.ts';
import { isHeartbeat, severityOf } from './alerts.ts';
import { ago } from './time.ts';

export interface Happened {
  key: string;
  /** Milliseconds since the epoch. */
  at: number;
  severity: 'critical' | 'warning' | 'info';
  what: string;
  more: string;
  /** Of an alert: its labels. */
  labels: Record<string, string> | undefined;
}

/** Whether an alert is about the server: by instance, whole or its host part, or by a label that names machines. */
export function isAbout(labels: Record<string, string>, name: string, instance: string): boolean {
  const host = (text: string): string => text.replace(/:\d+$/, '');
  const of = labels.instance ?? '';
  if (of) return of === instance || of === name || host(of) === name;
  return [labels.nodename, labels.host, labels.hostname].includes(name);
}

export function happened(episodes: readonly Episode[], events: readonly HostEvent[], name: string, instance: string): Happened[] {
  const alerts = episodes
    .filter((one) => !isHeartbeat({ ...one.labels, alertname: one.alertname }) && isAbout(one.labels, name, instance))
    .map((one): Happened => {
      const from = Date.parse(one.startsAt);
      return { key: `a${one.fingerprint}${one.startsAt}`, at: from, severity: severityOf(one.labels), what: one.alertname, more: `${one.endsAt ? `for ${ago(Date.parse(one.endsAt) - from)}` : 'fires'}${one.notifications ? `, told ${one.notifications} ×` : ''}`, labels: { ...one.labels, alertname: one.alertname } };
    });
  const own = events.map((one): Happened => ({ key: `e${one.seq}`, at: one.time, severity: one.severity, what: one.message, more: one.count > 1 ? `${one.count} ×` : '', labels: undefined }));
  return [...alerts, ...own].sort((a, b) => b.at - a.at);
}
