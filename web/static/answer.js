// The answer: what the model says, which version said it, and what earlier versions said about the same image.

import { age } from './age.js';
import { $, html } from './dom.js';
import { formatMetric, formatMilliseconds, joinFacts } from './format.js';
import { progressName, versionName } from './versions.js';

const REMEMBERED = 8;
const METRICS_SHOWN = 3;
let history = []; // {version, answer}, oldest first, all about `asked`
let asked = null;
let drawn = null; // the task that drew the answer on show

/** `v12  epoch 12 · accuracy 0.972 · 12 s ago`, as nodes. */
export function versionLine(info) {
  const metrics = Object.entries(info.metrics ?? {}).slice(0, METRICS_SHOWN);
  const facts = joinFacts([progressName(info), ...metrics.map(([name, value]) => `${name} ${formatMetric(value)}`)]);
  return [html('span', { class: 'badge' }, versionName(info)), facts ? `${facts}\u00a0· ` : '', age(info)];
}

/** Draw an answer with its task's module. */
export function showAnswer({ answer, version, timings }, { image, stage, task, card }) {
  if (task !== drawn) {
    clearPicture();
    [drawn, history] = [task, []];
  }
  remember(image, version, answer);
  task.render($('answer'), answer, { card, image, stage, onChange: () => showHistory(task) });
  showHistory(task);
  const total = timings.reduce((sum, [, ms]) => sum + ms, 0);
  $('timings').hidden = timings.length === 0;
  $('timings').textContent =
    joinFacts([formatMilliseconds(total), ...timings.map(([stage, ms]) => `${stage} ${formatMilliseconds(ms)}`)]);
}

/** Say something in place of an answer. */
export function showNoAnswer(title, text, { waiting = false } = {}) {
  asked = null;
  clearPicture();
  $('answer').replaceChildren(html('div', { class: waiting ? 'placeholder waiting' : 'placeholder' },
    html('strong', {}, title), html('p', { class: 'muted' }, text)));
  $('answer-version').replaceChildren();
  $('history').hidden = $('timings').hidden = true;
}

/** Take away what was drawn on a picture that is no longer there. */
export const clearPicture = () => drawn?.clear?.();

function remember(image, version, answer) {
  if (image !== asked) history = [];
  asked = image;
  history = [...history.filter((entry) => entry.version !== version), { version, answer }].slice(-REMEMBERED);
}

function showHistory({ summarize }) {
  $('history').hidden = history.length < 2;
  $('history').replaceChildren(html('h3', {}, 'The same input, version by version'),
    html('ol', {}, ...history.map(({ version, answer }) =>
      html('li', {}, html('span', { class: 'muted' }, `v${version}`), ` ${summarize(answer)}`))));
}
