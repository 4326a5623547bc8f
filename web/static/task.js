// One module per task draws its answers. Adding a task is adding tasks/<task>.js, which exports
//
//   parameters                          what /predict is asked with, e.g. { top_k: 5 }
//   render(container, answer, context)  draws an answer; context is { card, image, stage, onChange }: the model's card, the image's Blob,
//                                       the element that shows it, and what to call when `summarize` would now say something else
//   summarize(answer)                   the answer in a few words
//   clear()                             takes away what it drew on the stage, if it does that
//
// and, if it takes no images,
//
//   createForm(container, card)         draws the fields for a request; returns a function that reads them as a Blob, or throws an Error
//   command(card)                       what curl sends, in a shell's words
//
// `render` is called again with the same container for every newer answer, so it may reuse what it drew.

const json = {
  parameters: {},
  render(container, answer) {
    const text = document.createElement('pre');
    text.className = 'json';
    text.tabIndex = 0;
    text.textContent = JSON.stringify(answer, null, 2);
    container.replaceChildren(text);
  },
  summarize: (answer) => (Array.isArray(answer) ? `${answer.length} results` : 'answered'),
};

/** The module for a task; one that shows plain JSON where the page has none. */
export async function loadTask(task) {
  if (!/^[a-z0-9-]+$/.test(task)) return json;
  try {
    return await import(`./tasks/${task}.js`);
  } catch {
    return json;
  }
}
