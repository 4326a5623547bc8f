// A canvas over the picture that was asked about, as sharp as the screen, with the pointer's place in the picture's own pixels.

import { html } from './dom.js';

const FILE_SIDE = 800; // pixels of a saved picture's longer side for which lines and letters are as large as on the page

/**
 * Make an overlay. `paint(context, view)` paints on the picture (paint.js says what a view is), whose upper left corner is the
 * origin, whenever the screen shows another frame; `onPoint(point)` is called with `{x, y, near}` while a pointer is on the picture, `near`
 * being the length of four CSS pixels there, and with null when it leaves.
 */
export function createOverlay({ paint, onPoint }) {
  const canvas = html('canvas', { class: 'overlay', role: 'img' });
  let stage = null; // the element that shows the picture, as large as fits into it
  let image = null; // the picture's file
  let size = null; // of the picture, upright, once it is known
  let frame = 0;
  let listening = new AbortController();
  const tints = new WeakMap();

  /** Where the picture is on the canvas. */
  function fit() {
    const scale = Math.min(canvas.width / size.width, canvas.height / size.height);
    const [width, height] = [size.width * scale, size.height * scale];
    const [x, y] = [Math.round((canvas.width - width) / 2), Math.round((canvas.height - height) / 2)];
    return { x, y, width, height, scale, unit: canvas.width / canvas.clientWidth, tints };
  }

  function draw() {
    frame = 0;
    const context = canvas.getContext('2d');
    context.reset();
    if (!size || !canvas.width || !canvas.clientWidth) return; // nothing to see yet
    const view = fit();
    context.translate(view.x, view.y);
    context.beginPath();
    context.rect(0, 0, view.width, view.height);
    context.clip();
    paint(context, view);
  }

  const redraw = () => void (frame ||= requestAnimationFrame(draw));

  function point(event) {
    if (!size) return;
    const { x, y, scale, unit } = fit();
    const box = canvas.getBoundingClientRect();
    const place = { x: ((event.clientX - box.left) * unit - x) / scale, y: ((event.clientY - box.top) * unit - y) / scale };
    const on = place.x >= 0 && place.y >= 0 && place.x < size.width && place.y < size.height;
    onPoint(on ? { ...place, near: (4 * unit) / scale } : null);
  }

  function attach() {
    listening.abort();
    listening = new AbortController();
    const { signal } = listening;
    for (const kind of ['pointerdown', 'pointermove']) stage.addEventListener(kind, point, { signal });
    stage.addEventListener('pointerleave', ({ pointerType }) => pointerType !== 'touch' && onPoint(null), { signal });
    stage.append(canvas);
  }

  const observer = new ResizeObserver(([{ contentRect, devicePixelContentBoxSize: [exact] = [] }]) => {
    canvas.width = toDevice(contentRect.width, exact?.inlineSize);
    canvas.height = toDevice(contentRect.height, exact?.blockSize);
    if (frame) cancelAnimationFrame(frame);
    draw(); // at once: a canvas that was resized is blank
  });
  try {
    observer.observe(canvas, { box: 'device-pixel-content-box' });
  } catch {
    observer.observe(canvas); // Safari
  }

  return {
    redraw,

    /** Say in words what is to be seen. */
    describe: (words) => canvas.setAttribute('aria-label', words),

    /** Show the overlay over a picture; return whether the browser can show that. */
    async show(newStage, newImage) {
      if (stage !== newStage) {
        stage = newStage;
        attach();
      }
      redraw();
      if (image === newImage) return size !== null;
      [image, size] = [newImage, null];
      try {
        const upright = await withPixels(newImage, ({ width, height }) => ({ width, height }));
        if (image === newImage) size = upright;
      } catch {
        return false; // TIFF in most browsers
      }
      redraw();
      return true;
    },

    /** Take the overlay away. */
    hide() {
      listening.abort();
      canvas.remove();
      stage = image = size = null;
    },

    /** The picture with what is painted on it, at its full size, as a PNG. */
    async toFile() {
      const copy = await withPixels(image, (bitmap) => {
        const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
        const context = canvas.getContext('2d');
        context.drawImage(bitmap, 0, 0);
        const { width, height } = canvas;
        paint(context, { width, height, scale: 1, unit: Math.max(0.5, Math.max(width, height) / FILE_SIDE) });
        return canvas;
      });
      return copy.convertToBlob({ type: 'image/png' });
    },
  };
}

/** CSS pixels as the screen's pixels: as the browser snaps them, where it says so and (emulating another screen) is to be believed. */
function toDevice(length, exact) {
  const about = length * devicePixelRatio;
  return Math.abs(exact - about) < 1 ? exact : Math.round(about);
}

/** What `use` makes of a picture's pixels, turned upright; they are freed then. */
async function withPixels(image, use) {
  const bitmap = await createImageBitmap(image, { imageOrientation: 'from-image' });
  try {
    return use(bitmap);
  } finally {
    bitmap.close();
  }
}
