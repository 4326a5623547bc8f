// The list of versions, newest first, with the reason of each one that never served.

import { age } from './age.js';
import { html } from './dom.js';
import { formatMetric } from './format.js';

const NEVER_SERVED = new Set(['rejected', 'refused']);

/** Whether a version was kept from serving: rejected by the server, or refused by the trainer. */
export const neverServed = (info) => NEVER_SERVED.has(info.state);

/** `v12`, or nothing for a version that the trainer refused: it has no number. */
export const versionName = (info) => (info.version > 0 ? `v${info.version}` : '');

/** `epoch 12`, or `step 1200`, or nothing. */
export function progressName(info) {
  if (Number.isInteger(info.epoch)) return `epoch ${info.epoch}`;
  return Number.isInteger(info.step) ? `step ${info.step}` : '';
}

/** Fill the list; `metric` is the name of the metric that each row shows. */
export function showVersions(list, versions, metric) {
  list.replaceChildren(...[...versions].reverse().map((info) => row(info, metric)));
}

function row(info, metric) {
  const value = info.metrics?.[metric];
  return html('li', { class: 'version', 'data-state': info.state },
    html('span', { class: 'badge' }, versionName(info) || '–'),
    html('span', { class: 'version-progress' }, progressName(info)),
    html('span', { class: 'version-metric', title: metric }, typeof value === 'number' ? formatMetric(value) : ''),
    html('span', { class: 'state' }, info.state),
    html('span', { class: 'version-age muted' }, age(info)),
    info.reason ? html('p', { class: 'reason' }, info.reason) : null);
}
