// A new alerting rule: its YAML, what is wrong with it, and when it would have fired. Pure.
import type { Columns } from './series.ts';
import { parseDuration } from './time.ts';

export interface Draft {
  name: string;
  expr: string;
  hold: string;
  severity: string;
  summary: string;
  group: string;
}
export interface Finding {
  level: 'error' | 'warning';
  text: string;
}
/** `parse`: what the server's parser said of the expression; empty when it had nothing to say. */
export function findings(draft: Draft, parse: string): Finding[] {
  const out: Finding[] = [];
  const error = (text: string): void => void out.push({ level: 'error', text });
  const warning = (text: string): void => void out.push({ level: 'warning', text });
  if (!draft.expr.trim()) error('It needs a condition.');
  if (parse) error(parse);
  if (!draft.name.trim()) error('It needs a name.');
  else if (!/^[A-Za-z_][\w]*$/.test(draft.name)) warning('Names of alerts are usually words written together, such as HostCpuBusy.');
  if (draft.hold.trim() && parseDuration(draft.hold.trim()) === undefined) error(`“${draft.hold}” is no duration: write 5m, 1h30m or nothing.`);
  if (!/^[\w.-]{1,80}$/.test(draft.group)) error('The group needs a name of letters, digits, dots, - and _.');
  if (draft.expr.trim() && !/[<>]|[=!]=|\bbool\b|\babsent|\bunless\b|\band\b|==/.test(draft.expr.replace(/\{[^}]*\}/g, ''))) warning('There is no comparison: it fires for every series that exists.');
  if (!draft.summary.trim()) warning('Without a summary people see only labels.');
  if (!draft.hold.trim() || draft.hold.trim() === '0s') warning('Without “for” a single bad sample wakes somebody.');
  return out;
}

/** The rule file with this one rule. */
export function ruleYaml(draft: Draft): string {
  const text = (value: string): string => JSON.stringify(value);
  const lines = ['groups:', `  - name: ${text(draft.group)}`, '    rules:', `      - alert: ${text(draft.name)}`, `        expr: ${text(draft.expr)}`];
  if (draft.hold.trim()) lines.push(`        for: ${draft.hold.trim()}`);
  lines.push(`        labels: {severity: ${text(draft.severity)}}`);
  if (draft.summary.trim()) lines.push(`        annotations: {summary: ${text(draft.summary)}}`);
  return `${lines.join('\n')}\n`;
}

export interface Firing {
  name: string;
  /** Seconds since the epoch. */
  from: number;
  to: number;
}
/** When a rule on these results would have fired: from `hold` seconds after a series appears until it is gone. */
export function backtest(data: Columns, step: number, hold: number): { firings: Firing[]; total: number } {
  const firings: Firing[] = [];
  for (const line of data.lines) {
    let since: number | undefined;
    data.times.forEach((time, i) => {
      const there = line.values[i] !== null && line.values[i] !== undefined;
      if (there) since ??= time;
      const ended = !there || i === data.times.length - 1;
      if (ended && since !== undefined) {
        const end = there ? time + step : time;
        if (end - since > hold) firings.push({ name: line.name, from: since + hold, to: end });
        since = undefined;
      }
    });
  }
  firings.sort((a, b) => a.from - b.from);
  return { firings, total: firings.reduce((sum, firing) => sum + firing.to - firing.from, 0) };
}
