// Colours of labels: a label keeps its colour from picture to picture and from version to version.

const TONES = [[0.7, 0.17], [0.59, 0.15], [0.82, 0.12]]; // lightness and chroma; dark text is readable on each
const SIZES = [6, 12, 36]; // slots for so many labels: as far apart as can be; of 36, three tones of each hue
const STRIDE = 5; // coprime to all of them, so that it reaches every slot
const HUES = 12;

/** The text colour that is readable on every colour of a palette. */
export const INK = '#0d1210';

/**
 * A function from a label to its CSS colour. The label's hash picks the hue; where an earlier one of the model's labels has
 * that already, it moves on, so that a model with few labels has none that look alike.
 */
export function createPalette(labels) {
  const slots = SIZES.find((size) => labels.length <= size) ?? SIZES.at(-1);
  const taken = new Map(); // slot by label
  const used = new Set();
  for (const label of labels) {
    let slot = hash(label) % slots;
    if (used.size < slots) while (used.has(slot)) slot = (slot + STRIDE) % slots;
    used.add(slot);
    taken.set(label, slot);
  }
  return (label) => colour(taken.get(label) ?? hash(label) % slots, Math.min(slots, HUES));
}

function colour(slot, hues) {
  const tone = Math.floor(slot / hues);
  const [lightness, chroma] = TONES[tone];
  return `oklch(${lightness} ${chroma} ${25 + (slot % hues) * (360 / hues) + tone * 10})`;
}

/** FNV-1a, 32 bits, its high bits mixed into the low ones, which alone choose the slot. */
function hash(text) {
  let value = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) value = Math.imul(value ^ byte, 0x01000193);
  return (value ^ (value >>> 15)) >>> 0;
}
