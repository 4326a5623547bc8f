// The preview of the image that is asked, upright, with its name and size.

import { $ } from './dom.js';
import { formatBytes } from './format.js';

/** Show an image's bytes on the stage in place of the invitation to choose one. */
export function showPicture(image, name) {
  const preview = $('preview');
  const describe = (...more) => {
    $('caption').textContent = [name || 'Pasted image', ...more, formatBytes(image.size)].join(' · ');
  };
  URL.revokeObjectURL(preview.src);
  preview.onload = () => {
    preview.hidden = false;
    describe(`${preview.naturalWidth} × ${preview.naturalHeight}`);
  };
  preview.onerror = () => ($('no-preview').hidden = false); // TIFF in most browsers, or no image at all
  preview.hidden = $('no-preview').hidden = true;
  describe();
  preview.src = URL.createObjectURL(image);
  $('picture').hidden = $('choose-again').hidden = false;
  $('choose').hidden = true;
}
