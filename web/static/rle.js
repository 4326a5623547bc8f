// Masks in COCO's compressed run-length encoding: `{size: [height, width], counts}`. Pixels are counted down the columns, from
// left to right; runs of pixels outside and inside of the mask take turns. Nothing is kept but where the runs end, so a mask
// costs little, whatever the picture's size.

const known = new WeakMap(); // an answer is drawn again and again

/**
 * Read a mask: `{width, height, area, bounds, spot, has(x, y), toCanvas()}`. `bounds` is `{x0, y0, x1, y1}`, in pixels, the last
 * two exclusive; `spot` is `[x, y]`, a pixel inside of the mask, its middle if that is one, or null where it is empty.
 */
export function readMask(mask) {
  if (!known.has(mask)) known.set(mask, decode(mask));
  return known.get(mask);
}

function decode({ size: [height, width], counts }) {
  const ends = Uint32Array.from(runEnds(counts)); // even: of a run outside, odd: inside
  const bounds = { x0: width, y0: height, x1: 0, y1: 0 };
  let area = 0, longest = 0, spot = null, sumX = 0, sumY = 0;
  for (let i = 1; i < ends.length; i += 2) {
    const length = ends[i] - ends[i - 1];
    area += length;
    eachColumn(ends[i - 1], ends[i], height, (x, y0, y1) => {
      bounds.x0 = Math.min(bounds.x0, x);
      bounds.x1 = Math.max(bounds.x1, x + 1);
      bounds.y0 = Math.min(bounds.y0, y0);
      bounds.y1 = Math.max(bounds.y1, y1);
      sumX += x * (y1 - y0);
      sumY += ((y0 + y1 - 1) / 2) * (y1 - y0);
      if (y1 - y0 > longest) [longest, spot] = [y1 - y0, [x, (y0 + y1) >> 1]];
    });
  }

  /** Whether a pixel is inside. */
  function has(x, y) {
    if (x < 0 || y < 0 || x >= width || y >= height) return false;
    const at = x * height + y;
    let low = 0, high = ends.length; // the first run that ends behind the pixel
    while (low < high) {
      const middle = (low + high) >> 1;
      if (ends[middle] > at) high = middle;
      else low = middle + 1;
    }
    return low < ends.length && low % 2 === 1;
  }

  const middle = [Math.round(sumX / area), Math.round(sumY / area)];
  if (area > 0 && has(...middle)) spot = middle;
  return {
    width, height, area, bounds, spot, has,

    /** A canvas of the pixels from (x0, y0) to (x1, y1), opaque inside of the mask and clear outside, every `step`-th of them. */
    toCanvas({ x0, y0, x1, y1 }, step = 1) {
      const canvas = new OffscreenCanvas(Math.ceil((x1 - x0) / step), Math.ceil((y1 - y0) / step));
      const pixels = new ImageData(canvas.width, canvas.height);
      const words = new Uint32Array(pixels.data.buffer);
      for (let i = 1; i < ends.length; i += 2) {
        eachColumn(ends[i - 1], ends[i], height, (x, from, to) => {
          const column = (x - x0) / step;
          if (column % 1 !== 0) return;
          const last = Math.ceil((to - y0) / step);
          for (let row = Math.ceil((from - y0) / step); row < last; row++) words[row * canvas.width + column] = 0xffffffff;
        });
      }
      canvas.getContext('2d', { willReadFrequently: true }).putImageData(pixels, 0, 0);
      return canvas;
    },
  };
}

/** Where each run ends. Counts are numbers of 5-bit digits, least first, each the difference to the one two before it. */
function runEnds(counts) {
  const runs = [];
  const ends = [];
  for (let i = 0; i < counts.length;) {
    let value = 0, shift = 0, digit;
    do {
      digit = counts.charCodeAt(i++) - 48;
      value |= (digit & 31) << shift;
      shift += 5;
    } while (digit & 32);
    if (digit & 16 && shift < 32) value |= -1 << shift;
    if (runs.length > 2) value += runs.at(-2);
    runs.push(value);
    ends.push((ends.at(-1) ?? 0) + value);
  }
  return ends;
}

/** Call `visit(x, y0, y1)` for each column that a run of pixels reaches. */
function eachColumn(start, end, height, visit) {
  while (start < end) {
    const x = Math.floor(start / height);
    const stop = Math.min(end, (x + 1) * height);
    visit(x, start - x * height, stop - x * height);
    start = stop;
  }
}
