// The answer: what the model says, which version said it, and what earlier versions said about the same image.

import { age } from './age.js';
import { $, html } from './dom.js';
import { formatMetric, formatMilliseconds, joinFacts } from './format.js';
import { progressName, versionName } from './versions.js';

const REMEMBERED = 8;
const METRICS_SHOWN = 3;
let history = []; // {version, words}, oldest first, all about `asked`
let asked = null;

/** `v12  epoch 12 · accuracy 0.972 · 12 s ago`, as nodes. */
export function versionLine(info) {
  const metrics = Object.entries(info.metrics ?? {}).slice(0, METRICS_SHOWN);
  const facts = joinFacts([progressName(info), ...metrics.map(([name, value]) => `${name} ${formatMetric(value)}`)]);
  return [html('span', { class: 'badge' }, versionName(info)), facts ? `${facts}\u00a0· ` : '', age(info)];
}

/** Draw an answer with its task's module. */
export function showAnswer({ answer, version, timings }, image, task, card) {
  task.render($('answer'), answer, { card, image });
  remember(image, version, task.summarize(answer));
  const total = timings.reduce((sum, [, ms]) => sum + ms, 0);
  $('timings').hidden = timings.length === 0;
  $('timings').textContent =
    joinFacts([formatMilliseconds(total), ...timings.map(([stage, ms]) => `${stage} ${formatMilliseconds(ms)}`)]);
}

/** Say something in place of an answer. */
export function showNoAnswer(title, text, { waiting = false } = {}) {
  asked = null;
  $('answer').replaceChildren(html('div', { class: waiting ? 'placeholder waiting' : 'placeholder' },
    html('strong', {}, title), html('p', { class: 'muted' }, text)));
  $('answer-version').replaceChildren();
  $('history').hidden = $('timings').hidden = true;
}

function remember(image, version, words) {
  if (image !== asked) history = [];
  asked = image;
  history = [...history.filter((entry) => entry.version !== version), { version, words }].slice(-REMEMBERED);
  $('history').hidden = history.length < 2;
  $('history').replaceChildren(html('h3', {}, 'The same input, version by version'),
    html('ol', {}, ...history.map((entry) =>
      html('li', {}, html('span', { class: 'muted' }, `v${entry.version}`), ` ${entry.words}`))));
}
