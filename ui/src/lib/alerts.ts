// The alert list: what the rules say joined with what the alert manager says, then filtered, ordered and grouped.
import type { GettableAlert, Matcher } from '../api/alertmanager.ts';
import type { RuleAlert } from '../api/prom.ts';
import { labelKey, labelsMatch, type Labels } from './labels.ts';

export type Severity = 'critical' | 'warning' | 'info';
export interface AlertRow {
  key: string;
  name: string;
  severity: Severity;
  /** `pending` has not lasted its `for` yet; `suppressed` fires and nobody is told. */
  state: 'firing' | 'pending' | 'suppressed';
  labels: Labels;
  annotations: Labels;
  since: number;
  value: string;
  silencedBy: string[];
  inhibitedBy: string[];
  mutedBy: string[];
  receivers: string[];
  /** It always fires, so that somebody outside notices when it stops: a sign of life, no trouble. */
  heartbeat: boolean;
}

/** The severity a label set claims; words that mean "wake somebody" count as critical, unknown ones as warning. */
export function severityOf(labels: Labels): Severity {
  const word = (labels.severity ?? '').toLowerCase();
  if (/^(critical|page|emergency|fatal|error|sev1|p1)$/.test(word)) return 'critical';
  if (/^(info|information|notice|none|debug|low)$/.test(word)) return 'info';
  return 'warning';
}

/** Whether an alert says "all is well" by firing: `severity="none"`, as kube-prometheus and our own rules mark it, or the usual name. */
export const isHeartbeat = (labels: Labels): boolean => (labels.severity ?? '').toLowerCase() === 'none' || labels.alertname === 'Watchdog' || labels.alertname === 'DeadMansSwitch';

/** Alerts of both sources by label set. An alert known to one source only is kept. */
export function joinAlerts(fromRules: readonly RuleAlert[], fromManager: readonly GettableAlert[]): AlertRow[] {
  const rows = new Map<string, AlertRow>();
  for (const alert of fromRules) {
    if (alert.state === 'inactive') continue;
    const key = labelKey(alert.labels);
    rows.set(key, {
      ...row(key, alert.labels, alert.annotations),
      state: alert.state,
      since: alert.activeAt ? Date.parse(alert.activeAt) : Number.NaN,
      value: alert.value,
    });
  }
  for (const alert of fromManager) {
    const key = labelKey(alert.labels);
    const known = rows.get(key) ?? { ...row(key, alert.labels, alert.annotations), since: Date.parse(alert.startsAt) };
    known.silencedBy = alert.status.silencedBy;
    known.inhibitedBy = alert.status.inhibitedBy;
    known.mutedBy = alert.status.mutedBy ?? [];
    known.receivers = alert.receivers.map((receiver) => receiver.name);
    if (alert.status.state === 'suppressed') known.state = 'suppressed';
    rows.set(key, known);
  }
  return [...rows.values()].sort(order);
}

function row(key: string, labels: Labels, annotations: Labels): AlertRow {
  const severity = severityOf(labels);
  const empty = { value: '', silencedBy: [], inhibitedBy: [], mutedBy: [], receivers: [] };
  return { key, name: labels.alertname ?? '(no name)', severity, state: 'firing', labels, annotations, since: Number.NaN, heartbeat: isHeartbeat(labels), ...empty };
}

const RANK = { critical: 0, warning: 1, info: 2 } as const;
const STATE = { firing: 0, pending: 1, suppressed: 2 } as const;
const order = (a: AlertRow, b: AlertRow): number =>
  STATE[a.state] - STATE[b.state] || RANK[a.severity] - RANK[b.severity] || b.since - a.since || a.name.localeCompare(b.name);

/** Rows that match the words, without suppressed ones unless asked for. */
export function filterAlerts(rows: readonly AlertRow[], words: string, suppressed: boolean): AlertRow[] {
  return rows.filter((item) => (suppressed || item.state !== 'suppressed') && labelsMatch(item.labels, words));
}

export interface AlertGroup {
  name: string;
  rows: AlertRow[];
}
/** Groups by one label, in order of the worst row; '' is one group. */
export function groupAlerts(rows: readonly AlertRow[], label: string): AlertGroup[] {
  if (!label) return rows.length ? [{ name: '', rows: [...rows] }] : [];
  const groups = new Map<string, AlertRow[]>();
  for (const item of rows) {
    const name = item.labels[label] ?? `no ${label}`;
    const group = groups.get(name);
    if (group) group.push(item);
    else groups.set(name, [item]);
  }
  return [...groups].map(([name, members]) => ({ name, rows: members }));
}

/** Whether a label set is matched by all matchers of a silence. A broken regular expression matches nothing. */
export function silenceMatches(matchers: readonly Matcher[], labels: Labels): boolean {
  return matchers.every((matcher) => {
    const value = labels[matcher.name] ?? '';
    let hit: boolean;
    if (matcher.isRegex) {
      try {
        hit = new RegExp(`^(?:${matcher.value})$`, 's').test(value);
      } catch {
        return false;
      }
    } else hit = value === matcher.value;
    return hit === (matcher.isEqual ?? true);
  });
}

/** `name="value"` of one matcher, as Alertmanager writes it. */
export const matcherText = (m: Matcher): string => `${m.name}${(m.isEqual ?? true) ? (m.isRegex ? '=~' : '=') : m.isRegex ? '!~' : '!='}"${m.value}"`;

/** Matchers from `a="b", c=~"d"`; throws with the offending part. */
export function parseMatchers(text: string): Matcher[] {
  const out: Matcher[] = [];
  let rest = text.trim().replace(/^\{|\}$/g, '').trim();
  while (rest) {
    const found = /^("(?:[^"\\]|\\.)+"|[^\s=!~,"{}]+)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*"|[^\s,"]+)\s*(?:,\s*|\s+|$)/.exec(rest);
    if (!found) throw new Error(`cannot read a matcher at "${rest.slice(0, 30)}"; write name="value", name!="value", name=~"regex" or name!~"regex"`);
    const plain = (word: string): string => (word.startsWith('"') ? word.slice(1, -1).replace(/\\(.)/g, (_, c: string) => (c === 'n' ? '\n' : c)) : word);
    const op = found[2] ?? '=';
    out.push({ name: plain(found[1] ?? ''), value: plain(found[3] ?? ''), isRegex: op.endsWith('~'), isEqual: !op.startsWith('!') });
    rest = rest.slice(found[0].length);
  }
  return out;
}
