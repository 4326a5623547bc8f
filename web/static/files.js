// Images that come as files: chosen, dropped anywhere on the page, or pasted.

/** Call `onFile` with each file that arrives, `onProblem` with a sentence when what arrived was none. */
export function receiveFiles({ input, choosers, overlay, onFile, onProblem }) {
  for (const button of choosers) button.addEventListener('click', () => input.click());
  input.addEventListener('change', () => {
    if (input.files.length > 0) onFile(input.files[0]);
    input.value = ''; // so that choosing the same file again is a change
  });

  let depth = 0; // dragenter and dragleave come for every element on the way
  const cover = (change) => {
    depth = Math.max(0, depth + change);
    overlay.hidden = depth === 0;
  };
  const holds = (event, type) => event.dataTransfer.types.includes(type);
  addEventListener('dragenter', (event) => holds(event, 'Files') && cover(1));
  addEventListener('dragleave', (event) => holds(event, 'Files') && cover(-1));
  addEventListener('dragover', (event) => event.preventDefault());
  addEventListener('drop', (event) => {
    event.preventDefault(); // never leave the page for what was dropped on it
    cover(-depth);
    const [file] = event.dataTransfer.files;
    if (file) onFile(file);
    else if (holds(event, 'text/uri-list')) onProblem('That was a link, not a file. Copy the image itself and paste it.');
  });

  addEventListener('paste', (event) => {
    const [file] = event.clipboardData.files;
    if (event.target.closest?.('input, textarea')) return; // text, where text belongs
    if (file) onFile(file);
    else onProblem('The clipboard holds no image. Copy an image, not its address, and paste again.');
  });
}

/** The file's bytes, unchanged, in memory: a file on disk may be gone by the time it is asked again. */
export async function readFile(file) {
  try {
    return new Blob([await file.arrayBuffer()], { type: file.type });
  } catch {
    throw new Error(`${file.name || 'This'} can’t be read. Choose another file.`);
  }
}
