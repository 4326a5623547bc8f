// Doing things less often.

/** Call `work` once `pause` ms have gone by without another call, but at least every `most` ms. */
export function debounce(work, pause, most) {
  let timer = 0;
  let first = null;
  return () => {
    clearTimeout(timer);
    first ??= performance.now();
    timer = setTimeout(() => {
      first = null;
      work();
    }, Math.min(pause, Math.max(0, first + most - performance.now())));
  };
}

/** Run async `work` one at a time; calls during a run are answered by one more run after it. */
export function coalesce(work) {
  let running = false;
  let again = false;
  return async function run() {
    if (running) return (again = true);
    do {
      [running, again] = [true, false];
      await work();
      running = false;
    } while (again);
  };
}
