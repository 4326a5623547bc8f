// Where images come from: a file, the pad or the camera, one shown at a time.

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
  const images = { image: null, draw: null, camera: null }; // what each mode holds
  let mode = 'image';
  let newest = null; // the file that came last: one that took longer to read must not take its place
  let touched = false; // the person has done something; the page no longer picks a mode

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
    choosers: [$('choose'), $('choose-again')],
    overlay: $('drop'),
    onProblem,
    async onFile(file) {
      touched = true;
      newest = file;
      try {
        const image = await readFile(file);
        if (file !== newest) return;
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

  return {
    /** Show a mode, unless the person has picked or used one. */
    suggest(suggested) {
      if (!touched && mode !== suggested) enter(suggested);
    },
  };
}
