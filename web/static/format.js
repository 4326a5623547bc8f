// Numbers, sizes and ages as people read them.

const metricFormat = new Intl.NumberFormat('en', { maximumSignificantDigits: 4 });
const tinyFormat = new Intl.NumberFormat('en', { notation: 'scientific', maximumSignificantDigits: 3 });
const percentFormat = new Intl.NumberFormat('en', {
  style: 'percent', minimumFractionDigits: 1, maximumFractionDigits: 1,
});

/** A metric with four significant digits: 0.9722, 12.34, 3E-5. */
export function formatMetric(value) {
  if (typeof value !== 'number') return '–';
  return value !== 0 && Math.abs(value) < 1e-3 ? tinyFormat.format(value) : metricFormat.format(value);
}

/** A score from 0 to 1 as a percentage: 93.1%. */
export const formatPercent = (score) => percentFormat.format(score);

/** Milliseconds: 0.74 ms, 9.3 ms, 120 ms. */
export const formatMilliseconds = (ms) => `${ms < 1 ? ms.toFixed(2) : ms < 100 ? ms.toFixed(1) : Math.round(ms)} ms`;

/** Bytes: 812 B, 34 kB, 2.1 MB. */
export function formatBytes(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1e6 ? `${Math.round(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

/** Facts in one line; where it wraps, it wraps behind a dot. */
export const joinFacts = (facts) => facts.filter(Boolean).join('\u00a0· ');

/** How long ago, in seconds: now, 12 s ago, 3 min ago, 2 h ago, 5 d ago. */
export function formatAge(seconds) {
  if (seconds < 1) return 'now';
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  return seconds < 86400 ? `${Math.floor(seconds / 3600)} h ago` : `${Math.floor(seconds / 86400)} d ago`;
}

/** How many of a thing: 1 box, 2 boxes, 3 people. A rule for common nouns; names that don't end in a letter stay as they are. */
export function formatCount(count, noun) {
  if (count === 1 || !/\p{L}$/u.test(noun)) return `${count} ${noun}`;
  const plural = PLURALS.find(([ending]) => ending.test(noun));
  return `${count} ${noun.replace(...plural)}`;
}

const PLURALS = [
  [/person$/i, 'people'],
  [/mouse$/i, 'mice'],
  [/(sheep|skis|scissors|glasses|fish|broccoli)$/i, '$1'],
  [/([^aeiou])y$/i, '$1ies'],
  [/([^f])fe$/i, '$1ves'],
  [/(s|x|z|ch|sh)$/i, '$1es'],
  [/$/, 's'],
];
