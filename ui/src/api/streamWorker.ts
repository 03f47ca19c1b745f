// Shared by all tabs of a browser: holds one stream a plane and tells every tab what comes (plain HTTP allows six connections an origin).
import { EventStream, type StreamEvent } from './eventStream.ts';

/** A tab joins the stream of `by` from `since` on, or leaves it. */
export type Ask = { join: string; since: number } | { leave: true };

interface Shared {
  stream: EventStream | undefined;
  ports: Set<MessagePort>;
  /** The newest tick, for tabs that join between two. */
  tick: StreamEvent | undefined;
  sequence: number;
}
const streams = new Map<string, Shared>();

function join(port: MessagePort, by: string, since: number): void {
  const known = streams.get(by);
  if (known) {
    known.ports.add(port);
    if (known.tick) port.postMessage(known.tick);
    return;
  }
  const shared: Shared = { ports: new Set([port]), tick: undefined, sequence: since, stream: undefined };
  shared.stream = new EventStream(by, () => shared.sequence, (event) => {
    if (event.kind === 'tick') {
      shared.tick = event;
      shared.sequence = event.tick.sequence;
    } else if (event.kind === 'delta') shared.sequence = event.sequence;
    for (const other of shared.ports) other.postMessage(event);
  });
  streams.set(by, shared);
}
function leave(port: MessagePort): void {
  for (const [by, shared] of streams) {
    shared.ports.delete(port);
    if (shared.ports.size) continue;
    shared.stream?.close();
    streams.delete(by);
  }
}

(self as unknown as { onconnect: (event: MessageEvent) => void }).onconnect = (event) => {
  const port = event.ports[0];
  if (!port) return;
  port.onmessage = (message: MessageEvent<Ask>) => ('join' in message.data ? join(port, message.data.join, message.data.since) : leave(port));
};
