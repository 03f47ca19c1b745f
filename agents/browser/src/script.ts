// The script tag: the agent as `window.Bellwether`.

import { configure, consent, describe, flushNow } from "./agent";

Object.assign(window, { Bellwether: { configure, consent, describe, flush: flushNow } });
