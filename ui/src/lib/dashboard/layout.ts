// Where panels stand: gravity, collisions, rows, and panels that repeat over a variable's values. Pure.
import { COLUMNS, type Grid, type Panel } from './model.ts';

const overlap = (a: Grid, b: Grid): boolean => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
const order = (a: Panel, b: Panel): number => a.grid.y - b.grid.y || a.grid.x - b.grid.x;

/** Panels moved up as far as they go, none over another; `moved` keeps its place and pushes the others down. */
export function settled(panels: readonly Panel[], moved?: number): Panel[] {
  const done: Panel[] = [];
  const first = panels.filter((panel) => panel.id === moved);
  const rest = panels.filter((panel) => panel.id !== moved).sort(order);
  for (const panel of [...first, ...rest]) {
    const grid = { ...panel.grid };
    const free = (at: Grid): boolean => done.every((other) => !overlap(other.grid, at));
    while (!free(grid)) grid.y++;
    done.push({ ...panel, grid });
  }
  // Gravity comes last: what was pushed apart closes up again, in reading order.
  const out: Panel[] = [];
  for (const panel of done.sort(order)) {
    const grid = { ...panel.grid };
    const free = (at: Grid): boolean => out.every((other) => !overlap(other.grid, at));
    while (grid.y > 0 && free({ ...grid, y: grid.y - 1 })) grid.y--;
    out.push({ ...panel, grid });
  }
  return out;
}

/** The first free place for a panel of this size. */
export function place(panels: readonly Panel[], w: number, h: number): Grid {
  const bottom = Math.max(0, ...panels.map((panel) => panel.grid.y + panel.grid.h));
  for (let y = 0; y < bottom; y++) {
    for (let x = 0; x + w <= COLUMNS; x++) {
      const at = { x, y, w, h };
      if (panels.every((panel) => !overlap(panel.grid, at))) return at;
    }
  }
  return { x: 0, y: bottom, w, h };
}

/** A panel as it is drawn: perhaps one of several that repeat. */
export interface Shown {
  key: string;
  panel: Panel;
  /** Values of the variables over which it repeats. */
  scope: Record<string, string>;
  /** How many panels a collapsed row hides. */
  hides?: number;
}

/** Sections: a row and the panels below it, up to the next row. */
function sections(panels: readonly Panel[]): { row: Panel | undefined; panels: Panel[] }[] {
  const out: { row: Panel | undefined; panels: Panel[] }[] = [{ row: undefined, panels: [] }];
  for (const panel of [...panels].sort(order)) {
    if (panel.type === 'row') out.push({ row: panel, panels: [] });
    else out.at(-1)?.panels.push(panel);
  }
  return out.filter((section) => section.row || section.panels.length);
}

/** Every panel to draw, repeats expanded and collapsed rows closed. `values`: the chosen values of each variable. */
export function shown(panels: readonly Panel[], values: Record<string, string[]>, collapsed: ReadonlySet<string>): Shown[] {
  const out: Shown[] = [];
  let y = 0;
  for (const { row, panels: members } of sections(panels)) {
    const repeats = row?.repeat ? (values[row.repeat] ?? []) : [undefined];
    for (const value of repeats) {
      const scope: Record<string, string> = row?.repeat && value !== undefined ? { [row.repeat]: value } : {};
      const key = value === undefined ? '' : `/${value}`;
      const top = Math.min(...members.map((panel) => panel.grid.y), Number.POSITIVE_INFINITY);
      if (row) {
        const rowKey = `${row.id}${key}`;
        const closed = collapsed.has(rowKey);
        out.push({ key: rowKey, panel: { ...row, collapsed: closed, grid: { x: 0, y, w: COLUMNS, h: 1 } }, scope, hides: members.length });
        y += 1;
        if (closed) continue;
      }
      const expanded = members.flatMap((panel) => repeated(panel, values, scope, key)).map((item) => ({ ...item, panel: { ...item.panel, grid: { ...item.panel.grid, y: item.panel.grid.y - top } } }));
      const pushed = pushedDown(expanded);
      for (const item of pushed) out.push({ ...item, panel: { ...item.panel, grid: { ...item.panel.grid, y: item.panel.grid.y + y } } });
      y += Math.max(0, ...pushed.map((item) => item.panel.grid.y + item.panel.grid.h));
    }
  }
  return out;
}

function repeated(panel: Panel, values: Record<string, string[]>, scope: Record<string, string>, key: string): Shown[] {
  const list = panel.repeat ? (values[panel.repeat] ?? []) : [];
  if (!panel.repeat || list.length === 0) return [{ key: `${panel.id}${key}`, panel, scope }];
  const across = panel.repeatDown ? 1 : Math.min(list.length, 4);
  const w = panel.repeatDown ? panel.grid.w : Math.floor(COLUMNS / across);
  return list.map((value, i) => ({
    key: `${panel.id}${key}/${value}`,
    scope: { ...scope, [panel.repeat]: value },
    panel: { ...panel, grid: { x: panel.repeatDown ? panel.grid.x : (i % across) * w, y: panel.grid.y + Math.floor(i / across) * panel.grid.h, w, h: panel.grid.h } },
  }));
}

/** What repeats needs room: everything after it moves down until nothing overlaps. */
function pushedDown(items: readonly Shown[]): Shown[] {
  const out: Shown[] = [];
  for (const item of [...items].sort((a, b) => order(a.panel, b.panel))) {
    const grid = { ...item.panel.grid };
    while (out.some((other) => overlap(other.panel.grid, grid))) grid.y++;
    out.push({ ...item, panel: { ...item.panel, grid } });
  }
  return out;
}
