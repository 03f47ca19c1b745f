// The fleet's events for a page: from the stream that all tabs share where the browser can, else from one of its own.
import { EventStream, type StreamEvent } from './eventStream.ts';

/** A shared worker that says nothing for so long did not start. */
const PATIENCE_MS = 8000;

export function follow(by: string, since: () => number, tell: (event: StreamEvent) => void): { close: () => void } {
  if (typeof SharedWorker === 'undefined') return new EventStream(by, since, tell);
  const { port } = new SharedWorker(new URL('./streamWorker.ts', import.meta.url), { type: 'module', name: 'fleet stream' });
  let own: EventStream | undefined;
  const patience = setTimeout(() => {
    console.warn('the shared stream is silent; this tab opens its own');
    leave();
    own = new EventStream(by, since, tell);
  }, PATIENCE_MS);
  port.onmessage = (event: MessageEvent<StreamEvent>) => {
    clearTimeout(patience);
    tell(event.data);
  };
  port.postMessage({ join: by, since: since() });
  const leave = (): void => port.postMessage({ leave: true });
  addEventListener('pagehide', leave, { once: true });
  return {
    close: () => {
      clearTimeout(patience);
      removeEventListener('pagehide', leave);
      leave();
      port.close();
      own?.close();
    },
  };
}
