// Copying text.

import { announce } from './announce.js';

const CONFIRMED = 1500; // milliseconds

/** Copy a text and say so on the button. */
export async function copyText(text, button) {
  try {
    await navigator.clipboard.writeText(text); // needs HTTPS or localhost
  } catch {
    const give = (event) => {
      event.preventDefault();
      event.clipboardData.setData('text/plain', text);
    };
    document.addEventListener('copy', give);
    const copied = document.execCommand('copy');
    document.removeEventListener('copy', give);
    if (!copied) return sayOn(button, 'Not allowed here');
  }
  sayOn(button, 'Copied');
}

/** Say what became of a button's action, on the button for a moment, and aloud. */
export function sayOn(button, words) {
  button.dataset.name ??= button.textContent;
  button.textContent = words;
  announce('button', `${words}.`);
  setTimeout(() => (button.textContent = button.dataset.name), CONFIRMED);
}
