// A line of one metric over the versions. Pointing at it, or the arrow keys, reads out a version's value.

import { html, svg } from './dom.js';
import { formatMetric } from './format.js';
import { neverServed, progressName, versionName } from './versions.js';

const HEIGHT = 240;
const MARGIN = { top: 28, right: 20, bottom: 30, left: 52 };
const DOT_SPACING = 9; // pixels between versions below which single dots would run into each other

/** Make an element a chart; `update(versions, metric)` draws it anew. */
export function createChart(container) {
  const drawing = svg('svg', { 'aria-hidden': 'true', height: HEIGHT, width: '100%' });
  const tip = html('div', { class: 'tip', hidden: true });
  const plot = html('div', { class: 'plot', role: 'slider', tabindex: 0, 'aria-valuemin': 1 }, drawing, tip);
  const empty = html('p', { class: 'placeholder muted' });
  let points = []; // {info, value, x, y}
  let metric = null;
  let versions = [];
  let chosen = -1;

  function draw() {
    const width = plot.clientWidth;
    if (!width || plot.hidden) return;
    const values = versions.map((info) => valueOf(info, metric));
    const scale = niceScale(values.filter((value) => value !== null));
    const right = width - MARGIN.right, bottom = HEIGHT - MARGIN.bottom;
    const step = versions.length > 1 ? (right - MARGIN.left) / (versions.length - 1) : 0;
    const x = (i) => (step ? MARGIN.left + i * step : (MARGIN.left + right) / 2);
    const y = (value) => bottom - ((value - scale.low) / (scale.high - scale.low)) * (bottom - MARGIN.top);
    points = versions.map((info, i) => ({ info, value: values[i], x: x(i), y: values[i] === null ? bottom : y(values[i]) }));

    const line = points.filter(({ info, value }) => value !== null && !neverServed(info));
    const path = line.map((point) => `${point.x.toFixed(1)},${point.y.toFixed(1)}`).join('L');
    drawing.replaceChildren(
      ...scale.ticks.map((tick) => svg('g', {},
        svg('line', { class: 'grid', x1: MARGIN.left, x2: right, y1: y(tick), y2: y(tick) }),
        svg('text', { class: 'tick', x: MARGIN.left - 10, y: y(tick), dy: '0.32em', 'text-anchor': 'end' },
          formatMetric(tick)))),
      ...columns(points.length, step).map((i) =>
        svg('text', { class: 'tick', x: x(i), y: HEIGHT - 8, 'text-anchor': 'middle' }, versionName(versions[i]))),
      ...(line.length > 1
        ? [svg('path', { class: 'area', d: `M${path}L${line.at(-1).x},${bottom}L${line[0].x},${bottom}Z` }),
           svg('path', { class: 'line', d: `M${path}` })]
        : []),
      ...(step > DOT_SPACING ? line.slice(0, -1).map((p) => svg('circle', { class: 'dot', cx: p.x, cy: p.y, r: 2.5 })) : []),
      ...points.filter(({ info }) => neverServed(info)).map(cross),
      ...(line.length > 0 ? lastPoint(line.at(-1), right) : []));
    read(chosen < points.length ? chosen : -1);
  }

  /** Show what version `i` scored; -1 shows nothing. */
  function read(i) {
    chosen = i;
    drawing.querySelector('.chosen')?.remove();
    tip.hidden = i < 0;
    const last = points.findLastIndex(({ value }) => value !== null);
    const spoken = points[i < 0 ? last : i];
    if (spoken) {
      plot.setAttribute('aria-valuemax', points.length);
      plot.setAttribute('aria-valuenow', points.indexOf(spoken) + 1);
      plot.setAttribute('aria-valuetext', describe(spoken).join(', '));
    }
    if (i < 0) return;
    const { x, y } = points[i];
    drawing.append(svg('g', { class: 'chosen' },
      svg('line', { x1: x, x2: x, y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom }),
      svg('circle', { cx: x, cy: y, r: 5 })));
    const [value, ...rest] = describe(points[i]);
    tip.replaceChildren(html('strong', {}, value), html('span', {}, rest.join(' · ')));
    const half = tip.offsetWidth / 2;
    tip.style.left = `${Math.min(Math.max(x, half), plot.clientWidth - half)}px`;
    tip.style.top = `${y}px`;
    tip.classList.toggle('below', y < MARGIN.top + tip.offsetHeight);
  }

  const describe = ({ info, value }) => [
    value === null ? `no ${metric}` : `${metric} ${formatMetric(value)}`,
    ...[versionName(info), progressName(info), neverServed(info) ? info.state : ''].filter(Boolean),
  ];

  const nearest = (event) => {
    const x = event.clientX - plot.getBoundingClientRect().left;
    return points.reduce((best, point, i) => (Math.abs(point.x - x) < Math.abs(points[best].x - x) ? i : best), 0);
  };
  for (const kind of ['pointerdown', 'pointermove']) {
    plot.addEventListener(kind, (event) => points.length > 0 && read(nearest(event)));
  }
  plot.addEventListener('pointerleave', () => read(-1));
  plot.addEventListener('focus', () => plot.matches(':focus-visible') && read(points.length - 1));
  plot.addEventListener('blur', () => read(-1));
  plot.addEventListener('keydown', (event) => {
    const moves = { ArrowLeft: chosen - 1, ArrowRight: chosen + 1, Home: 0, End: points.length - 1 };
    if (!(event.key in moves) || points.length === 0) return;
    event.preventDefault();
    read(Math.min(Math.max(moves[event.key], 0), points.length - 1));
  });
  new ResizeObserver(draw).observe(plot);
  container.replaceChildren(plot, empty);

  return {
    update(newVersions, newMetric) {
      [versions, metric] = [newVersions, newMetric];
      plot.hidden = metric === null;
      empty.hidden = metric !== null;
      empty.textContent = versions.length > 0
        ? 'These versions came without metrics. hook.step(accuracy=0.93) adds one.'
        : 'Each version adds a point here.';
      plot.setAttribute('aria-label', `${metric} over the versions`);
      draw();
    },
  };
}

function valueOf(info, metric) {
  const value = info.metrics?.[metric];
  return typeof value === 'number' ? value : null;
}

const cross = ({ x, y }) =>
  svg('path', { class: 'cross', d: `M${x - 4},${y - 4}l8,8m0,-8l-8,8` });

function lastPoint({ x, y, value }, right) {
  const anchor = x > right - 30 ? 'end' : 'middle';
  return [
    svg('circle', { class: 'halo', cx: x, cy: y, r: 9 }),
    svg('circle', { class: 'last', cx: x, cy: y, r: 4.5 }),
    svg('text', { class: 'last-value', x: anchor === 'end' ? right + 8 : x, y: y - 16, 'text-anchor': anchor },
      formatMetric(value)),
  ];
}

/** Which versions get a label below the axis: the last one, and others as far as they fit. */
function columns(count, step) {
  const every = Math.max(1, Math.ceil(44 / (step || 44)));
  return Array.from({ length: count }, (_, i) => i).filter((i) => (count - 1 - i) % every === 0);
}

/** Round ends and three to six ticks (steps of 1, 2 or 5 times a power of ten) around some values. */
function niceScale(values) {
  let low = Math.min(...values), high = Math.max(...values);
  if (values.length === 0) [low, high] = [0, 1];
  if (low === high) [low, high] = [low - (Math.abs(low) || 1) * 0.1, high + (Math.abs(high) || 1) * 0.1];
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
  const first = Math.floor(low / step + 1e-9), last = Math.ceil(high / step - 1e-9);
  const ticks = Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
  return { low: ticks[0], high: ticks.at(-1), ticks };
}
