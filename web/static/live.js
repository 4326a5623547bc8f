// The server's events: connected, reconnected, and told apart from a server that is away.

import { address } from './api.js';

const KINDS = ['published', 'loaded', 'rejected', 'refused'];
const RETRY = 2000;

/**
 * Listen to /events for as long as the page lives. `onOpen` is called at every (re)connection: what happened meanwhile
 * is for the caller to fetch. `onLost` is called when the connection breaks, `onEvent` with each event's data.
 */
export function listen({ onOpen, onLost, onEvent }) {
  const source = new EventSource(address('events'));
  source.addEventListener('open', onOpen);
  for (const kind of KINDS) source.addEventListener(kind, (event) => onEvent(JSON.parse(event.data)));
  source.addEventListener('error', () => {
    onLost();
    // The browser tries again by itself, except after an answer that is no event stream (a proxy's 502, say).
    if (source.readyState === EventSource.CLOSED) setTimeout(() => listen({ onOpen, onLost, onEvent }), RETRY);
  });
}
