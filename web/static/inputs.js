// Where requests come from: an image's file, the pad or the camera, or a form for what is no image; one shown at a time.

import { createCamera, watchCameras } from './camera.js';
import { $ } from './dom.js';
import { readFile, receiveFiles } from './files.js';
import { createPad } from './pad.js';
import { showPicture } from './picture.js';
import { debounce } from './timing.js';

const PAUSE = 120; // milliseconds without a stroke after which a drawing is asked,
const LONGEST = 400; // and those after which it is asked even while strokes go on

/**
 * Wire the inputs. `onImage(image)` is called with the Blob that is on show whenever it changes, `onEmpty()` when there is
 * none, `onProblem(sentence)` when what came in is none.
 */
export function createInputs({ onImage, onEmpty, onProblem }) {
  const images = { image: null, draw: null, camera: null, form: null }; // what each mode holds
  let mode = 'image';
  let newest = null; // the file that came last: one that took longer to read must not take its place
  let touched = false; // the person has done something; the page no longer picks a mode

  let read = null; // reads the form's fields
  let drawn = null; // what the form was drawn for

  function hold(image) {
    images[mode] = image;
    if (image) onImage(image);
    else onEmpty();
  }

  function enter(newMode) {
    if (mode === 'camera') {
      camera.leave();
      images.camera = null;
    }
    mode = newMode;
    for (const panel of document.querySelectorAll('[data-panel]')) panel.hidden = panel.dataset.panel !== mode;
    for (const button of $('modes').children) button.setAttribute('aria-pressed', String(button.dataset.mode === mode));
    if (mode === 'camera') camera.start();
    hold(images[mode]);
  }

  $('modes').addEventListener('click', ({ target }) => {
    if (!target.dataset.mode) return;
    touched = true;
    enter(target.dataset.mode);
  });

  receiveFiles({
    input: $('file'),
    choosers: [$('choose'), $('choose-again'), $('choose-arrays')],
    overlay: $('drop'),
    onProblem,
    async onFile(file) {
      touched = true;
      newest = file;
      try {
        const image = await readFile(file);
        if (file !== newest) return;
        if (mode === 'form') return hold(image);
        images.image = image;
        showPicture(image, file.name);
        enter('image');
      } catch (error) {
        onProblem(error.message);
      }
    },
  });

  const holdDrawing = debounce(async () => {
    const image = await pad.toImage();
    if (pad.empty) return;
    images.draw = image;
    if (mode === 'draw') hold(image);
  }, PAUSE, LONGEST);

  const pad = createPad($('pad'), {
    onChange() {
      touched = true;
      if (pad.empty) hold(null);
      else holdDrawing();
    },
  });
  $('pad-clear').addEventListener('click', pad.clear);
  $('pad-undo').addEventListener('click', pad.undo);
  $('pad-pen').addEventListener('input', ({ target }) => (pad.penWidth = target.value / 100));
  $('pad-invert').addEventListener('click', ({ currentTarget: button }) => {
    const on = button.getAttribute('aria-pressed') !== 'true';
    button.setAttribute('aria-pressed', String(on));
    pad.invert(on);
  });

  const camera = createCamera({
    video: $('video'), still: $('still'), button: $('capture'), note: $('camera-note'), onCapture: hold,
  });
  watchCameras((available) => {
    $('modes').querySelector('[data-mode=camera]').hidden = !available;
    if (!available && mode === 'camera') enter('image');
  });

  document.querySelector('[data-panel=form]').addEventListener('submit', (event) => {
    event.preventDefault();
    newest = null;
    try {
      hold(read());
    } catch (error) {
      onProblem(error.message);
    }
  });

  return {
    /** The element that shows the image, as large as fits into it. */
    get stage() {
      return document.querySelector(`[data-panel=${mode}] .stage`);
    },

    /** Show the form of a task that takes no images, drawn anew where other arrays are taken than before. */
    offer(task, card) {
      const wanted = task.createForm ? JSON.stringify(card.inputs) : null;
      if (wanted === drawn) return;
      drawn = wanted;
      $('modes').hidden = wanted !== null;
      $('file').accept = wanted === null ? 'image/*' : '.npy,.npz,.json';
      if (wanted !== null) read = task.createForm($('fields'), card);
      images.form = null;
      enter(wanted === null ? 'image' : 'form');
    },

    /** Show a mode, unless the person has picked or used one. */
    suggest(suggested) {
      if (!touched && mode !== suggested) enter(suggested);
    },
  };
}
