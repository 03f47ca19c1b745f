// An open dashboard: what is kept, what is changed and not saved, the variables' values, what is folded away.
import { ApiError, data } from '../api/http.ts';
import { batched, dashboard as fetchDashboard, type DashMeta, type Query } from '../api/dashboards.ts';
import type { Mark } from '../components/Chart.svelte';
import { legendOf } from '../lib/dashboard/data.ts';
import { settled, place } from '../lib/dashboard/layout.ts';
import { css } from '../lib/dashboard/reduce.ts';
import { newDashboard, newPanel, newUid, repaired, type Dashboard, type Panel, type PanelType, type Variable } from '../lib/dashboard/model.ts';
import { ALL, asked, chosen, interpolate, listed, refined, used, type Built, type Values } from '../lib/dashboard/vars.ts';
import { seriesName, selector } from '../lib/labels.ts';
import { niceStep } from '../lib/time.ts';
import { nav } from './nav.svelte.ts';

/** Assumed distance of samples, seconds: what `$__rate_interval` is made from. */
export const SCRAPE = 15;

export class DashModel {
  dash = $state.raw<Dashboard>(newDashboard(''));
  meta = $state.raw<DashMeta | undefined>();
  original = $state.raw<unknown>();
  error = $state.raw<ApiError | undefined>();
  loading = $state(true);
  editing = $state(false);
  dirty = $state(false);
  /** The panel in the editor. */
  selected = $state<number | undefined>();
  options = $state.raw<Record<string, string[]>>({});
  optionErrors = $state.raw<Record<string, string>>({});
  collapsed = $state.raw<ReadonlySet<string>>(new Set());
  marks = $state.raw<Mark[]>([]);
  #past: Dashboard[] = [];
  #fetched = new Map<string, string[]>();

  async load(uid: string, signal: AbortSignal): Promise<void> {
    this.loading = true;
    this.error = undefined;
    try {
      if (uid === 'new') {
        this.open({ ...newDashboard(newUid()) }, undefined);
        this.editing = true;
        this.dirty = true;
        return;
      }
      const found = await fetchDashboard(uid, signal);
      this.open(repaired(found.dashboard), found.meta);
      this.original = found.original ?? undefined;
    } catch (cause) {
      if (signal.aborted) return;
      this.error = cause instanceof ApiError ? cause : new ApiError(0, 'unreadable', String(cause), `/api/v1/dashboards/${uid}`);
    } finally {
      if (!signal.aborted) this.loading = false;
    }
  }
  open(dash: Dashboard, meta: DashMeta | undefined): void {
    this.dash = { ...dash, panels: settled(dash.panels) };
    this.meta = meta;
    this.dirty = false;
    this.selected = undefined;
    this.#past = [];
    this.collapsed = new Set(dash.panels.filter((panel) => panel.type === 'row' && panel.collapsed).map((panel) => String(panel.id)));
    this.loading = false;
  }

  /** Every change goes through here, so that it can be taken back. */
  change(next: Partial<Dashboard>): void {
    this.#past = [...this.#past.slice(-49), this.dash];
    this.dash = { ...this.dash, ...next };
    this.dirty = true;
  }
  get canUndo(): boolean {
    return this.dirty && this.#past.length > 0;
  }
  undo(): void {
    const last = this.#past.pop();
    if (last) this.dash = last;
  }
  changePanel(id: number, next: Partial<Panel>): void {
    this.change({ panels: this.dash.panels.map((panel) => (panel.id === id ? { ...panel, ...next } : panel)) });
  }
  move(id: number, grid: Panel['grid']): void {
    this.change({ panels: settled(this.dash.panels.map((panel) => (panel.id === id ? { ...panel, grid } : panel)), id) });
  }
  /** Moves without a step to take back, while the pointer drags. */
  drag(start: readonly Panel[], id: number, grid: Panel['grid']): void {
    this.dash = { ...this.dash, panels: settled(start.map((panel) => (panel.id === id ? { ...panel, grid } : panel)), id) };
    this.dirty = true;
  }
  dropped(start: Dashboard): void {
    this.#past = [...this.#past.slice(-49), start];
  }
  add(type: PanelType, from?: Partial<Panel>): Panel {
    const size = type === 'row' ? [24, 1] : type === 'stat' || type === 'gauge' ? [6, 5] : [12, 8];
    const id = Math.max(0, ...this.dash.panels.map((panel) => panel.id)) + 1;
    const grid = type === 'row' ? { x: 0, y: Math.max(0, ...this.dash.panels.map((panel) => panel.grid.y + panel.grid.h)), w: 24, h: 1 } : place(this.dash.panels, size[0] ?? 12, size[1] ?? 8);
    const made = { ...newPanel(type, grid, id), ...from, id, grid };
    this.change({ panels: settled([...this.dash.panels, made]) });
    return made;
  }
  remove(id: number): void {
    if (this.selected === id) this.selected = undefined;
    this.change({ panels: settled(this.dash.panels.filter((panel) => panel.id !== id)) });
  }
  toggle(key: string): void {
    const next = new Set(this.collapsed);
    if (!next.delete(key)) next.add(key);
    this.collapsed = next;
  }

  /** Chosen values by variable, "all" as itself. */
  get values(): Values {
    return Object.fromEntries(this.dash.variables.map((variable) => [variable.name, this.#chosen(variable)]));
  }
  #chosen(variable: Variable): string[] {
    if (variable.type === 'constant') return [variable.query];
    const address = nav.all(`var-${variable.name}`).map((value) => (value === 'All' && variable.all ? ALL : value));
    if (variable.type === 'text') return address.length ? address : [variable.current[0] ?? variable.query];
    return chosen(variable, this.options[variable.name] ?? [], address);
  }
  /** Chosen values with "all" spelled out, for what repeats. */
  get spelled(): Values {
    return Object.fromEntries(Object.entries(this.values).map(([name, list]) => [name, list.includes(ALL) ? (this.options[name] ?? []) : list]));
  }
  choose(name: string, values: string[]): void {
    nav.set({ [`var-${name}`]: values });
  }

  built(from: number, to: number, step?: number): Built {
    return { from, to, step: step ?? niceStep({ from, to }, 200), scrape: SCRAPE };
  }
  fill(text: string, built: Built, scope: Record<string, string>, query: boolean): string {
    return interpolate(text, this.dash.variables, this.values, built, scope, query);
  }

  /** Fetches the lists of values, in order, so that later variables may use earlier ones. */
  async loadVariables(from: number, to: number, signal: AbortSignal): Promise<void> {
    const built = this.built(from, to);
    for (const variable of this.dash.variables) {
      let list: string[] = [];
      if (variable.type === 'custom' || variable.type === 'interval') list = listed(variable.query);
      else if (variable.type === 'query') {
        // Read before the fetch: the caller's effect follows what this depends on.
        const text = this.fill(variable.query, built, {}, true);
        const timed = used(variable.query).has('__from') || used(variable.query).has('__range');
        const key = timed ? `${text} ${from} ${to}` : text;
        let raw = this.#fetched.get(key);
        if (!raw) {
          try {
            raw = await lookUp(text, from, to, signal);
            this.#fetched.set(key, raw);
            if (this.#fetched.size > 200) this.#fetched.clear();
            const { [variable.name]: _gone, ...rest } = this.optionErrors;
            this.optionErrors = rest;
          } catch (cause) {
            if (signal.aborted) return;
            this.optionErrors = { ...this.optionErrors, [variable.name]: cause instanceof Error ? cause.message : String(cause) };
            raw = [];
          }
        }
        list = refined(raw, variable);
      }
      if (signal.aborted) return;
      if ((this.options[variable.name] ?? []).join('\n') !== list.join('\n')) this.options = { ...this.options, [variable.name]: list };
    }
  }

  /** Fetches what the annotations select. */
  async loadMarks(from: number, to: number, signal: AbortSignal): Promise<void> {
    const on = this.dash.annotations.filter((annotation) => annotation.on);
    if (on.length === 0) {
      if (this.marks.length) this.marks = [];
      return;
    }
    const step = niceStep({ from, to }, 300);
    const built = this.built(from, to, step);
    const align = (ms: number): number => Math.floor(ms / 1000 / step) * step;
    const queries = on.map((annotation): Query => ({ query: this.fill(annotation.expr, built, {}, true), start: align(from), end: align(to), step }));
    const answers = await batched(queries, signal);
    const made: Mark[] = [];
    on.forEach((annotation, i) => {
      const found = answers[i]?.data;
      if (found?.resultType !== 'matrix') return;
      for (const series of found.result.slice(0, 50)) {
        const text = annotation.title ? legendOf(annotation.title, series.metric) : seriesName(series.metric, []);
        let last: Mark | undefined;
        for (const [time, value] of series.values ?? []) {
          if (Number(value) === 0) continue;
          if (last && time - last.to <= step * 1.01) last.to = time;
          else made.push((last = { from: time, to: time, text: `${annotation.name}: ${text}`, color: css(annotation.tone) }));
        }
      }
    });
    this.marks = made.slice(0, 500);
  }
}

async function lookUp(text: string, from: number, to: number, signal: AbortSignal): Promise<string[]> {
  const ask = asked(text);
  const range = { start: from / 1000, end: to / 1000 };
  switch (ask.kind) {
    case 'label_values':
      return data<string[]>(`/api/v1/label/${encodeURIComponent(ask.label)}/values`, { ...range, ...(ask.metric ? { 'match[]': ask.metric } : {}) }, { signal });
    case 'label_names':
      return data<string[]>('/api/v1/labels', range, { signal });
    case 'metrics':
      return data<string[]>('/api/v1/label/__name__/values', { ...range, 'match[]': `{__name__=~${JSON.stringify(`.*${ask.regex}.*`)}}` }, { signal });
    default: {
      const found = await data<{ resultType: string; result: { metric: Record<string, string>; value?: [number, string] }[] }>('/api/v1/query', { query: ask.expr, time: to / 1000 }, { signal });
      if (found.resultType !== 'vector') return [];
      return found.result.map((sample) => `${selector(sample.metric)} ${sample.value?.[1] ?? ''} ${Math.round((sample.value?.[0] ?? 0) * 1000)}`);
    }
  }
}
