// What has changed between two states of the fleet. Pure.
import { CRITICAL, NO_DATA, OK, WARNING } from './codec.ts';

/** Servers by what became of them. */
export interface Change {
  /** Well before, not well after. */
  broken: number;
  /** Bad before, worse after. */
  worse: number;
  /** Bad before, better after, not well yet. */
  better: number;
  /** Bad before, well after. */
  mended: number;
  /** As bad as before. */
  standing: number;
}
const RANK: Record<number, number> = { [OK]: 0, [WARNING]: 1, [NO_DATA]: 2, [CRITICAL]: 3 };

/** Codes of what is new and bad, as a state that can be drawn; what was so bad before is in `silenced`: there, and quiet. */
export function difference(before: Uint8Array, after: Uint8Array): { codes: Uint8Array; silenced: Uint8Array; change: Change } {
  const codes = after.slice();
  const silenced = new Uint8Array(after.length);
  const change: Change = { broken: 0, worse: 0, better: 0, mended: 0, standing: 0 };
  for (let i = 0; i < after.length; i++) {
    const [was, is] = [RANK[before[i] ?? OK] ?? 0, RANK[after[i] ?? OK] ?? 0];
    if (is === 0) {
      if (was > 0) change.mended++;
      continue;
    }
    if (was === 0) change.broken++;
    else if (is > was) change.worse++;
    else {
      if (is < was) change.better++;
      else change.standing++;
      silenced[i] = 1;
    }
  }
  return { codes, silenced, change };
}
