// Words for screen readers, in one polite live region.

import { $ } from './dom.js';

const PAUSE = 500; // milliseconds: drawing live gives many answers, only the last is worth saying
const waiting = new Map();
let timer = 0;

/** Say something about a topic; a newer sentence on the same topic takes the place of one not yet said. */
export function announce(topic, sentence) {
  waiting.set(topic, sentence);
  clearTimeout(timer);
  timer = setTimeout(() => {
    $('announcer').textContent = [...waiting.values()].join(' ');
    waiting.clear();
  }, PAUSE);
}
