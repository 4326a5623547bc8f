// The page: wires what comes in (images, the server's events) to what is shown.

import { announce } from './announce.js';
import { clearPicture, showAnswer, showNoAnswer, versionLine } from './answer.js';
import { address, getModel, getVersions } from './api.js';
import { createAsker } from './ask.js';
import { createChart } from './chart.js';
import { copyText } from './copy.js';
import { $ } from './dom.js';
import { formatMetric, joinFacts } from './format.js';
import { createInputs } from './inputs.js';
import { listen } from './live.js';
import { chooseModel } from './models.js';
import { loadTask } from './task.js';
import { coalesce } from './timing.js';
import { neverServed, showVersions } from './versions.js';

const FRESH = 1600; // milliseconds for which a swap is highlighted
const RETRY = 2000;

let model = null; // GET /model
let task = null; // its module
let serving = null; // the serving version's number
let versions = []; // GET /versions, oldest first
let loaded = []; // the numbers of the versions that can be asked
let asked = null; // the one of them that is asked instead of the newest
let answered = null; // the number of the version that gave the answer on show
let metric = null;
let shown = false; // the first /versions has been shown: what comes from now on is news
let connection = 'connecting'; // or 'live', or 'lost'
let reconnected = false; // and what the server is now has not been fetched since

// -- asking ------------------------------------------------------------------------------------------------------------

const asker = createAsker({
  ready: () => serving !== null && task !== null,
  parameters: () => (asked === null ? task.parameters : { ...task.parameters, version: asked }),
  onAsk: () => $('answer').setAttribute('aria-busy', 'true'),
  onAnswer(result, image) {
    settle();
    answered = result.version;
    showAnswer(result, { image, stage: inputs.stage, task, card: model.card });
    showAnswered();
    announce('answer', `${task.summarize(result.answer)}, says version ${result.version}.`);
    if (asked === null && result.version !== serving) refresh();
  },
  onError(error) {
    if (error.status === 404 && asked !== null) return askVersion(null); // it was dropped meanwhile
    settle(error.message);
    if (answered === null) showNoAnswer('No answer', 'The note below the input says why.');
  },
});

function ask(image) {
  problem('');
  if (image !== asker.image) {
    answered = null;
    clearPicture();
  }
  if (serving === null) showNone();
  asker.ask(image);
}

/** Ask a loaded version from now on, or the newest (null). */
function askVersion(version) {
  asked = version;
  showVersionList();
  asker.again();
}

$('versions').addEventListener('click', ({ target }) => {
  if (target.dataset.ask) askVersion(asked === Number(target.dataset.ask) ? null : Number(target.dataset.ask));
});
$('newest').addEventListener('click', () => askVersion(null));

function settle(sentence = '') {
  $('answer').removeAttribute('aria-busy');
  problem(sentence);
}

function problem(sentence) {
  $('problem').textContent = sentence;
  $('problem').hidden = sentence === '';
}

function showNone() {
  answered = null;
  if (serving === null) {
    showNoAnswer('Waiting for the first version', 'It appears here by itself as soon as training publishes one. ' +
      'What you choose or draw now is answered then.', { waiting: true });
  } else {
    showNoAnswer('Nothing asked yet', task?.createForm ? 'Fill in the form, or send a file.'
      : 'Choose an image, drop one, paste one, or draw.');
  }
}

const inputs = createInputs({
  onImage: ask, // also when it is shown again: the answer always belongs to the picture beside it
  onEmpty() {
    asker.forget();
    settle();
    showNone();
  },
  onProblem: problem,
});

// -- the server's life -------------------------------------------------------------------------------------------------

const refresh = coalesce(async () => {
  try {
    const known = await getVersions();
    const swapped = known.serving !== null && known.serving !== serving;
    if (swapped || (reconnected && known.serving !== null)) {
      model = await getModel();
      task = await loadTask(model.task);
      inputs.offer(task, model.card);
      showCommand();
    }
    ({ serving, loaded, versions } = known);
    if (asked === serving || !loaded.includes(asked)) asked = null;
    showModel();
    if (swapped && shown) showSwap();
    shown = true;
    if (serving === null || !asker.image) {
      if (answered === null || reconnected) showNone();
    } else if (swapped || reconnected) {
      asker.again();
    }
    reconnected = false;
  } catch {
    if (connection === 'live') setTimeout(refresh, RETRY); // else the next connection fetches it
  }
});

const listener = {
  onOpen() {
    reconnected ||= connection === 'lost';
    showConnection('live', 'Live');
    refresh();
  },
  onLost() {
    showConnection('lost', 'The server is away. Trying again…');
  },
  onEvent({ kind, info }) {
    if (kind === 'rejected' || kind === 'refused') {
      announce(kind, `${info.version > 0 ? `Version ${info.version}` : 'A version'} was ${kind}: ${info.reason}`);
    }
    refresh();
  },
};
document.addEventListener('visibilitychange', () => document.hidden || refresh());

function showConnection(status, text) {
  connection = status;
  $('connection').dataset.status = status;
  $('connection').textContent = text;
}

// -- what is shown -----------------------------------------------------------------------------------------------------

function find(number) {
  return versions.findLast((info) => info.version === number && !neverServed(info));
}

function showModel() {
  const info = find(serving);
  $('serving').hidden = !info;
  if (info) $('serving').replaceChildren(...versionLine({ ...info, metrics: {} }));
  if (model) {
    const { name, card, runtime } = model;
    document.title = serving === null ? name : `${name} v${serving}`;
    $('name').textContent = name;
    $('about').textContent = joinFacts([
      model.task.replaceAll('-', ' '),
      card.source.model === name ? null : card.source.model,
      card.input?.width ? `${card.input.width} × ${card.input.height}` : null, // 0: any size
      card.inputs?.length > 1 ? `${card.inputs.length} inputs` : null,
      card.labels?.length > 0 ? `${card.labels.length} classes` : null,
      runtime.device,
    ]);
    if (isHandwriting(card)) inputs.suggest('draw');
  }
  showMetric();
  showAnswered();
  const count = versions.length;
  $('versions-count').textContent = count === 0 ? 'none yet' : String(count);
}

/** Labels that are all single characters ask to be written. */
const isHandwriting = ({ labels = [] }) => labels.length > 1 && labels.every((label) => [...label].length === 1);

function showSwap() {
  const element = $('serving');
  element.classList.remove('fresh');
  void element.offsetWidth; // restarts the animation
  element.classList.add('fresh');
  setTimeout(() => element.classList.remove('fresh'), FRESH);
  const info = find(serving);
  const value = info?.metrics?.[metric];
  const score = typeof value === 'number' ? `, ${metric} ${formatMetric(value)}` : '';
  announce('swap', `Version ${serving} is serving now${score}.`);
}

/** Say which version gave the answer on show. */
function showAnswered() {
  if (answered === null) return;
  const info = find(answered) ?? { version: answered, epoch: null, step: null, metrics: {}, seen: Date.now() / 1000 };
  $('answer-version').replaceChildren(...versionLine(info));
}

function showMetric() {
  const names = [...new Set(versions.flatMap((info) => Object.keys(info.metrics ?? {})))];
  if (!names.includes(metric)) metric = names.find((name) => /acc|f1|auc|map|iou|top/i.test(name)) ?? names[0] ?? null;
  const select = $('metric');
  $('metric-label').hidden = names.length < 2;
  $('metric-name').textContent = names.length === 1 ? metric : '';
  if ([...select.options].map((option) => option.value).join() !== names.join()) {
    select.replaceChildren(...names.map((name) => new Option(name, name)));
  }
  select.value = metric ?? '';
  chart.update(versions, metric);
  showVersionList();
}

function showVersionList() {
  $('newest').hidden = asked === null;
  showVersions($('versions'), versions, metric, { loaded, asked });
}

const chart = createChart($('chart'));
$('metric').addEventListener('change', ({ target }) => {
  metric = target.value;
  showMetric();
});

function showCommand() {
  const body = task?.command ? task.command(model.card) : '--data-binary @image.jpg';
  $('curl').textContent = `curl ${body} ${new URL(address('predict'), document.baseURI)}`;
}

$('copy').addEventListener('click', () => copyText($('curl').textContent, $('copy')));

async function start() {
  try {
    await chooseModel($('model-label'), $('model'));
  } catch {
    listener.onLost();
    setTimeout(start, RETRY);
    return;
  }
  for (const link of document.querySelectorAll('[data-own]')) link.href = address(link.dataset.own);
  showCommand();
  listen(listener);
  refresh();
}

start();
