// Ranking of names against typed words: exact, then prefix, then word start, then anywhere, then letters in order.

/** Higher is better; `undefined` when it does not fit. */
export function score(name: string, words: string): number | undefined {
  const text = name.toLowerCase();
  let total = 0;
  for (const word of words.toLowerCase().split(/\s+/)) {
    if (!word) continue;
    const at = text.indexOf(word);
    if (text === word) total += 100;
    else if (at === 0) total += 60;
    else if (at > 0) total += /[a-z0-9]/.test(text[at - 1] ?? '') ? 20 : 40;
    else if (word.length > 2 && inOrder(text, word)) total += 5;
    else return undefined;
  }
  return total - text.length / 100;
}

function inOrder(text: string, letters: string): boolean {
  let at = 0;
  for (const letter of letters) {
    at = text.indexOf(letter, at) + 1;
    if (at === 0) return false;
  }
  return true;
}

/** The `limit` best items; without words, the first ones as they come. */
export function rank<T>(items: readonly T[], words: string, name: (item: T) => string, limit: number): T[] {
  if (!words.trim()) return items.slice(0, limit);
  const hits: { item: T; score: number }[] = [];
  for (const item of items) {
    const value = score(name(item), words);
    if (value !== undefined) hits.push({ item, score: value });
  }
  return hits.sort((a, b) => b.score - a.score).slice(0, limit).map((hit) => hit.item);
}
