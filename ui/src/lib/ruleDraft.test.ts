import { expect, test } from 'vitest';
import { backtest, findings, ruleYaml, type Draft } from './ruleDraft.ts';

const draft: Draft = { name: 'HostCpuBusy', expr: 'cpu{a="b"} > 0.9', hold: '5m', severity: 'warning', summary: 'say "hi"', group: 'g' };
test('a good rule has no findings, a bad one says what is wrong', () => {
  expect(findings(draft, '')).toEqual([]);
  const texts = findings({ ...draft, name: '', expr: 'up{job=~"a"}', hold: 'soon', group: 'a b' }, '').map((finding) => finding.text).join(' ');
  for (const word of ['name', 'duration', 'group', 'comparison']) expect(texts).toContain(word);
});
test('the file quotes what needs it', () => {
  expect(ruleYaml(draft)).toBe('groups:\n  - name: "g"\n    rules:\n      - alert: "HostCpuBusy"\n        expr: "cpu{a=\\"b\\"} > 0.9"\n        for: 5m\n        labels: {severity: "warning"}\n        annotations: {summary: "say \\"hi\\""}\n');
});
test('it fires only after it has lasted, until the result is gone', () => {
  const line = (values: (number | null)[]): Parameters<typeof backtest>[0] => ({ times: [0, 60, 120, 180, 240, 300], lines: [{ key: 'a', name: 'a', labels: {}, values }], total: 1 });
  expect(backtest(line([1, 1, 1, 1, null, 1]), 60, 120)).toEqual({ firings: [{ name: 'a', from: 120, to: 240 }], total: 120 });
  expect(backtest(line([1, null, 1, 1, 1, 1]), 60, 120).firings).toEqual([{ name: 'a', from: 240, to: 360 }]);
  expect(backtest(line([null, null, null, null, null, null]), 60, 0).firings).toEqual([]);
});
