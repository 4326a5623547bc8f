// Copying a line of text.

import { announce } from './announce.js';

const CONFIRMED = 1500; // milliseconds

/** Copy an element's text and say so on the button. */
export async function copyText(element, button) {
  try {
    await navigator.clipboard.writeText(element.textContent); // needs HTTPS or localhost
  } catch {
    getSelection().selectAllChildren(element);
    if (!document.execCommand('copy')) return; // selected at least: Ctrl-C copies it
  }
  button.textContent = 'Copied';
  announce('copy', 'Copied.');
  setTimeout(() => (button.textContent = 'Copy'), CONFIRMED);
}
