// Short notes at the edge of the screen that say what an action did.
export interface Toast {
  id: number;
  text: string;
  tone: 'ok' | 'critical';
}
class Toasts {
  list = $state.raw<Toast[]>([]);
  #next = 1;
  say(text: string, tone: Toast['tone'] = 'ok'): void {
    const id = this.#next++;
    this.list = [...this.list.slice(-3), { id, text, tone }];
    setTimeout(() => (this.list = this.list.filter((toast) => toast.id !== id)), tone === 'ok' ? 4000 : 9000);
  }
}
export const toasts = new Toasts();
