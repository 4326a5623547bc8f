// Which of the server's models this page is about.

import { getModels, useModel } from './api.js';

/** Offer the models where there are several: `?model=` says which one it is, else it is the first. */
export async function chooseModel(label, select) {
  const models = await getModels();
  label.hidden = models.length < 2;
  if (label.hidden) return;
  const wanted = new URLSearchParams(location.search).get('model');
  const { name } = models.find((model) => model.name === wanted) ?? models[0];
  useModel(name);
  select.replaceChildren(...models.map((model) => new Option(model.name)));
  select.value = name;
  select.addEventListener('change', () => (location.search = new URLSearchParams({ model: select.value })));
}
