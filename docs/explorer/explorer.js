// The page: its state, what follows from it, and the controls that change it.
"use strict";

const explorer = (() => {
  const { SIDE } = digits;
  const { color, fit, inked, show, signed, svg } = pictures;
  const N_PIXELS = SIDE * SIDE;
  const N_DRAWS = 32;
  const EPS = vae.normalPairs(0, N_DRAWS); // the same for every image, so that numbers do not flicker
  const N_TILES = 9; // digits along the path
  const N_CURVE = 65; // values of the curve below them
  const REACH = 4; // of the plane of a VAE
  const STEP = 0.05; // of an arrow key there
  const LAYERS = ["map", "digits", "prior", "path"];
  const START = { model: "vae", plane: "z", digit: 0, a: "d0", b: "d1", show: LAYERS.join() };
  const LABELS = Array.from(WEIGHTS.digits.labels, Number);
  const BYTES = vae.bytesOf(WEIGHTS.digits.bytes);

  const $ = (id) => document.getElementById(id);
  const models = {}; // made when first asked for
  const codes = {}; // of the test digits, by model
  const grids = {};

  // What the reader chose; all else follows from it. An anchor is "d7", the code of test digit 7, or a place [z1, z2].
  const state = { model: null, plane: "z", digit: 0, drawing: null, z: [0, 0], from: "mean", a: "d0", b: "d1" };
  let strokes = [];
  let x = null; // the image
  let code = null; // its mu and logVar, of the model
  let cells = null; // of its posterior
  let results = null; // its terms, and its log p(x) once that is integrated

  // ---------------------------------------------------------------------------------------------- state and address

  function modelOf(name) {
    models[name] ??= new vae.Model(WEIGHTS.models[name]);
    return models[name];
  }

  const digitImage = (i) => digits.unpack(BYTES.subarray((N_PIXELS / 2) * i, (N_PIXELS / 2) * (i + 1)));
  const anchorAt = (anchor) => (typeof anchor === "string" ? codeOf(Number(anchor.slice(1))) : anchor);
  const codeOf = (i) => codes[state.model]?.[i] ?? modelOf(state.model).encode(digitImage(i)).mu;

  function readAddress() {
    const given = new URLSearchParams(location.hash.slice(1));
    const text = (name) => given.get(name) ?? START[name];
    const digit = Number(text("digit"));
    const drawing = given.has("x") ? digits.fromText(given.get("x")) : null;
    const visible = text("show").split(",");
    for (const layer of LAYERS) plane.shown[layer] = visible.includes(layer);
    state.plane = text("plane") === "cdf" ? "cdf" : "z";
    state.digit = Number.isInteger(digit) && digit >= 0 && digit < LABELS.length ? digit : START.digit;
    state.drawing = drawing;
    strokes = [];
    for (const name of ["a", "b"]) {
      const known = /^d\d+$/.test(text(name)) && Number(text(name).slice(1)) < LABELS.length;
      state[name] = known ? text(name) : (placeIn(text(name)) ?? START[name]);
    }
    setModel(text("model") in WEIGHTS.models ? text("model") : START.model, { glide: false });
    const z = placeIn(given.get("z") ?? "");
    if (z) setZ(plane.clamp(z), "place");
  }

  function placeIn(text) {
    const numbers = text.split(",").map(Number);
    return text && numbers.length === 2 && numbers.every(Number.isFinite) ? numbers : null;
  }

  const rounded = (z) => z.map((value) => Number(value.toFixed(3))).join();

  function address() {
    const now = { model: state.model, plane: state.plane };
    if (state.drawing) now.x = digits.toText(state.drawing);
    else now.digit = state.digit;
    if (state.from !== "mean") now.z = rounded(state.z);
    for (const name of ["a", "b"]) now[name] = typeof state[name] === "string" ? state[name] : rounded(state[name]);
    now.show = LAYERS.filter((layer) => plane.shown[layer]).join();
    const kept = Object.entries(now).filter(([name, value]) => name === "model" || String(value) !== String(START[name]));
    return "#" + kept.map(([name, value]) => `${name}=${value}`).join("&");
  }

  let addressTimer = 0;
  function keepAddress() {
    clearTimeout(addressTimer);
    addressTimer = setTimeout(() => history.replaceState(null, "", address()), 200);
  }

  // -------------------------------------------------------------------------------------------------------- changes

  function setModel(name, { glide = true } = {}) {
    state.model = name;
    for (const input of document.querySelectorAll("[name=model]")) input.checked = input.value === name;
    const model = modelOf(name);
    $("about").textContent = ABOUT[name];
    for (const input of document.querySelectorAll("[name=plane]")) {
      input.checked = input.value === (model.isVae ? state.plane : "z");
      input.disabled = input.value === "cdf" && !model.isVae;
    }
    slices.stop("codes");
    if (codes[name]) showPlane(glide);
    else {
      plane.setView(viewOf([]));
      slices.run("codes", encodeAll(model), {
        done(found) {
          codes[name] = found;
          showPlane(glide);
          setImage({ keepZ: state.from !== "mean" });
        },
      });
    }
    setImage();
  }

  function* encodeAll(model) {
    const found = [];
    for (let i = 0; i < LABELS.length; i++) {
      found.push(model.encode(digitImage(i)).mu);
      yield;
    }
    return found;
  }

  // A VAE's plane is that of its prior; an autoencoder's is wherever its codes are.
  function viewOf(found) {
    if (modelOf(state.model).isVae) return { cdf: state.plane === "cdf", low: [-REACH, -REACH], width: 2 * REACH };
    const all = found.length ? found : Array.from({ length: 60 }, (_, i) => codeOf(i));
    const low = [0, 1].map((axis) => Math.min(0, ...all.map((place) => place[axis])));
    const high = [0, 1].map((axis) => Math.max(0, ...all.map((place) => place[axis])));
    const width = 1.1 * Math.max(high[0] - low[0], high[1] - low[1]);
    return { cdf: false, low: low.map((value, i) => (value + high[i] - width) / 2), width };
  }

  let view = null;
  function showPlane(glide) {
    view = viewOf(codes[state.model]);
    plane.setView(view);
    plane.movePoints(codes[state.model], LABELS, glide && !calm());
    if (plane.shown.map) slices.run("map", plane.decodeMap(modelOf(state.model)), { progress: plane.invalidate, done: plane.invalidate });
    showAnchors();
  }

  const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

  function setDigit(i) {
    Object.assign(state, { digit: i, drawing: null });
    strokes = [];
    setImage();
  }

  // After the image or the model changed: encode it, look at its reconstruction, and measure.
  function setImage({ keepZ = false } = {}) {
    x = state.drawing ?? digitImage(state.digit);
    code = modelOf(state.model).encode(x);
    [cells, results] = [null, null];
    showImage();
    showPad();
    showAnchors();
    if (keepZ) setZ(state.z, state.from);
    else setZ(code.mu, "mean");
    measure();
  }

  function setZ(z, from) {
    Object.assign(state, { z, from });
    showZ();
    keepAddress();
  }

  function setAnchor(name, z) {
    const onDigit = state.from === "mean" && !state.drawing && z === state.z;
    state[name] = onDigit ? `d${state.digit}` : z;
    showAnchors();
    keepAddress();
  }

  // ---------------------------------------------------------------------------------------------------- what is shown

  const minus = (text) => text.replace("-", "−");
  const number = (value, places = 1) => minus(value.toFixed(places)).replace(/^−(0\.?0*)$/, "$1");
  const pair = (z) => `(${number(z[0], 2)}, ${number(z[1], 2)})`;
  const whatIsX = () => (state.drawing ? "your drawing" : `test digit ${state.digit}, a ${LABELS[state.digit]}`);

  function showImage() {
    show($("image-x"), inked(x), `The image x: ${whatIsX()}`);
    $("name-x").textContent = whatIsX();
    $("digit").value = state.drawing ? "" : state.digit;
  }

  function showZ() {
    const model = modelOf(state.model);
    const image = model.image(state.z);
    const nll = model.nll(x, state.z);
    show($("image-z"), inked(image), `The image decoded at z = ${pair(state.z)}`);
    show($("image-difference"), signed(x.map((value, i) => value - image[i])), "The image x less the decoded one");
    $("name-z").textContent = { mean: "z = μ: reconstruction", draw: "z = μ + σ ε", prior: "z from N(0, I)", place: "" }[state.from];
    $("name-difference").textContent = `−log p(x|z) = ${number(nll)}`;
    const share = model.isVae && state.plane === "cdf" ? `, Φ(z) = ${pair(state.z.map(vae.normalCdf))}` : "";
    $("readout").textContent = `z = ${pair(state.z)}${share}`;
    plane.draw({ z: state.z, code, cells });
    if (cells || !model.isVae) showLens();
  }

  function showAnchors() {
    plane.draw({ a: anchorAt(state.a), b: anchorAt(state.b) });
    slices.run("path", decodePath(modelOf(state.model)), { done: showPath });
  }

  let said = 0;
  function announce() {
    clearTimeout(said);
    said = setTimeout(() => {
      const nearest = nearestDigit();
      const near = nearest === null ? "" : ` The nearest test digit is a ${LABELS[nearest]}.`;
      $("said").textContent = `z = ${pair(state.z)}. NLL of x: ${number(modelOf(state.model).nll(x, state.z))} nats.${near}`;
    }, 400);
  }

  function nearestDigit() {
    const all = codes[state.model];
    if (!all) return null;
    const away = all.map((place) => Math.hypot(place[0] - state.z[0], place[1] - state.z[1]));
    return away.indexOf(Math.min(...away));
  }

  // ---------------------------------------------------------------------------------------------------------- in nats

  const fields = ["nll-mean", "kl-mean", "elbo-mean", "nll", "kl", "elbo", "log-p", "gap"];
  let measuring = 0;

  // The terms at once where a digit is chosen, a little later where one is being drawn; then the integral.
  function measure() {
    slices.stop("evidence");
    clearTimeout(measuring);
    showNats();
    measuring = setTimeout(() => {
      const model = modelOf(state.model);
      results = vae.terms(model, x, EPS);
      showNats();
      if (!model.isVae) return;
      grids[state.model] ??= new vae.Grid(model);
      for (const name of Object.keys(grids)) if (name !== state.model) delete grids[name]; // 32 MB each
      slices.run("evidence", vae.evidence(grids[state.model], x), {
        progress: (share) => share && ($("log-p").textContent = `${Math.floor(100 * share)} %`),
        done(found) {
          cells = found.cells;
          results.logP = found.logP;
          plane.draw({ cells });
          showNats();
          showLens();
        },
      });
    }, pen ? 150 : 0);
  }

  function showNats() {
    const model = modelOf(state.model);
    const texts = {};
    if (results) {
      texts["nll-mean"] = number(results.atMean);
      if (model.isVae) {
        const error = ` ± ${number(results.error)}`;
        Object.assign(texts, {
          "kl-mean": number(results.kl),
          "elbo-mean": number(results.atMean + results.kl),
          nll: number(results.nll) + error,
          kl: number(results.kl),
          elbo: number(results.nll + results.kl) + error,
        });
        if (results.logP !== undefined) {
          texts["log-p"] = number(-results.logP);
          texts.gap = number(results.nll + results.kl + results.logP) + error;
        }
      }
    }
    for (const field of fields) {
      $(field).textContent = texts[field] ?? (model.isVae ? "…" : "—");
    }
    if (!results) $("verdict").textContent = "";
    else if (!model.isVae) $("verdict").textContent = NO_ELBO;
    else if (results.logP === undefined) $("verdict").textContent = "Integrating log p(x) over the plane …";
    else $("verdict").replaceChildren(...verdict());
    showScale();
  }

  function verdict() {
    const gap = results.nll + results.kl + results.logP;
    const bold = document.createElement("b");
    bold.textContent = `${number(gap)} ± ${number(results.error)} nats`;
    const end = gap < 4 * results.error + 0.5 ? " The two nearly agree here." : " Compare the two in the picture of p(z|x).";
    return ["The ELBO lies ", bold, " below log p(x): what the encoder’s Gaussian q(z|x) misses of the true posterior p(z|x).", end];
  }

  // NLL, −log p(x) and −ELBO on one axis, and the two distances between them.
  function showScale() {
    const place = $("scale");
    if (results?.logP === undefined) return place.replaceChildren();
    const [nll, evidence, bound] = [results.nll, -results.logP, results.nll + results.kl];
    const [width, height, margin] = [320, 74, 26];
    const low = Math.min(nll, evidence);
    const on = (value) => margin + ((value - low) / (bound - low)) * (width - 2 * margin);
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
    picture.setAttribute("aria-label", `NLL ${number(nll)}, −log p(x) ${number(evidence)}, −ELBO ${number(bound)} nats`);
    const bar = (from, to, y, name, kind) => {
      picture.append(
        svg("rect", { x: Math.min(on(from), on(to)), y, width: Math.max(1.5, Math.abs(on(to) - on(from))), height: 12, rx: 2, class: kind }),
        svg("text", { x: (on(from) + on(to)) / 2, y: y + 9.5, class: `in ${kind}` }, on(to) - on(from) > 8 * name.length ? name : ""),
      );
    };
    bar(nll, bound, 20, `KL ${number(results.kl)}`, "kl");
    bar(evidence, bound, 36, `gap ${number(bound - evidence)}`, "gap");
    const tick = (value, name, y, anchor) => {
      picture.append(
        svg("line", { x1: on(value), x2: on(value), y1: 16, y2: 52 }),
        svg("text", { x: on(value), y, "text-anchor": anchor }, name),
      );
    };
    tick(nll, `NLL ${number(nll)}`, 12, on(nll) > width / 2 ? "end" : "start");
    tick(bound, `−ELBO ${number(bound)}`, 12, "end");
    const side = on(evidence) > width / 2 ? "end" : "start";
    tick(evidence, `−log p(x) ${number(evidence)}`, 64, side);
    place.replaceChildren(picture);
  }

  // The neighbourhood of μ, enlarged: the true posterior, q(z|x) with its draws, and the dot if it is there.
  function showLens() {
    const canvas = $("lens");
    const { context, side: width, height } = fit(canvas);
    context.clearRect(0, 0, width, height);
    if (!code.logVar) {
      $("name-lens").textContent = "does not exist: a code is a point";
      canvas.setAttribute("aria-label", "Nothing: an autoencoder has no posterior");
      return;
    }
    const sigma = code.logVar.map((value) => Math.exp(0.5 * value));
    const heavy = (cells ?? []).filter((cell) => cell.weight > 0.02);
    const box = [0, 1].map((axis) => {
      const places = heavy.map((cell) => cell.z[axis]);
      return [Math.min(code.mu[axis] - 3 * sigma[axis], ...places), Math.max(code.mu[axis] + 3 * sigma[axis], ...places)];
    });
    const scale = 0.92 * Math.min(width / (box[0][1] - box[0][0]), height / (box[1][1] - box[1][0]));
    const at = (z) => [
      width / 2 + scale * (z[0] - (box[0][0] + box[0][1]) / 2),
      height / 2 - scale * (z[1] - (box[1][0] + box[1][1]) / 2),
    ];
    context.fillStyle = color("p");
    for (const cell of cells ?? []) {
      context.globalAlpha = 0.85 * cell.weight;
      const extent = scale * cell.side;
      const [left, top] = at(cell.z);
      context.fillRect(left - extent / 2, top - extent / 2, extent + 0.3, extent + 0.3);
    }
    context.globalAlpha = 1;
    context.strokeStyle = context.fillStyle = color("x");
    context.lineWidth = 1.5;
    for (const k of [1, 2]) {
      context.beginPath();
      context.ellipse(...at(code.mu), k * scale * sigma[0], k * scale * sigma[1], 0, 0, 2 * Math.PI);
      context.stroke();
    }
    const dot = (z, radius) => {
      context.beginPath();
      context.arc(...at(z), radius, 0, 2 * Math.PI);
      context.fill();
    };
    for (const eps of EPS) dot(vae.place(code, eps), 1.3);
    context.fillStyle = color("z");
    dot(state.z, 4);
    $("name-lens").textContent = cells ? `cloud; q(z|x) rings and draws; ${number(width / scale, 2)} wide` : "being integrated …";
    canvas.setAttribute("aria-label", "The true posterior as a cloud, q(z|x) as rings of one and two standard deviations, and its draws");
  }

  // ---------------------------------------------------------------------------------------------------------- the path

  function* decodePath(model) {
    const [a, b] = [anchorAt(state.a), anchorAt(state.b)];
    const tiles = [];
    for (let k = 0; k < N_TILES; k++) {
      const z = plane.between(a, b, k / (N_TILES - 1));
      tiles.push({ z, image: model.image(z) });
      yield;
    }
    const curve = [];
    for (let k = 0; k < N_CURVE; k++) {
      curve.push(model.nll(x, plane.between(a, b, k / (N_CURVE - 1))));
      yield;
    }
    return { tiles, curve };
  }

  function showPath({ tiles, curve }) {
    const strip = $("strip");
    while (strip.children.length < N_TILES) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(document.createElement("canvas"));
      strip.append(button);
    }
    tiles.forEach(({ z, image }, k) => {
      const button = strip.children[k];
      show(button.firstChild, inked(image));
      button.setAttribute("aria-label", `Digit ${k + 1} of ${N_TILES}: move z to ${pair(z)}`);
      button.onclick = () => setZ(z, "place");
    });
    const [width, height] = [900, 120];
    const [low, high] = [Math.min(...curve), Math.max(...curve)];
    const tile = width / N_TILES;
    const place = (value, k) => {
      const across = tile / 2 + (k / (N_CURVE - 1)) * (width - tile);
      return [across, 26 + (1 - (value - low) / (high - low || 1)) * (height - 38)];
    };
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none" });
    picture.append(svg("polyline", { points: curve.map((value, k) => place(value, k).join()).join(" ") }));
    const least = curve.indexOf(low);
    const text = document.createElement("p");
    text.textContent = `NLL of x (${whatIsX()}) along the path: ${number(curve[0])} nats at A, ${number(curve.at(-1))} at B, `
      + `at least ${number(low)}, at most ${number(high)}.`;
    const dot = document.createElement("i");
    const [left, top] = place(low, least);
    dot.style.left = `${(100 * left) / width}%`;
    dot.style.top = `${(100 * top) / height}%`;
    const frame = document.createElement("div");
    frame.append(picture, dot);
    for (const k of [0, N_CURVE - 1]) {
      const end = document.createElement("span");
      const [across, down] = place(curve[k], k);
      end.textContent = number(curve[k]);
      end.style.left = `${(100 * across) / width}%`;
      end.style.top = `${(100 * down) / height}%`;
      frame.append(end);
    }
    $("curve").replaceChildren(frame, text);
  }

  // ------------------------------------------------------------------------------------------------------------ the pad

  let pen = null; // the stroke that is being drawn

  function showPad() {
    const { context, side } = fit($("pad"));
    context.clearRect(0, 0, side, side);
    $("undo").disabled = $("clear").disabled = !strokes.length;
    if (!strokes.length) {
      context.fillStyle = color("faint");
      context.font = "13px system-ui, sans-serif";
      context.textAlign = "center";
      context.fillText("with mouse, pen or finger", side / 2, side / 2);
      return;
    }
    context.strokeStyle = color("ink");
    context.lineWidth = side * 0.085;
    context.lineCap = context.lineJoin = "round";
    for (const stroke of strokes) {
      context.beginPath();
      stroke.forEach(([left, top]) => context.lineTo(left * side, top * side));
      context.lineTo(stroke[0][0] * side + (stroke.length > 1 ? NaN : 0.01), stroke[0][1] * side);
      context.stroke();
    }
  }

  function takeDrawing() {
    if (!strokes.length) return setDigit(state.digit);
    state.drawing = digits.fromStrokes(strokes);
    setImage();
  }

  function padPoint(event) {
    const box = $("pad").getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map((value) => Math.max(0, Math.min(1, value)));
  }

  $("pad").addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || pen) return;
    event.preventDefault();
    $("pad").setPointerCapture(event.pointerId);
    pen = { id: event.pointerId, stroke: [padPoint(event)] };
    strokes.push(pen.stroke);
    takeDrawing();
  });
  $("pad").addEventListener("pointermove", (event) => {
    if (event.pointerId !== pen?.id) return;
    for (const part of event.getCoalescedEvents?.() ?? [event]) pen.stroke.push(padPoint(part));
    later("drawing", takeDrawing);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    $("pad").addEventListener(end, (event) => {
      if (event.pointerId !== pen?.id) return;
      pen = null;
      takeDrawing();
    });
  }
  $("undo").addEventListener("click", () => {
    strokes.pop();
    takeDrawing();
  });
  $("clear").addEventListener("click", () => setDigit(state.digit));

  // Once with the next frame, however often events ask for it.
  const asked = {};
  function later(name, action) {
    asked[name] ??= requestAnimationFrame(() => {
      delete asked[name];
      action();
    });
  }

  // ---------------------------------------------------------------------------------------------------------- the plane

  let drag = null; // { anchor, digit, from }, while a pointer is down

  plane.canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || drag) return;
    plane.canvas.setPointerCapture(event.pointerId);
    plane.canvas.focus({ preventScroll: true });
    event.preventDefault();
    const { z, anchor, digit, pixel } = plane.under(event);
    drag = { id: event.pointerId, anchor, digit, pixel, moved: false };
    hideTip();
    if (!anchor) setZ(z, "place");
  });
  plane.canvas.addEventListener("pointermove", (event) => {
    const { z, digit, pixel } = plane.under(event);
    if (!drag) return event.pointerType === "mouse" && showTip(digit, pixel);
    if (event.pointerId !== drag.id) return;
    drag.moved ||= Math.hypot(pixel[0] - drag.pixel[0], pixel[1] - drag.pixel[1]) > 3;
    if (drag.moved) later("drag", () => (drag?.anchor ? setAnchor(drag.anchor, z) : setZ(z, "place")));
  });
  plane.canvas.addEventListener("pointerup", (event) => {
    if (event.pointerId !== drag?.id) return;
    const { anchor, digit, moved } = drag;
    const { z } = plane.under(event);
    drag = null;
    if (!moved && !anchor && digit !== null) setDigit(digit); // a numeral was clicked: it becomes x
    else if (moved && anchor) setAnchor(anchor, z);
    else if (moved) setZ(z, "place");
    announce();
  });
  plane.canvas.addEventListener("pointercancel", () => (drag = null));
  plane.canvas.addEventListener("pointerleave", hideTip);

  plane.canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1], Home: null };
    if (!(event.key in moves) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const move = moves[event.key];
    const unit = modelOf(state.model).isVae ? STEP : (STEP * (view?.width ?? 2 * REACH)) / (2 * REACH);
    const step = event.shiftKey ? 10 * unit : unit;
    const z = move ? state.z.map((value, i) => value + step * move[i]) : [0, 0];
    setZ(plane.clamp(z), "place");
    announce();
  });

  function showTip(digit, pixel) {
    const tip = $("tip");
    tip.hidden = digit === null;
    if (digit === null) return;
    show(tip.firstElementChild, inked(digitImage(digit)));
    tip.lastElementChild.textContent = `test digit ${digit}: a ${LABELS[digit]}`;
    tip.style.left = `${pixel[0]}px`;
    tip.style.top = `${pixel[1]}px`;
    tip.classList.toggle("below", pixel[1] < 110);
    plane.canvas.style.cursor = "pointer";
  }

  function hideTip() {
    $("tip").hidden = true;
    plane.canvas.style.cursor = "";
  }

  // ------------------------------------------------------------------------------------------------- the other controls

  for (const [name, { title }] of Object.entries(WEIGHTS.models)) {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "radio", name: "model", value: name });
    const text = document.createElement("span");
    text.textContent = title;
    input.addEventListener("change", () => setModel(name));
    label.append(input, text);
    $("models").append(label);
  }
  for (const input of document.querySelectorAll("[name=plane]")) {
    input.addEventListener("change", () => {
      state.plane = input.value;
      if (codes[state.model]) showPlane(true);
      else plane.setView(viewOf([]));
      setZ(state.z, state.from);
    });
  }
  for (const input of $("layers").querySelectorAll("input")) {
    input.addEventListener("change", () => {
      plane.shown[input.value] = input.checked;
      if (input.value === "map" && codes[state.model]) showPlane(false);
      plane.invalidate();
      keepAddress();
    });
  }
  $("to-mean").addEventListener("click", () => setZ(code.mu, "mean"));
  $("to-draw").addEventListener("click", () => setZ(vae.place(code, someNormals()), "draw"));
  $("to-prior").addEventListener("click", () => setZ(someNormals(), "prior"));
  $("set-a").addEventListener("click", () => setAnchor("a", state.z));
  $("set-b").addEventListener("click", () => setAnchor("b", state.z));
  $("random").addEventListener("click", () => setDigit(Math.floor(LABELS.length * Math.random())));
  $("digit").max = LABELS.length - 1;
  $("digit").addEventListener("change", () => {
    const digit = Math.round(Number($("digit").value));
    if (digit >= 0 && digit < LABELS.length) setDigit(digit);
    else showImage();
  });
  $("save").addEventListener("click", savePng);
  addEventListener("hashchange", start);

  const someNormals = () => vae.normalPairs(Math.floor(2 ** 32 * Math.random()), 1)[0];

  // The plane, the images and what is known of them, in one picture.
  function savePng() {
    const canvas = Object.assign(document.createElement("canvas"), { width: 1200, height: 860 });
    const context = canvas.getContext("2d");
    context.fillStyle = color("paper");
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(plane.canvas, 20, 20, 820, 820);
    context.strokeStyle = color("line");
    context.strokeRect(20, 20, 820, 820);
    context.fillStyle = color("ink");
    context.font = "18px system-ui, sans-serif";
    context.imageSmoothingEnabled = false;
    [["image-x", "x"], ["image-z", "decoded z"], ["image-difference", "x − decoded"], ["lens", "p(z|x) and q(z|x)"]].forEach(([id, name], k) => {
      const [left, top] = [860 + 165 * (k % 2), 20 + 195 * Math.floor(k / 2)];
      context.drawImage($(id), left, top, 155, 155);
      context.strokeRect(left, top, 155, 155);
      context.fillText(name, left, top + 176);
    });
    const value = (id) => $(id).textContent;
    const lines = [WEIGHTS.models[state.model].title, value("readout"), `x: ${whatIsX()}`, ""];
    if (code.logVar) lines.push(`NLL  ${value("nll")}`, `KL  ${value("kl")}`, `−ELBO  ${value("elbo")}`, `−log p(x)  ${value("log-p")}`, `gap  ${value("gap")}`);
    else lines.push(`NLL  ${value("nll-mean")}`);
    lines.push("", "nats · gluon-vae, latent explorer");
    lines.forEach((line, k) => context.fillText(line, 860, 450 + 30 * k, 325));
    canvas.toBlob((blob) => {
      const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: `latent-${state.model}.png` });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
  }

  // ---------------------------------------------------------------------------------------------------------- the theme

  // The site's own pages keep their choice under these names, so that one choice is for all.
  const stored = {
    get: () => { try { return localStorage.getItem("theme"); } catch { return null; } },
    set: (theme) => { try { localStorage.setItem("theme", theme); localStorage.setItem("mode", theme); } catch { /* not kept */ } },
  };
  const preferred = matchMedia("(prefers-color-scheme: dark)");

  function setTheme(theme) {
    document.documentElement.dataset.theme = theme;
    const dark = theme === "dark";
    $("theme").setAttribute("aria-pressed", dark);
    $("theme").textContent = dark ? "☀ Light" : "☾ Dark";
    $("theme").setAttribute("aria-label", "Dark mode");
  }

  function repaint() {
    if (codes[state.model]) showPlane(false);
    showImage();
    showPad();
    showZ();
    showAnchors();
    showLens();
    plane.invalidate();
  }

  $("theme").addEventListener("click", () => {
    const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    stored.set(theme);
    setTheme(theme);
    repaint();
  });
  preferred.addEventListener("change", () => {
    if (stored.get()) return;
    setTheme(preferred.matches ? "dark" : "light");
    repaint();
  });
  addEventListener("resize", () => later("resize", () => { showPad(); showLens(); }));

  // ---------------------------------------------------------------------------------------------------------- the words

  const ABOUT = {
    vae: "Trained on the ELBO: the codes are pulled towards the prior N(0, I), and nearly all of it decodes to digits.",
    ae: "Trained to reconstruct, nothing else: codes lie anywhere, and what lies between them was never trained.",
    beta: "Trained with four times the KL: q(z|x) is wider, codes keep closer to the prior, and the images blur.",
  };
  const NO_ELBO = "An autoencoder has a reconstruction and its NLL. Without q(z|x) there is no KL, without a prior p(z) no p(x): "
    + "neither an ELBO nor a gap exists.";
  const PRESETS = [];

  function start() {
    readAddress();
    for (const input of $("layers").querySelectorAll("input")) input.checked = plane.shown[input.value];
  }

  setTheme(["dark", "light"].includes(stored.get()) ? stored.get() : preferred.matches ? "dark" : "light");
  start();
  performance.mark("first picture");

  return { state, address, results: () => results };
})();
