// The part of Markdown that text panels need, as a tree: nothing is ever put into the page as markup.
export type Inline = { kind: 'text' | 'strong' | 'em' | 'code'; text: string } | { kind: 'link'; text: string; href: string };
export type Block =
  | { kind: 'heading'; level: number; inline: Inline[] }
  | { kind: 'p'; inline: Inline[] }
  | { kind: 'ul' | 'ol'; items: Inline[][] }
  | { kind: 'pre'; text: string }
  | { kind: 'quote'; inline: Inline[] }
  | { kind: 'rule' }
  | { kind: 'table'; head: Inline[][]; rows: Inline[][][] };

/** Only addresses that open pages: no `javascript:`. */
const safe = (href: string): boolean => /^(https?:\/\/|\/(?!\/)|#|mailto:)/i.test(href);

export function inline(text: string): Inline[] {
  const out: Inline[] = [];
  const push = (part: string): void => void (part && out.push({ kind: 'text', text: part }));
  const pattern = /`([^`]+)`|\*\*([^*]+)\*\*|__([^_]+)__|\*([^*\s][^*]*)\*|\b_([^_]+)_\b|!?\[([^\]]*)\]\(([^)\s]+)[^)]*\)|<(https?:\/\/[^>]+)>/g;
  let at = 0;
  for (const found of text.matchAll(pattern)) {
    push(text.slice(at, found.index));
    at = found.index + found[0].length;
    const [whole, code, strong, strong2, em, em2, label, href, bare] = found;
    if (code !== undefined) out.push({ kind: 'code', text: code });
    else if (strong ?? strong2) out.push({ kind: 'strong', text: strong ?? strong2 ?? '' });
    else if (em ?? em2) out.push({ kind: 'em', text: em ?? em2 ?? '' });
    else if (bare) out.push({ kind: 'link', text: bare, href: bare });
    else if (href !== undefined && safe(href) && !whole.startsWith('!')) out.push({ kind: 'link', text: label || href, href });
    else push(label ?? whole);
  }
  push(text.slice(at));
  return out;
}

export function markdown(source: string): Block[] {
  const out: Block[] = [];
  const lines = source.replace(/\r/g, '').split('\n');
  let i = 0;
  const line = (): string => lines[i] ?? '';
  while (i < lines.length) {
    const heading = /^(#{1,6})\s+(.*)$/.exec(line());
    if (/^\s*$/.test(line())) i++;
    else if (/^```/.test(line())) {
      const text: string[] = [];
      for (i++; i < lines.length && !/^```/.test(line()); i++) text.push(line());
      i++;
      out.push({ kind: 'pre', text: text.join('\n') });
    } else if (heading) {
      out.push({ kind: 'heading', level: heading[1]?.length ?? 1, inline: inline(heading[2] ?? '') });
      i++;
    } else if (/^(-{3,}|\*{3,}|_{3,})\s*$/.test(line())) {
      out.push({ kind: 'rule' });
      i++;
    } else if (/^\s*([-*+]|\d+[.)])\s+/.test(line())) {
      const kind = /^\s*\d/.test(line()) ? 'ol' : 'ul';
      const items: Inline[][] = [];
      for (; i < lines.length && /^\s*([-*+]|\d+[.)])\s+/.test(line()); i++) items.push(inline(line().replace(/^\s*([-*+]|\d+[.)])\s+/, '')));
      out.push({ kind, items });
    } else if (/^>\s?/.test(line())) {
      const text: string[] = [];
      for (; i < lines.length && /^>\s?/.test(line()); i++) text.push(line().replace(/^>\s?/, ''));
      out.push({ kind: 'quote', inline: inline(text.join(' ')) });
    } else if (/\|/.test(line()) && /^\s*\|?\s*:?-+/.test(lines[i + 1] ?? '')) {
      const cells = (text: string): Inline[][] => text.trim().replace(/^\||\|$/g, '').split('|').map((cell) => inline(cell.trim()));
      const head = cells(line());
      const rows: Inline[][][] = [];
      for (i += 2; i < lines.length && /\|/.test(line()); i++) rows.push(cells(line()));
      out.push({ kind: 'table', head, rows });
    } else {
      const text: string[] = [];
      for (; i < lines.length && line().trim() !== '' && !/^(#{1,6}\s|```|>|\s*([-*+]|\d+[.)])\s)/.test(line()); i++) text.push(line().trim());
      out.push({ kind: 'p', inline: inline(text.join(' ')) });
    }
  }
  return out;
}
