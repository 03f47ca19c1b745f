import { expect, test } from 'vitest';
import { dots } from './exemplars.ts';

test('the latest come first, and only numbers', () => {
  const series = { seriesLabels: { job: 'shop' }, exemplars: [{ labels: { trace_id: 'a' }, value: '0.2', timestamp: 5 }, { labels: { trace_id: 'b' }, value: 'NaN', timestamp: 6 }, { labels: { trace_id: 'c' }, value: '3', timestamp: 9 }] };
  expect(dots([series]).map((dot) => [dot.labels.trace_id, dot.value])).toEqual([['c', 3], ['a', 0.2]]);
  expect(dots([series], 1)).toHaveLength(1);
});
