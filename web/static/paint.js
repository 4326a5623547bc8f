// How things that were found in a picture are painted on it: masks, boxes, keypoints and their names, on screen and in a file.
//
// A thing is `{text, colour, area, box, mask, keypoints}`: `box` is `{xmin, ymin, xmax, ymax}`, `mask` what readMask gives, `keypoints`
// `[{label, x, y, score}]`, all in pixels of the picture, and each may be missing. A view is `{width, height, scale, unit, tints}`: the
// picture's size on the canvas, canvas pixels per pixel of the picture, and per CSS pixel; and a WeakMap that keeps tinted masks from
// frame to frame, if there is more than one.

import { INK } from './palette.js';
import { limbs } from './skeleton.js';
import { tintMask } from './tint.js';

const HALO = 'rgb(0 0 0 / 45%)'; // keeps lines apart from a picture of their own colour
const DIMMED = 0.2;
const SEEN = 0.05; // keypoints that score less are guesses
const LINE = 2, POINT = 3.5, TEXT = 12, TAG = 18; // CSS pixels

/**
 * Paint things, given best first, the larger ones below the smaller ones. Those in the set `chosen`, if any are, stand out. Masks
 * are `opacity` opaque. Names stand where they cover no better thing's name.
 */
export function paintThings(context, view, things, { chosen = new Set(), opacity = 1, fill = 0.4 } = {}) {
  const stands = (thing) => chosen.size === 0 || chosen.has(thing);
  for (const thing of [...things].sort((a, b) => stands(a) - stands(b) || b.area - a.area)) {
    const { canvas, x, y } = thing.mask ? tint(thing, view, fill) : {};
    context.globalAlpha = (stands(thing) ? 1 : DIMMED) * opacity;
    if (canvas) context.drawImage(canvas, x, y);
    context.globalAlpha = stands(thing) ? 1 : DIMMED;
    if (thing.box) paintBox(context, view, thing, chosen.has(thing) ? LINE + 1 : LINE);
    if (thing.keypoints) paintKeypoints(context, view, thing);
  }
  context.globalAlpha = 1;
  paintNames(context, view, things.filter(stands));
}

function tint(thing, { scale, unit, tints }, fill) {
  const known = tints?.get(thing);
  if (known?.scale === scale) return known;
  const made = { scale, ...tintMask(thing.mask, thing.colour, { scale, line: Math.max(1, Math.round(1.5 * unit)), fill }) };
  tints?.set(thing, made);
  return made;
}

function paintBox(context, { scale, unit }, { box, colour }, width) {
  const line = Math.max(1, Math.round(width * unit));
  const [x0, y0, x1, y1] = [box.xmin, box.ymin, box.xmax, box.ymax].map((side) => Math.round(side * scale));
  const middle = (line % 2) / 2; // a line of odd width is sharp between two pixels
  stroke(context, colour, line, unit, () => context.rect(x0 + middle, y0 + middle, x1 - x0, y1 - y0));
}

function paintKeypoints(context, { scale, unit }, { keypoints, colour }) {
  const seen = keypoints.filter((point) => point.score > SEEN);
  context.lineCap = 'round';
  stroke(context, colour, LINE * unit, unit, () => {
    for (const [from, to] of limbs(seen)) {
      context.moveTo(from.x * scale, from.y * scale);
      context.lineTo(to.x * scale, to.y * scale);
    }
  });
  for (const { x, y } of seen) {
    context.beginPath();
    context.arc(x * scale, y * scale, POINT * unit, 0, 2 * Math.PI);
    context.fillStyle = colour;
    context.fill();
    context.strokeStyle = INK;
    context.lineWidth = unit;
    context.stroke();
  }
}

function stroke(context, colour, line, unit, trace) {
  context.beginPath();
  trace();
  for (const [style, width] of [[HALO, line + 2 * Math.max(1, Math.round(unit))], [colour, line]]) {
    context.strokeStyle = style;
    context.lineWidth = width;
    context.stroke();
  }
}

function paintNames(context, view, things) {
  const { unit } = view;
  context.font = `600 ${TEXT * unit}px system-ui, sans-serif`;
  context.textBaseline = 'middle';
  const placed = [];
  for (const { text, colour, box, mask } of things) {
    const width = Math.ceil(context.measureText(text).width + 10 * unit), height = Math.round(TAG * unit);
    const place = box ? atCorner(box, view, width, height) : atSpot(mask.spot, view, width, height);
    if (placed.some(({ x, y, right, bottom }) => place.x < right && x < place.right && place.y < bottom && y < place.bottom)) continue;
    placed.push(place);
    context.beginPath();
    context.roundRect(place.x, place.y, width, height, 4 * unit);
    context.fillStyle = colour;
    context.fill();
    context.fillStyle = INK;
    context.fillText(text, place.x + 5 * unit, place.y + height / 2 + 0.5 * unit);
  }
}

/** On top of a box's upper left corner, or inside of it where there is no room on top. */
function atCorner({ xmin, ymin }, { scale, unit, ...view }, width, height) {
  const top = Math.round(ymin * scale) - unit;
  return within(view, Math.round(xmin * scale) - unit, top < height ? top : top - height, width, height);
}

function atSpot([x, y], { scale, ...view }, width, height) {
  return within(view, Math.round((x + 0.5) * scale - width / 2), Math.round((y + 0.5) * scale - height / 2), width, height);
}

function within(view, left, top, width, height) {
  const x = Math.max(0, Math.min(left, view.width - width)), y = Math.max(0, Math.min(top, view.height - height));
  return { x, y, right: x + width, bottom: y + height };
}
