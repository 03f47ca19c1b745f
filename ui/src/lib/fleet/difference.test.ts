import { expect, test } from 'vitest';
import { CRITICAL, NO_DATA, OK, WARNING } from './codec.ts';
import { difference } from './difference.ts';

test('what broke is loud, what was broken before is quiet, what was mended is counted', () => {
  const before = Uint8Array.from([OK, OK, WARNING, CRITICAL, CRITICAL, NO_DATA, OK]);
  const after = Uint8Array.from([OK, CRITICAL, CRITICAL, CRITICAL, OK, WARNING, NO_DATA]);
  const { codes, silenced, change } = difference(before, after);
  expect(change).toEqual({ broken: 2, worse: 1, better: 1, mended: 1, standing: 1 });
  expect([...silenced]).toEqual([0, 0, 0, 1, 0, 1, 0]);
  expect([...codes]).toEqual([...after]);
  expect(difference(after, after).change).toEqual({ broken: 0, worse: 0, better: 0, mended: 0, standing: 5 });
});
