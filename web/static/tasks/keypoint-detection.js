// Keypoint detection: object detection's answer with `keypoints: [{label, x, y, score}]`, as dots and, of a person, limbs.

import { createDetections, parameters } from '../detections.js';

export { parameters };
export const { render, clear, summarize } = createDetections();
