// Asking about one image at a time: the newest question wins, whatever order the answers come in.

import { predict } from './api.js';

/**
 * `ask(image)` asks about an image and remembers it; `again()` asks about it once more; `forget()` drops it. Each call
 * aborts the one before, and an answer is only handed on while its question is the newest. While `ready()` is false an
 * image is only remembered. Where the server says when to come back (Retry-After), the question is repeated by itself.
 */
export function createAsker({ ready, parameters, onAsk, onAnswer, onError }) {
  let image = null;
  let controller = null;
  let retry = 0;

  function stop() {
    controller?.abort();
    clearTimeout(retry);
  }

  async function again() {
    stop();
    if (image === null || !ready()) return;
    const mine = (controller = new AbortController());
    onAsk(image);
    try {
      const result = await predict(image, parameters(), mine.signal);
      if (!mine.signal.aborted) onAnswer(result, image);
    } catch (error) {
      if (mine.signal.aborted) return;
      onError(error);
      if (error.retryAfter) retry = setTimeout(again, error.retryAfter * 1000);
    }
  }

  return {
    again,
    ask(newImage) {
      image = newImage;
      return again();
    },
    forget() {
      stop();
      image = null;
    },
    get image() {
      return image;
    },
  };
}
