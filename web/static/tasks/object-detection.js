// Object detection: `[{label, score, box: {xmin, ymin, xmax, ymax}}]`, best first, as boxes on the picture.

import { createDetections, parameters } from '../detections.js';

export { parameters };
export const { render, clear, summarize } = createDetections();
