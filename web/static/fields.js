// Fields for the arrays that a model takes: one a value where they are few, else a text area for nested lists in JSON.

import { html } from './dom.js';

const MOST_FIELDS = 16;
const MOST_SHOWN = 256; // values of an example

/** `float32 [N, 4]`, where N is any length. */
export const describe = ({ dtype, shape }) => `${dtype} [${shape.map((side) => side ?? 'N').join(', ')}]`;

/** Zeros, false or empty strings as nested lists in JSON, of length 1 along each side that may have any. */
export function example({ dtype, shape }) {
  const zero = dtype === 'string' ? '""' : dtype === 'bool' ? 'false' : '0';
  return shape.reduceRight((inner, side) => `[${Array(side ?? 1).fill(inner).join(', ')}]`, zero);
}

/** How many values an example has. */
export const size = ({ shape }) => shape.reduce((count, side) => count * (side ?? 1), 1);

/**
 * Make the fields of one input: `{ element, read }`, where `read()` returns its value as JSON text, so that no digit of a
 * 64-bit number is lost, or throws an Error that says what is missing.
 */
export function makeField(input, id) {
  const one = input.shape.slice(0, -1).every((side) => side === null || side === 1); // row
  const few = one && input.shape.at(-1) !== null && size(input) <= MOST_FIELDS && size(input) > 0;
  const { elements, read } = few ? values(input) : text(input, id);
  const element = html('fieldset', { class: 'field' },
    html('legend', {}, html('strong', {}, input.name), html('span', { class: 'muted' }, ` ${describe(input)}`)), ...elements);
  return { element, read };
}

function values(input) {
  const count = size(input);
  const controls = Array.from({ length: count }, (_, i) => control(input, count > 1 ? `${input.name} ${i}` : input.name));
  const labelled = controls.map((each, i) => count > 1 ? html('label', {}, html('span', { class: 'muted' }, String(i)), each) : each);
  const depth = input.shape.length;
  return {
    elements: [html('div', { class: count > 1 ? 'values' : 'value' }, ...labelled)],
    read: () => '['.repeat(depth) + controls.map((each) => readValue(input, each)).join(', ') + ']'.repeat(depth),
  };
}

function control({ dtype }, name) {
  if (dtype === 'bool') return html('input', { type: 'checkbox', 'aria-label': name });
  if (dtype === 'string') return html('input', { type: 'text', 'aria-label': name, autocomplete: 'off' });
  return html('input', { type: 'number', step: 'any', value: '0', 'aria-label': name });
}

function readValue({ name, dtype }, { type, value, checked, validity }) {
  if (type === 'checkbox') return String(checked);
  if (type === 'text') return JSON.stringify(value);
  if (validity.badInput) throw new Error(`“${name}” should be numbers.`);
  if (value === '') {
    if (dtype.includes('float')) return 'null'; // a missing value: NaN
    throw new Error(`“${name}” needs a number in each field.`);
  }
  return /^-?\d+$/.test(value) ? String(BigInt(value)) : JSON.stringify(Number(value));
}

function text(input, id) {
  const shown = size(input) <= MOST_SHOWN;
  const area = html('textarea', { id, rows: Math.min(8, 2 + Math.floor(size(input) / 24)), spellcheck: 'false', 'aria-label': input.name });
  area.value = shown ? example(input) : '';
  area.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) area.form.requestSubmit();
  });
  const note = shown ? 'Nested lists in JSON' : `${size(input)} values in nested lists, in JSON; a file is quicker`;
  return {
    elements: [area, html('p', { class: 'caption muted' }, note)],
    read() {
      try {
        JSON.parse(area.value);
      } catch {
        throw new Error(`“${input.name}” should be nested lists in JSON, such as ${shown ? example(input) : '[[0, 0], [0, 0]]'}.`);
      }
      return area.value;
    },
  };
}
