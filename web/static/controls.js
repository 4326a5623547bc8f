// Controls below an answer that is drawn on the picture.

import { copyText, sayOn } from './copy.js';
import { html } from './dom.js';

/** A slider with its name and its value in words; `onInput(value)` is called while it moves. */
export function createSlider({ name, min, max, step, value, format, onInput }) {
  const input = html('input', { type: 'range', min, max, step, value });
  const output = html('output', {}, format(value));
  input.addEventListener('input', () => {
    output.textContent = format(input.valueAsNumber);
    onInput(input.valueAsNumber);
  });
  return html('label', { class: 'slider' }, html('span', {}, name), input, output);
}

/** Buttons that save the picture with its overlay, and copy what `toJson()` returns; `offer(name, shown)` is for each new answer. */
export function createActions({ overlay, toJson }) {
  const save = html('button', { type: 'button', disabled: true }, 'Save picture');
  const copy = html('button', { type: 'button' }, 'Copy JSON');
  const note = html('p', { class: 'caption muted' });
  let name = '';
  save.addEventListener('click', async () => {
    try {
      download(await overlay.toFile(), `${name}.png`);
      sayOn(save, 'Saved');
    } catch {
      sayOn(save, 'Too large'); // for this browser's canvas
    }
  });
  copy.addEventListener('click', () => copyText(JSON.stringify(toJson(), null, 2), copy));
  return {
    element: html('div', { class: 'toolbar' }, save, copy, note),
    note,
    /** Name the file; a picture that the browser can't show can't be saved. */
    async offer(fileName, shown) {
      name = fileName;
      save.disabled = !(await shown);
    },
  };
}

function download(blob, name) {
  const href = URL.createObjectURL(blob);
  html('a', { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000); // when it has surely begun
}
