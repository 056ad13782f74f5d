// The pad on which a digit is drawn.
"use strict";

const pad = (() => {
  const { color, fit, later } = pictures;
  const PEN = 0.085; // its width, beside the side of the pad
  const canvas = document.getElementById("pad");
  let strokes = []; // of places in the unit square, the first row being at the top
  let pen = null; // the pointer that draws
  let changed = () => {}; // called with the drawing in MNIST's form, or null

  // Show the strokes or, where an image came without any, that image.
  function show(image) {
    const { context, side } = fit(canvas);
    context.clearRect(0, 0, side, side);
    document.getElementById("undo").disabled = !strokes.length;
    document.getElementById("clear").disabled = !strokes.length && !image;
    if (strokes.length) return showStrokes(context, side);
    if (image) {
      context.imageSmoothingEnabled = false;
      return context.drawImage(image, 0, 0, side, side);
    }
    context.fillStyle = color("faint");
    context.font = "13px system-ui, sans-serif";
    context.textAlign = "center";
    return context.fillText("with mouse, pen or finger", side / 2, side / 2);
  }

  function showStrokes(context, side) {
    context.strokeStyle = context.fillStyle = color("ink");
    context.lineWidth = side * PEN;
    context.lineCap = context.lineJoin = "round";
    for (const stroke of strokes) {
      context.beginPath();
      context.arc(stroke[0][0] * side, stroke[0][1] * side, (side * PEN) / 2, 0, 2 * Math.PI);
      context.fill();
      context.beginPath();
      for (const [left, top] of stroke) context.lineTo(left * side, top * side);
      context.stroke();
    }
  }

  function clear() {
    strokes = [];
  }

  const take = () => changed(strokes.length ? digits.fromStrokes(strokes) : null);

  function place(event) {
    const box = canvas.getBoundingClientRect();
    const shares = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    return shares.map((share) => Math.max(0, Math.min(1, share)));
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || pen !== null) return;
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    pen = event.pointerId;
    strokes.push([place(event)]);
    take();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerId !== pen) return;
    const parts = event.getCoalescedEvents?.() ?? [];
    strokes.at(-1).push(...(parts.length ? parts : [event]).map(place));
    later("drawing", take);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, (event) => {
      if (event.pointerId !== pen) return;
      pen = null;
      later("drawing", null);
      take();
    });
  }
  document.getElementById("undo").addEventListener("click", () => {
    strokes.pop();
    take();
  });
  document.getElementById("clear").addEventListener("click", () => {
    clear();
    take();
  });

  return { show, clear, isDrawing: () => pen !== null, onChange: (action) => (changed = action) };
})();
