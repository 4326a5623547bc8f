// A pad to draw on with pen, finger, mouse or keys. Strokes are kept as points from 0 to 1, so the drawing is sharp at any
// size and the image that is asked doesn't depend on the screen.

const IMAGE_SIDE = 384; // pixels of the PNG
const KEY_STEP = 1 / 24;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Make a canvas a pad; `onChange` is called whenever the drawing has changed. */
export function createPad(canvas, { onChange }) {
  const strokes = [];
  const pen = { x: 0.5, y: 0.5, width: 0.08, down: false, shown: false }; // moved by keys
  let inverted = false;
  let stroke = null; // the one that a pointer is drawing
  let frame = 0;

  function paint(context, side) {
    context.fillStyle = inverted ? '#fff' : '#000';
    context.fillRect(0, 0, side, side);
    context.strokeStyle = inverted ? '#000' : '#fff';
    context.lineCap = context.lineJoin = 'round';
    for (const { points, width } of strokes) {
      context.lineWidth = width * side;
      context.beginPath();
      trace(context, points, side);
      context.stroke();
    }
  }

  function show() {
    frame = 0;
    const side = canvas.width;
    const context = canvas.getContext('2d');
    paint(context, side);
    if (strokes.length === 0 && !pen.shown) invite(context, side);
    if (!pen.shown) return;
    context.lineWidth = Math.max(2, side / 160);
    context.strokeStyle = pen.down ? '#2fbf9f' : '#8a938f';
    context.beginPath();
    context.arc(pen.x * side, pen.y * side, (pen.width * side) / 2 + context.lineWidth, 0, 2 * Math.PI);
    context.stroke();
  }

  const refresh = () => (frame ||= requestAnimationFrame(show));

  function changed() {
    refresh();
    onChange();
  }

  function position(event) {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  function begin(point) {
    strokes.push({ points: [point], width: pen.width });
    return strokes.at(-1);
  }

  canvas.addEventListener('pointerdown', (event) => {
    if (!event.isPrimary || event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    pen.shown = pen.down = false;
    stroke = begin(position(event));
    changed();
  });
  canvas.addEventListener('pointermove', (event) => {
    if (!stroke || !event.isPrimary) return;
    const moves = event.getCoalescedEvents?.() ?? [];
    stroke.points.push(...(moves.length > 0 ? moves : [event]).map(position));
    changed();
  });
  for (const end of ['pointerup', 'pointercancel']) {
    canvas.addEventListener(end, (event) => event.isPrimary && (stroke = null));
  }

  canvas.addEventListener('keydown', (event) => {
    const arrow = ARROWS[event.key];
    if (arrow) {
      pen.x = Math.min(1, Math.max(0, pen.x + arrow[0] * KEY_STEP));
      pen.y = Math.min(1, Math.max(0, pen.y + arrow[1] * KEY_STEP));
      if (pen.down) {
        strokes.at(-1)?.points.push([pen.x, pen.y]);
        onChange();
      }
    } else if (event.key === ' ') {
      pen.down = !pen.down;
      if (pen.down) begin([pen.x, pen.y]);
      onChange();
    } else if (event.key === 'Backspace' || (event.key === 'z' && (event.ctrlKey || event.metaKey))) {
      undo();
    } else return;
    event.preventDefault();
    pen.shown = true;
    refresh();
  });
  canvas.addEventListener('blur', () => {
    pen.shown = pen.down = false;
    refresh();
  });

  new ResizeObserver(() => {
    canvas.width = canvas.height = Math.round(canvas.clientWidth * devicePixelRatio);
    show();
  }).observe(canvas);

  function undo() {
    pen.down = false;
    if (strokes.pop()) changed();
  }

  return {
    undo,
    clear() {
      pen.down = false;
      if (strokes.splice(0).length > 0) changed();
    },
    /** Dark ink on white instead of light ink on black. */
    invert(on) {
      inverted = on;
      changed();
    },
    /** The pen's width as a part of the pad's side. */
    set penWidth(width) {
      pen.width = width;
    },
    get empty() {
      return strokes.length === 0;
    },
    /** The drawing as a PNG. */
    toImage() {
      const image = document.createElement('canvas');
      image.width = image.height = IMAGE_SIDE;
      paint(image.getContext('2d'), IMAGE_SIDE);
      return new Promise((resolve) => image.toBlob(resolve, 'image/png'));
    },
  };
}

function invite(context, side) {
  context.fillStyle = '#7f8884';
  context.font = `${side / 22}px system-ui, sans-serif`;
  context.textAlign = 'center';
  context.fillText('Draw here', side / 2, side / 2);
}

/** Lay a smooth path through points: curves between midpoints, with the points themselves as control points. */
function trace(context, points, side) {
  const at = ([x, y]) => [x * side, y * side];
  context.moveTo(...at(points[0]));
  for (let i = 1; i < points.length - 1; i++) {
    const [x, y] = at(points[i]);
    const [nextX, nextY] = at(points[i + 1]);
    context.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
  }
  context.lineTo(...at(points.at(-1))); // a single point becomes a dot: caps are round
}
