import { expect, test } from 'vitest';
import { rows, type PlanNode } from './plan.ts';

const node = (title: string, inputs: number[], seconds: number): PlanNode => ({ title, inputs, series: 1, samples: 10, seconds });

test('the result comes first, inputs below it, and a node counts its own time', () => {
  const plan = [node('a', [], 0.01), node('rate', [0], 0.03), node('b', [], 0.002), node('+', [1, 2], 0.04)];
  expect(rows(plan).map((row) => [row.title, row.depth, Math.round(row.own * 1000)])).toEqual([['+', 0, 8], ['rate', 1, 20], ['a', 2, 10], ['b', 1, 2]]);
});
test('what two nodes share stands below both; a loop ends', () => {
  expect(rows([node('a', [], 1), node('x', [0, 0], 1)]).map((row) => row.title)).toEqual(['x', 'a', 'a']);
  expect(rows([node('a', [1], 1), node('b', [0], 1), node('top', [0], 1)]).map((row) => row.title)).toEqual(['top', 'a', 'b']);
  expect(rows([])).toEqual([]);
});
