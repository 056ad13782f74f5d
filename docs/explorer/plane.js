// The latent plane on its canvas: the decoded map, the test digits, the prior, an image's q(z|x), a path, and the dot.
"use strict";

const plane = (() => {
  const { color, fit, inked } = pictures;
  const TILES = 20; // along a side of the map
  const SHARES = [0.5, 0.9, 0.99]; // of the prior, inside its contours
  const GRAB = 16; // CSS pixels from which an anchor is taken hold of
  const HOVER = 9; // and a digit
  const INSET = 0.03; // around the square of Φ(z), so that what lies at its rim can be seen and taken hold of
  const GLIDE = 350; // milliseconds that digits need to their new places

  const canvas = document.getElementById("plane");
  const ground = document.createElement("canvas"); // what does not change while z is dragged
  const map = document.createElement("canvas");
  map.width = map.height = TILES * digits.SIDE;

  const shown = { map: true, digits: true, prior: true, path: true };
  let view = { cdf: false, low: [-4, -4], width: 8 };
  let points = []; // { label, at, from, to }, places in the unit square
  let mark = { z: [0, 0], code: null, cells: null, a: [0, 0], b: [0, 0] };
  let touched = false; // by the reader: until then the dot says what it is for
  let stale = true;
  let frame = 0;
  let glideFrom = 0;

  // From z to the unit square that is shown, (0, 0) being its lower left, and back.
  const inset = () => (view.cdf ? INSET : 0);
  const widen = (share) => inset() + (1 - 2 * inset()) * share;
  const toUnit = (z) => z.map((value, i) => widen(view.cdf ? vae.normalCdf(value) : (value - view.low[i]) / view.width));
  function fromUnit(place) {
    const least = view.cdf ? 1e-4 : 0;
    const shares = place.map((value) => (value - inset()) / (1 - 2 * inset()));
    const inside = shares.map((share) => Math.max(least, Math.min(1 - least, share)));
    return inside.map((share, i) => (view.cdf ? vae.normalPpf(share) : view.low[i] + view.width * share));
  }

  const clamp = (z) => fromUnit(toUnit(z)); // to what is shown

  // Show another part of the plane, or the same through the distribution function.
  function setView(next) {
    view = next;
    invalidate();
  }

  function clearMap() {
    map.getContext("2d").clearRect(0, 0, map.width, map.height);
    invalidate();
  }

  // Decode the middle of every tile, from the centre of the plane outwards.
  function* decodeMap(model) {
    clearMap();
    const context = map.getContext("2d");
    const middle = (TILES - 1) / 2;
    const tiles = Array.from({ length: TILES * TILES }, (_, k) => [k % TILES, Math.floor(k / TILES)]);
    tiles.sort((s, t) => Math.hypot(s[0] - middle, s[1] - middle) - Math.hypot(t[0] - middle, t[1] - middle));
    for (const [i, j] of tiles) {
      const z = fromUnit([widen((i + 0.5) / TILES), widen(1 - (j + 0.5) / TILES)]);
      context.putImageData(inked(model.image(z)), i * digits.SIDE, j * digits.SIDE);
      yield;
    }
  }

  // Move the digits to new codes, an array of [z1, z2], gliding there unless the reader prefers less motion.
  function movePoints(codes, labels, glide) {
    const before = points;
    points = codes.map((code, i) => {
      const to = toUnit(code);
      const from = before[i]?.at ?? to;
      return { label: labels[i], from, to, at: from };
    });
    glideFrom = glide && before.length ? performance.now() : -GLIDE;
    invalidate();
  }

  function advance() {
    const t = Math.min(1, (performance.now() - glideFrom) / GLIDE);
    if (points.every((point) => point.at === point.to)) return false;
    const eased = t * t * (3 - 2 * t);
    for (const point of points) {
      point.at = t < 1 ? [0, 1].map((i) => point.from[i] + eased * (point.to[i] - point.from[i])) : point.to;
    }
    stale = true;
    return t < 1;
  }

  function invalidate() {
    stale = true;
    draw();
  }

  // Draw with the next frame.
  function draw(next = {}) {
    if ("cells" in next && next.cells !== mark.cells) stale = true;
    Object.assign(mark, next);
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      const moving = advance();
      paint();
      if (moving) draw();
    });
  }

  function paint() {
    const { context, side } = fit(canvas);
    if (stale || ground.width !== canvas.width) paintGround(side);
    stale = false;
    context.clearRect(0, 0, side, side);
    context.drawImage(ground, 0, 0, side, side);
    if (shown.path) paintPath(context, side);
    if (mark.code) paintCode(context, side);
    paintDot(context, side);
  }

  function paintGround(side) {
    ground.width = ground.height = canvas.width;
    const context = ground.getContext("2d");
    context.scale(ground.width / side, ground.width / side);
    context.imageSmoothingQuality = "high";
    if (shown.map) {
      context.globalAlpha = shown.digits ? 0.32 : 0.9;
      context.drawImage(map, inset() * side, inset() * side, (1 - 2 * inset()) * side, (1 - 2 * inset()) * side);
      context.globalAlpha = 1;
    }
    paintAxes(context, side);
    if (shown.digits) paintPoints(context, side);
    if (shown.prior) paintPrior(context, side);
    if (mark.cells) paintPosterior(context, side);
  }

  const onCanvas = (place, side) => [place[0] * side, (1 - place[1]) * side];
  const at = (z, side) => onCanvas(toUnit(z), side);

  function ticks() {
    if (view.cdf) return [0.25, 0.5, 0.75].map((share) => ({ name: String(share), places: [widen(share), widen(share)] }));
    const unit = 10 ** Math.floor(Math.log10(view.width / 3));
    const step = unit * [1, 2, 5].find((factor) => view.width / (factor * unit) <= 8.5);
    const first = Math.ceil((Math.min(...view.low) + 1e-9) / step);
    const last = Math.floor((Math.max(...view.low) + view.width - 1e-9) / step);
    return Array.from({ length: last - first + 1 }, (_, i) => {
      const value = (first + i) * step;
      return { name: String(Number(value.toPrecision(6))).replace("-", "−"), places: toUnit([value, value]) };
    });
  }

  function paintAxes(context, side) {
    context.font = "11px system-ui, sans-serif";
    context.fillStyle = color("faint");
    context.strokeStyle = color("line");
    context.lineWidth = 1;
    const inside = (place) => place > 0.03 && place < 0.97;
    for (const { name, places } of ticks()) {
      context.textAlign = "center";
      context.textBaseline = "bottom";
      if (inside(places[0])) halo(context, name, places[0] * side, side - 3);
      context.textAlign = "left";
      context.textBaseline = "middle";
      if (inside(places[1])) halo(context, name, 4, (1 - places[1]) * side);
    }
    const names = view.cdf ? ["Φ(z₁)", "Φ(z₂)"] : ["z₁", "z₂"];
    context.textBaseline = "bottom";
    context.textAlign = "right";
    halo(context, names[0], side - 4, side - 3);
    context.textAlign = "left";
    context.textBaseline = "top";
    halo(context, names[1], 4, 4);
  }

  function halo(context, text, x, y) {
    context.save();
    context.lineJoin = "round";
    context.lineWidth = 3;
    context.strokeStyle = color("paper");
    context.strokeText(text, x, y);
    context.restore();
    context.fillText(text, x, y);
  }

  // One picture for each numeral, since a thousand texts take long to draw; made anew for another size or theme.
  let glyphs = { of: "" };
  function glyphsOf(density, size) {
    const of = [density, size, color("digit-0")].join();
    if (glyphs.of === of) return glyphs.pictures;
    const pictures = Array.from({ length: 10 }, (_, digit) => {
      const picture = document.createElement("canvas");
      picture.width = picture.height = Math.ceil(1.5 * size * density);
      const context = picture.getContext("2d");
      context.scale(density, density);
      context.font = `600 ${size}px system-ui, sans-serif`;
      context.textAlign = "center";
      context.textBaseline = "middle";
      context.fillStyle = color(`digit-${digit}`);
      halo(context, String(digit), 0.75 * size, 0.8 * size);
      return picture;
    });
    glyphs = { of, pictures };
    return pictures;
  }

  function paintPoints(context, side) {
    const size = Math.max(9, Math.min(12, side / 50));
    const pictures = glyphsOf(canvas.width / side, size);
    for (const { label, at } of points) {
      const [x, y] = onCanvas(at, side);
      context.drawImage(pictures[label], x - 0.75 * size, y - 0.75 * size, 1.5 * size, 1.5 * size);
    }
  }

  function ring(context, side, centre, radii) {
    context.beginPath();
    for (let k = 0; k <= 72; k++) {
      const angle = (k / 36) * Math.PI;
      context.lineTo(...at([centre[0] + radii[0] * Math.cos(angle), centre[1] + radii[1] * Math.sin(angle)], side));
    }
    context.closePath();
  }

  function paintPrior(context, side) {
    for (const share of SHARES) {
      const radius = Math.sqrt(-2 * Math.log(1 - share));
      ring(context, side, [0, 0], [radius, radius]);
      outlined(context, color("prior"), 1.5, [5, 4]);
      context.font = "11px system-ui, sans-serif";
      context.fillStyle = color("prior");
      context.textAlign = "center";
      context.textBaseline = "bottom";
      const room = (radius / view.width) * side > 12 || view.cdf;
      if (room) halo(context, `${100 * share} %`, ...at([radius * Math.SQRT1_2, radius * Math.SQRT1_2], side));
    }
  }

  function outlined(context, stroke, width, dash = []) {
    context.strokeStyle = color("paper");
    context.lineWidth = width + 2;
    context.setLineDash([]);
    context.stroke();
    context.strokeStyle = stroke;
    context.lineWidth = width;
    context.setLineDash(dash);
    context.stroke();
    context.setLineDash([]);
  }

  // The true posterior of x, as a cloud.
  function paintPosterior(context, side) {
    context.fillStyle = color("p");
    for (const { z, side: extent, weight } of mark.cells) {
      if (weight < 0.01) continue;
      const [left, top] = at([z[0] - extent / 2, z[1] + extent / 2], side);
      const [right, bottom] = at([z[0] + extent / 2, z[1] - extent / 2], side);
      context.globalAlpha = 0.8 * weight;
      context.fillRect(left, top, right - left + 0.3, bottom - top + 0.3);
    }
    context.globalAlpha = 1;
  }

  // q(z|x): its mean and where it lies within one and two standard deviations.
  function paintCode(context, side) {
    const { mu, logVar } = mark.code;
    if (logVar) {
      const sigma = logVar.map((value) => Math.exp(0.5 * value));
      for (const k of [2, 1]) {
        ring(context, side, mu, sigma.map((value) => k * value));
        outlined(context, color("x"), 1.5);
      }
    }
    const [x, y] = at(mu, side);
    context.beginPath();
    context.moveTo(x - 5, y);
    context.lineTo(x + 5, y);
    context.moveTo(x, y - 5);
    context.lineTo(x, y + 5);
    outlined(context, color("x"), 2);
  }

  function paintPath(context, side) {
    context.beginPath();
    for (let k = 0; k <= 40; k++) context.lineTo(...at(path.between(mark.a, mark.b, k / 40), side));
    outlined(context, color("path"), 1.5, [2, 4]);
    for (const [name, z] of [["A", mark.a], ["B", mark.b]]) {
      const [x, y] = at(z, side);
      context.beginPath();
      context.arc(x, y, 9, 0, 2 * Math.PI);
      context.fillStyle = color("path");
      context.fill();
      context.strokeStyle = color("paper");
      context.lineWidth = 1.5;
      context.stroke();
      context.fillStyle = color("paper");
      context.font = "700 11px system-ui, sans-serif";
      context.textAlign = "center";
      context.textBaseline = "middle";
      context.fillText(name, x, y + 0.5);
    }
  }

  function paintDot(context, side) {
    const [x, y] = at(mark.z, side);
    context.beginPath();
    context.arc(x, y, 8, 0, 2 * Math.PI);
    context.fillStyle = color("z");
    context.fill();
    context.strokeStyle = color("paper");
    context.lineWidth = 2.5;
    context.stroke();
    if (!touched) {
      context.font = "600 13px system-ui, sans-serif";
      context.textAlign = x < side / 2 ? "left" : "right";
      context.textBaseline = "middle";
      context.fillStyle = color("z");
      halo(context, "drag me", x + (x < side / 2 ? 16 : -16), y);
    }
    if (document.activeElement === canvas) {
      context.beginPath();
      context.arc(x, y, 13, 0, 2 * Math.PI);
      outlined(context, color("z"), 1.5);
    }
  }

  // What of the plane is under a pointer: a place, an anchor, a digit.
  function under(event) {
    const box = canvas.getBoundingClientRect();
    const pixel = [event.clientX - box.left, event.clientY - box.top];
    const side = box.width;
    const distance = (place) => Math.hypot(place[0] - pixel[0], place[1] - pixel[1]);
    const z = fromUnit([pixel[0] / side, 1 - pixel[1] / side]);
    const onDot = distance(at(mark.z, side)) < GRAB;
    const anchor = ["a", "b"].find((name) => shown.path && !onDot && distance(at(mark[name], side)) < GRAB);
    let digit = null;
    let nearest = HOVER;
    if (shown.digits) {
      points.forEach((point, i) => {
        const away = distance(onCanvas(point.to, side));
        if (away < nearest) [nearest, digit] = [away, i];
      });
    }
    return { z, anchor, digit, pixel };
  }

  for (const kind of ["pointerdown", "keydown"]) {
    const touch = () => {
      touched = true;
      draw();
    };
    addEventListener(kind, touch, { once: true, capture: true });
  }
  canvas.addEventListener("focus", () => draw());
  canvas.addEventListener("blur", () => draw());
  new ResizeObserver(invalidate).observe(canvas);

  return { canvas, shown, setView, clearMap, decodeMap, movePoints, invalidate, draw, under, clamp };
})();
