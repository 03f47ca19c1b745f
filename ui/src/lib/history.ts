// Past queries, newest first, on this device only.
const KEY = 'bellwether.queries';
const LIMIT = 100;

/** The list with `query` first and once, cut to the limit. Blank queries change nothing. */
export function remembered(past: readonly string[], query: string): string[] {
  const text = query.trim();
  if (!text) return [...past];
  return [text, ...past.filter((other) => other !== text)].slice(0, LIMIT);
}

export function loadHistory(): string[] {
  try {
    const value: unknown = JSON.parse(localStorage.getItem(KEY) ?? '[]');
    return Array.isArray(value) ? value.filter((item): item is string => typeof item === 'string').slice(0, LIMIT) : [];
  } catch {
    return []; // not ours, or cut short: history starts again
  }
}
export const saveHistory = (past: readonly string[]): void => localStorage.setItem(KEY, JSON.stringify(past));
