// Instance segmentation: object detection's answer with a `mask` each, as tinted outlines on the picture.

import * as detections from '../detections.js';

export const parameters = { ...detections.parameters, masks: 'rle' };
export const command = () => '-o answer.json --data-binary @image.jpg'; // masks are long to read
export const { render, clear, summarize } = detections.createDetections();
