// Ages that tick: every <time class="age"> on the page counts up by itself.

import { serverNow } from './api.js';
import { html } from './dom.js';
import { formatAge } from './format.js';

/** A <time> that says how long ago a version was made: its `created`, or when the server saw it. */
export function age(info) {
  const date = new Date(info.created ?? info.seen * 1000);
  return show(html('time', { class: 'age', datetime: date.toISOString(), title: date.toLocaleString() }));
}

function show(element) {
  const text = formatAge((serverNow() - Date.parse(element.dateTime)) / 1000);
  if (element.textContent !== text) element.textContent = text;
  return element;
}

setInterval(() => document.querySelectorAll('time.age').forEach(show), 1000);
