// Which keypoints belong together: the limbs of a person whose points have COCO's names.

const LIMBS = [
  ['left_ankle', 'left_knee'], ['left_knee', 'left_hip'], ['right_ankle', 'right_knee'], ['right_knee', 'right_hip'],
  ['left_hip', 'right_hip'], ['left_shoulder', 'left_hip'], ['right_shoulder', 'right_hip'], ['left_shoulder', 'right_shoulder'],
  ['left_shoulder', 'left_elbow'], ['right_shoulder', 'right_elbow'], ['left_elbow', 'left_wrist'], ['right_elbow', 'right_wrist'],
  ['left_eye', 'right_eye'], ['nose', 'left_eye'], ['nose', 'right_eye'], ['left_eye', 'left_ear'], ['right_eye', 'right_ear'],
  ['left_ear', 'left_shoulder'], ['right_ear', 'right_shoulder'],
];

/** The pairs of keypoints that are joined by a line; none where the names are others. */
export function limbs(keypoints) {
  const points = new Map(keypoints.map((point) => [point.label, point]));
  return LIMBS.map(([from, to]) => [points.get(from), points.get(to)]).filter(([from, to]) => from && to);
}
