// Tensors: named arrays in, by a form or a file, and `{outputs: {name: nested lists}}` out, as tables.

import { html } from '../dom.js';
import { example, makeField, size } from '../fields.js';
import { formatMetric } from '../format.js';

const MOST_ROWS = 50;
const MOST_COLUMNS = 32;
const MOST_IN_COMMAND = 64; // values

export const parameters = {};

/** Draw the fields; return what reads them as the body of a request. */
export function createForm(container, { inputs }) {
  const fields = inputs.map((input, i) => makeField(input, `field-${i}`));
  container.replaceChildren(...fields.map((field) => field.element));
  return () => {
    const pairs = inputs.map(({ name }, i) => `${JSON.stringify(name)}: ${fields[i].read()}`);
    return new Blob([`{"inputs": {${pairs.join(', ')}}}`], { type: 'application/json' });
  };
}

export function command({ inputs }) {
  if (inputs.reduce((count, input) => count + size(input), 0) > MOST_IN_COMMAND) return '--data-binary @inputs.npz';
  const pairs = inputs.map((input) => `${JSON.stringify(input.name)}: ${example(input)}`);
  return `-d '${`{"inputs": {${pairs.join(', ')}}}`.replaceAll("'", "'\\''")}'`;
}

export function summarize({ outputs }) {
  const [[name, value]] = Object.entries(outputs);
  const flat = [value].flat(Infinity);
  const [first] = flat;
  if (flat.length > 1 || (first !== null && typeof first === 'object')) return `${name}, ${flat.length} values`;
  return flat.length ? `${name} ${format(first)}` : `${name}, empty`;
}

/** Draw a table for each output. */
export function render(container, { outputs }) {
  container.replaceChildren(...Object.entries(outputs).map(([name, value]) => html('section', { class: 'output' },
    html('h3', {}, name), html('div', { class: 'table-scroll', tabindex: 0, role: 'region', 'aria-label': name }, draw(value)))));
}

function draw(value) {
  const rows = toRows(value);
  if (!rows) return html('pre', { class: 'json' }, pretty(value));
  if (rows.length === 0) return html('p', { class: 'muted' }, 'empty');
  if (rows.length === 1 && rows[0].length === 1 && rows[0][0][0] === '') return html('p', { class: 'scalar' }, format(rows[0][0][1]));
  return rows.length === 1 ? down(rows[0]) : across(rows);
}

/** JSON with the innermost lists in one line each. */
function pretty(value, indent = '') {
  if (!Array.isArray(value) || row(value)) return JSON.stringify(value);
  const inner = `${indent} `;
  return `[\n${value.map((each) => inner + pretty(each, inner)).join(',\n')}\n${indent}]`;
}

/** One row is easier to read as a column. */
function down(row) {
  return table(null, row.slice(0, MOST_ROWS).map(([key, value]) => [key, value]), row.length - MOST_ROWS);
}

function across(rows) {
  const keys = rows[0].slice(0, MOST_COLUMNS).map(([key]) => key);
  const body = rows.slice(0, MOST_ROWS).map((row, i) => [String(i), ...row.slice(0, MOST_COLUMNS).map(([, value]) => value)]);
  return table(keys.join('') === '' ? null : ['', ...keys], body, rows.length - MOST_ROWS);
}

function table(head, body, left) {
  const cell = (value) => html('td', { class: typeof value === 'number' ? 'number' : null, title: typeof value === 'number' ? value : null },
    format(value));
  return html('table', {},
    head && html('thead', {}, html('tr', {}, ...head.map((key) => html('th', { scope: 'col' }, key)))),
    html('tbody', {}, ...body.map(([key, ...values]) => html('tr', {}, html('th', { scope: 'row' }, key), ...values.map(cell)))),
    left > 0 ? html('caption', {}, `and ${left} more`) : null);
}

/** An output as rows of [key, value], or nothing if it has more than two dimensions. */
function toRows(value) {
  if (!Array.isArray(value)) return [row(value)];
  const rows = value.map(row);
  return rows.every(Boolean) ? rows : null;
}

function row(value) {
  if (value === null || typeof value !== 'object') return [['', value]];
  const entries = Array.isArray(value) && value.length === 1 ? [['', value[0]]] : Object.entries(value); // of a list, its indices
  return entries.every(([, each]) => each === null || typeof each !== 'object') ? entries : null;
}

const format = (value) => (typeof value === 'number' || value === null ? formatMetric(value) : String(value));
