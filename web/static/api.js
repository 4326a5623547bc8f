// The server's HTTP API, and the errors it can answer with.

/** What the server refused, in its own words. `status` is 0 when it could not be reached; `retryAfter` is in seconds. */
export class ApiError extends Error {
  constructor(message, status, retryAfter = null) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

const UNREACHABLE = 'The server can’t be reached.';
let skew = 0;
let base = ''; // where the model's own paths are

/** Milliseconds since the epoch by the server's clock, so that ages are right on a device whose clock is not. */
export const serverNow = () => Date.now() + skew;

/** From now on, ask this one of several models. */
export const useModel = (name) => (base = `models/${encodeURIComponent(name)}/`);

/** The address of one of the model's own paths, such as `predict`. */
export const address = (path) => base + path;

async function request(path, options) {
  let response, text;
  try {
    response = await fetch(path, { cache: 'no-store', ...options });
    text = await response.text();
  } catch (error) {
    throw error.name === 'AbortError' ? error : new ApiError(UNREACHABLE, 0);
  }
  const ahead = Date.parse(response.headers.get('Date')) - Date.now();
  if (!Number.isNaN(ahead)) skew = Math.abs(ahead) > 2000 ? ahead : 0; // `Date` counts whole seconds
  const body = parse(text);
  if (response.ok && body !== undefined) return { body, headers: response.headers };
  const retryAfter = Number(response.headers.get('Retry-After')) || null;
  throw new ApiError(body?.error ?? `The server answered with status ${response.status}.`, response.status, retryAfter);
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** `[{name, ready, version, task}]`: what the server serves. */
export const getModels = async () => (await request('models')).body.models;

/** `{name, task, version, card, runtime}` of the version that is serving. */
export const getModel = async () => (await request(address('model'))).body;

/** `{serving, loaded, versions}`, oldest first; those that are loaded can be asked. */
export const getVersions = async () => (await request(address('versions'))).body;

/** Ask about an image (`version` among the parameters says which loaded version, else it is the newest); return `{answer, version, timings}`, timings in milliseconds by stage. */
export async function predict(image, parameters, signal) {
  const { body, headers } = await request(address(`predict?${new URLSearchParams(parameters)}`), {
    method: 'POST',
    body: image,
    headers: { 'Content-Type': 'application/octet-stream' }, // the bytes say what they are, not the file's name
    signal,
  });
  return { answer: body, version: Number(headers.get('X-Model-Version')), timings: timings(headers) };
}

/** Server-Timing: `queue;dur=0.1, decode;dur=0.7` as `[["queue", 0.1], ["decode", 0.7]]`. */
function timings(headers) {
  const stages = (headers.get('Server-Timing') ?? '').matchAll(/([\w-]+)\s*;\s*dur=([\d.]+)/g);
  return [...stages].map(([, stage, ms]) => [stage, Number(ms)]);
}
