// Panoptic segmentation: `[{label, score, mask}]`, as coloured regions: each thing with its score, all else without.

import { createRegions } from '../regions.js';

export { command, parameters } from '../regions.js';
export const { render, clear, summarize } = createRegions();
