// Image classification: `[{label, score}]`, best first, as bars.

import { fillWith, html } from '../dom.js';
import { formatPercent } from '../format.js';

export const parameters = {}; // the best five, or all where there are fewer

export const summarize = ([best]) => (best ? `${best.label} ${formatPercent(best.score)}` : 'no class');

/** Draw the classes as bars. Rows are reused by rank, so that a bar grows or shrinks from one answer to the next. */
export function render(container, answer) {
  let list = container.querySelector('.bars');
  if (!list) container.replaceChildren((list = html('ol', { class: 'bars', 'aria-label': 'Top classes' })));
  fillWith(list, answer.length, row);
  answer.forEach(({ label, score }, rank) => {
    const [name, percent, track] = list.children[rank].children;
    name.textContent = label;
    percent.textContent = formatPercent(score);
    track.firstChild.style.width = `${100 * score}%`;
  });
}

function row() {
  return html('li', { class: 'bar' },
    html('span', { class: 'bar-label' }),
    html('span', { class: 'bar-score' }),
    html('span', { class: 'bar-track', 'aria-hidden': 'true' }, html('span', { class: 'bar-fill' })));
}
