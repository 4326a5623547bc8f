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

/**
 * Fill the list; `metric` is the name of the metric that each row shows. Older versions that are `loaded` can be asked, `asked` is the
 * one that is, and the numbers of those in question are `data-ask` of a button.
 */
export function showVersions(list, versions, metric, { loaded, asked }) {
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.ask : null;
  list.replaceChildren(...[...versions].reverse().map((info) => row(info, metric, loaded, asked)));
  if (focused) list.querySelector(`[data-ask="${focused}"]`)?.focus();
}

function row(info, metric, loaded, asked) {
  const value = info.metrics?.[metric];
  const ask = info.state === 'retired' && loaded.includes(info.version);
  return html('li', { class: 'version', 'data-state': info.state },
    html('span', { class: 'badge' }, versionName(info) || '–'),
    html('span', { class: 'version-progress' }, progressName(info)),
    html('span', { class: 'version-metric', title: metric }, typeof value === 'number' ? formatMetric(value) : ''),
    ask
      ? html('button', { type: 'button', class: 'ask', 'data-ask': info.version, 'aria-pressed': String(asked === info.version),
        title: `Still loaded: ask version ${info.version} about the same` }, 'Ask')
      : html('span', { class: 'state' }, info.state),
    html('span', { class: 'version-age muted' }, age(info)),
    info.reason ? html('p', { class: 'reason' }, info.reason) : null);
}
