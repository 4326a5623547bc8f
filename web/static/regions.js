// Regions: `[{label, score, mask}]`, as coloured areas of the picture, with each label's share of the pixels.

import { createActions, createSlider } from './controls.js';
import { html } from './dom.js';
import { formatPercent } from './format.js';
import { createLegend } from './legend.js';
import { createOverlay } from './overlay.js';
import { paintThings } from './paint.js';
import { createPalette } from './palette.js';
import { readMask } from './rle.js';

const MOST_NAMED = 3; // labels in a summary
const FILL = 0.8; // how opaque a region is within its outline

/** What /predict is asked with. */
export const parameters = { masks: 'rle' };

/** What curl sends. */
export const command = () => '-o answer.json --data-binary @image.jpg'; // masks are long to read

/** Make what a task's module exports: `{render, clear, summarize}`. */
export function createRegions() {
  let opacity = 0.6;
  let answer = [];
  let regions = []; // of the answer, largest first
  let chosen = new Set();

  const shown = () => regions.filter(({ label }) => !legend.hidden.has(label));
  const overlay = createOverlay({
    paint: (context, view) => paintThings(context, view, shown(), { chosen, opacity, fill: FILL }),
    onPoint: (point) => choose(point ? shown().filter(({ mask }) => mask.has(Math.floor(point.x), Math.floor(point.y))) : []),
  });
  const slider = createSlider({
    name: 'Opacity', min: 0, max: 1, step: 0.01, value: opacity, format: (value) => `${Math.round(100 * value)}%`,
    onInput(value) {
      opacity = value;
      overlay.redraw();
    },
  });
  const legend = createLegend({
    onToggle: update,
    onPoint: (label) => choose(shown().filter((region) => region.label === label)),
  });
  const actions = createActions({ overlay, toJson: () => answer.filter(({ label }) => !legend.hidden.has(label)) });
  const root = html('div', { class: 'found regions' }, slider, legend.element, actions.element);

  function render(container, newAnswer, { card, image, stage }) {
    answer = newAnswer;
    const palette = createPalette([...(card.labels ?? []), ...(card.stuff ?? []).slice(1)]);
    regions = answer.map((item) => toRegion(item, palette)).filter(({ area }) => area > 0).sort((a, b) => b.area - a.area);
    if (!container.contains(root)) container.replaceChildren(root);
    actions.offer(card.name, overlay.show(stage, image));
    update();
  }

  function update() {
    legend.show(toGroups(regions));
    overlay.describe(summarize(answer));
    choose([]);
  }

  function choose(some) {
    chosen = new Set(some);
    legend.mark(new Set(some.map(({ label }) => label)));
    overlay.redraw();
  }

  return { render, clear: overlay.hide, summarize };
}

/** `sky 41.2%, road 30.0%`, of the pixels. */
const summarize = (answer) =>
  toGroups(answer.map(({ label, mask }) => ({ label, mask: readMask(mask) }))).slice(0, MOST_NAMED)
    .map(({ label, share }) => `${label} ${formatPercent(share)}`).join(', ') || 'nothing';

function toRegion({ label, score, mask: encoded }, palette) {
  const mask = readMask(encoded);
  return { label, mask, area: mask.area, colour: palette(label), text: score === null ? label : `${label} ${Math.round(100 * score)}%` };
}

/** Regions by label, the largest first, as entries of a legend. */
function toGroups(regions) {
  const groups = new Map();
  for (const { label, colour, mask: { area, width, height } } of regions) {
    const group = groups.get(label) ?? { label, colour, count: 0, share: 0 };
    groups.set(label, { ...group, count: group.count + 1, share: group.share + area / (width * height) });
  }
  return [...groups.values()].filter(({ share }) => share > 0).sort((a, b) => b.share - a.share)
    .map((group) => ({ ...group, amount: (group.count > 1 ? `${group.count} · ` : '') + formatPercent(group.share) }));
}
