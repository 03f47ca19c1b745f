// Time axis labels that say the date once and the hour otherwise, in the chosen zone.
import { clock, dayMonth, hourMinute, type Zone } from './time.ts';

/** Labels for `splits` (seconds): hours, with the day where it changes; seconds when the ticks are closer than a minute. */
export function timeLabels(splits: readonly number[], zone: Zone): string[] {
  const gap = (splits[1] ?? 0) - (splits[0] ?? 0);
  let day = '';
  return splits.map((split, i) => {
    const ms = split * 1000;
    const today = dayMonth(ms, zone);
    const changed = i > 0 && today !== day;
    day = today;
    if (gap >= 86400) return today;
    if (changed) return today;
    return gap < 60 ? clock(ms, zone) : hourMinute(ms, zone);
  });
}

/** Distances between ticks that read well in both zones, in seconds. */
export const TIME_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 1209600, 2592000];
