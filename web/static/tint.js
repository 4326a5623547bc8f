// Masks as coloured pictures: made once for a size, then drawn as often as it takes.

/**
 * Tint a mask with a colour: `{canvas, x, y}`, where it is to be drawn on a picture at `scale` times its size. Inside it is `fill`
 * opaque; its outline, `line` pixels wide, is opaque. The edge is smooth where the picture is larger than the mask.
 */
export function tintMask(mask, colour, { scale, line, fill }) {
  const { width, height, bounds } = mask;
  const crop = { // with a clear pixel around it, except where the picture ends: there is no edge
    x0: Math.max(0, bounds.x0 - 1), y0: Math.max(0, bounds.y0 - 1), x1: Math.min(width, bounds.x1 + 1), y1: Math.min(height, bounds.y1 + 1),
  };
  const x = Math.floor(crop.x0 * scale), y = Math.floor(crop.y0 * scale);
  const canvas = new OffscreenCanvas(Math.ceil(crop.x1 * scale) - x, Math.ceil(crop.y1 * scale) - y);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  const step = Math.max(1, Math.floor(0.5 / scale));
  const source = mask.toCanvas(crop, step);
  context.drawImage(source, crop.x0 * scale - x, crop.y0 * scale - y, source.width * step * scale, source.height * step * scale);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  outline(pixels, { sharpness: Math.max(1, scale / step), line, fill });
  context.putImageData(pixels, 0, 0);
  context.globalCompositeOperation = 'source-in';
  context.fillStyle = colour;
  context.fillRect(0, 0, canvas.width, canvas.height);
  return { canvas, x, y };
}

/** Make a blurred shape's edge sharp, and all that is further than `line` pixels from it `fill` opaque. */
function outline({ data, width, height }, { sharpness, line, fill }) {
  const inside = new Uint8ClampedArray(width * height);
  for (let i = 0; i < inside.length; i++) inside[i] = (data[4 * i + 3] - 127.5) * sharpness + 127.5;
  for (let y = 0, i = 0; y < height; y++) {
    const up = Math.min(y, line) * width, down = Math.min(height - 1 - y, line) * width;
    for (let x = 0; x < width; x++, i++) {
      const here = inside[i];
      if (here === 0) {
        data[4 * i + 3] = 0;
        continue;
      }
      const left = Math.min(x, line), right = Math.min(width - 1 - x, line);
      const core = Math.min(here, inside[i - up], inside[i + down], inside[i - left], inside[i + right]);
      data[4 * i + 3] = here - core * (1 - fill);
    }
  }
}
