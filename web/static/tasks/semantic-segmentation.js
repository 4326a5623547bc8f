// Semantic segmentation: `[{label, score: null, mask}]`, as coloured regions that share out the picture.

import { createRegions } from '../regions.js';

export { command, parameters } from '../regions.js';
export const { render, clear, summarize } = createRegions();
