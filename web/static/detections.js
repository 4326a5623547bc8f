// Detections: `[{label, score, box, mask, keypoints}]`, best first, on the picture and in a list, filtered in the browser.

import { createActions, createSlider } from './controls.js';
import { fillWith, html } from './dom.js';
import { formatCount, formatPercent } from './format.js';
import { createLegend } from './legend.js';
import { createOverlay } from './overlay.js';
import { paintThings } from './paint.js';
import { createPalette } from './palette.js';
import { readMask } from './rle.js';

const LOWEST = 0.05; // the score from which the server is asked, so that the slider asks nothing
const MOST = 300;
const MOST_NAMED = 4; // labels in a summary

/** What /predict is asked with. */
export const parameters = { threshold: LOWEST, top_k: MOST };

/** Make what a task's module exports: `{render, clear, summarize}`. */
export function createDetections() {
  let threshold = 0.5;
  let answer = [];
  let things = []; // of the answer, best first
  let visible = []; // those that are shown now
  let chosen = new Set();
  let changed = () => {};

  const overlay = createOverlay({
    paint: (context, view) => paintThings(context, view, visible, { chosen }),
    onPoint: (point) => (point ? choose(find(point), { scroll: true }) : chooseFocused()),
  });
  const legend = createLegend({
    onToggle: update,
    onPoint: (label) => choose(visible.filter((thing) => thing.label === label)),
  });
  const slider = createSlider({
    name: 'Threshold', min: LOWEST, max: 1, step: 0.01, value: threshold, format: percent,
    onInput(value) {
      threshold = value;
      update();
      changed();
    },
  });
  const list = html('ol', { class: 'things', role: 'listbox', 'aria-label': 'Detections' });
  const nothing = html('p', { class: 'nothing muted' });
  const actions = createActions({ overlay, toJson: () => visible.map(({ index }) => answer[index]) });
  const root = html('div', { class: 'found' }, slider, legend.element, list, nothing, actions.element);

  function render(container, newAnswer, { card, image, stage, onChange }) {
    [answer, changed] = [newAnswer, onChange];
    const palette = createPalette(card.labels ?? []);
    things = answer.map((item, index) => toThing(item, index, palette));
    if (!container.contains(root)) container.replaceChildren(root);
    actions.offer(card.name, overlay.show(stage, image));
    update();
  }

  /** Show what the slider and the legend let through. */
  function update() {
    const passing = things.filter(({ score }) => score > threshold);
    visible = passing.filter(({ label }) => !legend.hidden.has(label));
    const counts = count(passing);
    legend.show([...new Map(things.map(({ label, colour }) => [label, colour]))]
      .map(([label, colour]) => ({ label, colour, amount: counts.get(label) ?? 0 })));
    fillWith(list, visible.length, makeRow);
    visible.forEach((thing, i) => fillRow(list.children[i], thing));
    rove(Math.max(0, rows().indexOf(document.activeElement)));
    list.hidden = visible.length === 0;
    nothing.hidden = !list.hidden;
    nothing.textContent = passing.length > 0 ? 'All labels are hidden.' : things.length === 0 ? 'Nothing was found.'
      : `Nothing scores more than ${percent(threshold)}. The best is ${things[0].label} with ${formatPercent(things[0].score)}.`;
    actions.note.textContent = things.length > 0 ? `${visible.length} of ${things.length}` : '';
    overlay.describe(summarize(answer));
    chooseFocused();
  }

  // -- the list, and what ties it to the picture -----------------------------------------------------------------------

  const rows = () => [...list.children];

  function makeRow() {
    return html('li', { class: 'thing', role: 'option', tabindex: -1 }, html('span', { class: 'swatch' }), html('span'),
      html('span', { class: 'muted' }), html('span', { class: 'score' }));
  }

  function fillRow(row, { label, score, colour, detail }) {
    row.style.setProperty('--colour', colour);
    [label, detail, formatPercent(score)].forEach((text, i) => (row.children[i + 1].textContent = text));
  }

  /** Make one row the one that Tab reaches. */
  function rove(index) {
    rows().forEach((row, i) => (row.tabIndex = i === index ? 0 : -1));
  }

  /** Bring some things out, on the picture and in the list. */
  function choose(some, { scroll = false } = {}) {
    chosen = new Set(some);
    rows().forEach((row, i) => row.setAttribute('aria-selected', String(chosen.has(visible[i]))));
    const row = list.children[visible.indexOf(some[0])];
    if (scroll && row) {
      list.scrollTop = Math.min(row.offsetTop, Math.max(list.scrollTop, row.offsetTop + row.offsetHeight - list.clientHeight));
    }
    overlay.redraw();
  }

  const thingsOf = (row) => visible.filter((_, i) => list.children[i] === row);
  const chooseFocused = () => choose(thingsOf(document.activeElement));

  list.addEventListener('focusin', ({ target }) => {
    rove(rows().indexOf(target));
    choose(thingsOf(target));
  });
  list.addEventListener('focusout', () => choose([]));
  list.addEventListener('pointerover', ({ target }) => choose(thingsOf(target.closest('li'))));
  list.addEventListener('pointerleave', chooseFocused);
  list.addEventListener('keydown', (event) => {
    const at = rows().indexOf(document.activeElement);
    const to = { ArrowUp: at - 1, ArrowDown: at + 1, Home: 0, End: visible.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    list.children[Math.min(Math.max(to, 0), visible.length - 1)].focus();
  });

  /** What is at a point: the smallest thing whose mask is there, or else whose box is. */
  function find({ x, y, near }) {
    const at = visible.filter(({ box }) => x > box.xmin - near && x < box.xmax + near && y > box.ymin - near && y < box.ymax + near);
    const inside = at.filter(({ mask }) => mask?.has(Math.floor(x), Math.floor(y)));
    return (inside.length > 0 ? inside : at).sort((a, b) => a.area - b.area).slice(0, 1);
  }

  /** `3 circles, 2 squares`, of those that the slider lets through. */
  function summarize(some) {
    const counts = [...count(some.filter(({ score }) => score > threshold))].sort(([, a], [, b]) => b - a);
    const words = counts.slice(0, MOST_NAMED).map(([label, number]) => formatCount(number, label));
    if (counts.length > MOST_NAMED) words.push(`${counts.length - MOST_NAMED} more kinds`);
    return words.join(', ') || `nothing above ${percent(threshold)}`;
  }

  return { render, clear: overlay.hide, summarize };
}

/** How many there are of each label. */
function count(things) {
  const counts = new Map();
  for (const { label } of things) counts.set(label, (counts.get(label) ?? 0) + 1);
  return counts;
}

function toThing({ label, score, box, mask, keypoints }, index, palette) {
  const [width, height] = [box.xmax - box.xmin, box.ymax - box.ymin];
  return {
    index, label, score, box, keypoints,
    mask: mask ? nonEmpty(readMask(mask)) : null,
    area: width * height,
    colour: palette(label),
    text: `${label} ${percent(score)}`,
    detail: `${Math.round(width)} × ${Math.round(height)}`,
  };
}

const percent = (score) => `${Math.round(100 * score)}%`;
const nonEmpty = (mask) => (mask.area > 0 ? mask : null);
