// The legend: which colour is which label and how much of it there is. A click hides or shows a label; pointing at one brings it out.

import { fillWith, html } from './dom.js';

/**
 * Make a legend: `{element, hidden, show(entries), mark(labels)}`. An entry is `{label, colour, amount, share}`: words for how much there
 * is, and 0 to 1 where that is a share; what has no amount is not shown. `hidden` is the set of labels that are switched off.
 * `onToggle()` is called when it changes, `onPoint(label)` with the label that the pointer or the focus is on, or null.
 */
export function createLegend({ onToggle, onPoint }) {
  const hidden = new Set();
  const element = html('div', { class: 'legend', role: 'group', 'aria-label': 'Labels' });

  function make() {
    const name = html('span', { class: 'name' });
    const amount = html('span', { class: 'amount' });
    return html('button', { type: 'button' }, html('span', { class: 'swatch' }), name, amount, html('span', { class: 'share' }));
  }

  const labelOf = ({ target }) => target.closest('button')?.dataset.label ?? null;
  element.addEventListener('click', (event) => {
    const label = labelOf(event);
    if (label === null) return;
    if (!hidden.delete(label)) hidden.add(label);
    onToggle();
  });
  for (const kind of ['pointerover', 'focusin']) element.addEventListener(kind, (event) => onPoint(labelOf(event)));
  for (const kind of ['pointerleave', 'focusout']) element.addEventListener(kind, () => onPoint(null));

  return {
    element,
    hidden,
    show(entries) {
      fillWith(element, entries.length, make);
      entries.forEach(({ label, colour, amount, share }, i) => {
        const button = element.children[i];
        button.hidden = !amount;
        button.dataset.label = label;
        button.style.setProperty('--colour', colour);
        button.style.setProperty('--share', share ?? 0);
        button.setAttribute('aria-pressed', String(!hidden.has(label)));
        button.querySelector('.name').textContent = label;
        button.querySelector('.amount').textContent = amount;
      });
    },
    mark(labels) {
      for (const button of element.children) button.classList.toggle('marked', labels.has(button.dataset.label));
    },
  };
}
