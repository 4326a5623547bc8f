// The camera: a live picture while it is shown, a still when captured, and no stream otherwise.

const PROBLEMS = {
  NotAllowedError: 'The camera is not allowed here. Allow it in the browser’s settings for this page, then try again.',
  NotFoundError: 'No camera was found.',
  NotReadableError: 'The camera is used by another program. Close that, then try again.',
};

/** Call `onChange(available)` now and whenever a camera is plugged in or out. Needs HTTPS or localhost. */
export function watchCameras(onChange) {
  const devices = navigator.mediaDevices;
  if (!devices?.getUserMedia) return onChange(false);
  const check = async () => onChange((await devices.enumerateDevices()).some(({ kind }) => kind === 'videoinput'));
  devices.addEventListener('devicechange', check);
  return check();
}

/** Make a video element a camera; `onCapture` is called with each still, a JPEG. */
export function createCamera({ video, still, button, note, onCapture }) {
  let wanted = false; // the panel is open and no still was taken
  let stream = null;

  function stop() {
    stream?.getTracks().forEach((track) => track.stop());
    stream = video.srcObject = null;
  }

  async function start() {
    wanted = true;
    still.hidden = true;
    video.hidden = button.disabled = false;
    button.textContent = 'Capture';
    note.textContent = '';
    if (stream) return;
    button.disabled = true;
    try {
      const opened = await navigator.mediaDevices.getUserMedia({
        video: { facingMode: 'environment', width: { ideal: 1280 }, height: { ideal: 960 } },
      });
      stop();
      stream = opened;
      if (!wanted) return stop(); // left while the browser asked
      video.srcObject = stream;
      await video.play();
      button.disabled = false;
    } catch (error) {
      if (!wanted) return;
      note.textContent = PROBLEMS[error.name] ?? `The camera can’t be used: ${error.message}`;
      button.textContent = 'Try again';
      button.disabled = false;
    }
  }

  async function capture() {
    const frame = document.createElement('canvas');
    frame.width = video.videoWidth;
    frame.height = video.videoHeight;
    frame.getContext('2d').drawImage(video, 0, 0);
    const image = await new Promise((resolve) => frame.toBlob(resolve, 'image/jpeg', 0.95));
    wanted = false;
    stop();
    URL.revokeObjectURL(still.src);
    still.src = URL.createObjectURL(image);
    still.hidden = false;
    video.hidden = true;
    button.textContent = 'Take another';
    note.textContent = `${frame.width} × ${frame.height}`;
    onCapture(image);
  }

  button.addEventListener('click', () => (stream ? capture() : start()));
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) stop();
    else if (wanted) start();
  });

  return {
    start,
    /** Leave the camera: its light goes out. */
    leave() {
      wanted = false;
      stop();
    },
  };
}
