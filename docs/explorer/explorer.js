// The page: what the reader chose, what follows from it, and the controls that change it.
"use strict";

const explorer = (() => {
  const { inked, later, show, signed } = pictures;
  const { number } = nats;
  const BYTES_EACH = (digits.SIDE * digits.SIDE) / 2; // of a stored digit
  const EPS = vae.normalPairs(0, 32); // the same for every image, so that numbers do not flicker
  const REACH = 4; // of a VAE's plane
  const STEP = 0.05; // of an arrow key there; with Shift ten times as far
  const PAUSE = 150; // milliseconds after which a drawing is measured
  const REDRAW = 100; // milliseconds between two pictures of a map that is being decoded
  const LAYERS = ["map", "digits", "prior", "path"];
  const START = { model: "vae", plane: "z", digit: 10, a: "d10", b: "d141", show: LAYERS.join() };
  const LABELS = Array.from(WEIGHTS.digits.labels, Number);
  const BYTES = vae.bytesOf(WEIGHTS.digits.bytes);
  const ABOUT = {
    vae: "Trained on the ELBO: codes are held near the prior N(0, I), so that draws of it, too, decode to digits.",
    ae:
      "Trained to reconstruct and for nothing else: codes lie far apart, with holes between them. " +
      "N(0, I), dashed, is a small spot at the origin.",
    beta: "Trained with four times the KL: q(z|x) is wider, codes keep closer to the prior, and images cost more nats.",
  };
  const FROM = { mean: "reconstruction, z = μ", draw: "z = μ + σ ε", prior: "z from N(0, I)", place: "" };

  const $ = (id) => document.getElementById(id);
  const models = {}; // made when first asked for
  const codes = {}; // of the test digits, by model, once they are all encoded
  let grid = null; // of the last model whose log p(x) was asked for: it takes 32 MB

  // What the reader chose. An anchor is "d7", the code of test digit 7, or a place [z1, z2]; z comes ``from`` the mean
  // of q(z|x), a draw of it, a draw of the prior, or is a place.
  const state = { plane: "z", drawing: null };
  // What follows from it: the image, its code, what vae.terms says of it, log p(x), and the cells of its posterior.
  const known = { x: null, code: null, results: null, logP: null, cells: null };
  let view = null; // of the plane

  function model() {
    models[state.model] ??= new vae.Model(WEIGHTS.models[state.model]);
    return models[state.model];
  }

  const digitImage = (i) => digits.unpack(BYTES.subarray(BYTES_EACH * i, BYTES_EACH * (i + 1)));
  const codeOf = (i) => codes[state.model]?.[i] ?? model().encode(digitImage(i)).mu;
  const anchorAt = (anchor) => (typeof anchor === "string" ? codeOf(Number(anchor.slice(1))) : anchor);
  const whatIsX = () => (state.drawing ? "your drawing" : `test digit ${state.digit}, a ${LABELS[state.digit]}`);
  const pair = (z) => `(${number(z[0], 2)}, ${number(z[1], 2)})`;
  const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

  // ------------------------------------------------------------------------------------------------------ the address

  // Take over what the address says; what is missing or makes no sense is as at the start.
  function readAddress() {
    const given = new URLSearchParams(location.hash.slice(1));
    const text = (name) => given.get(name) ?? START[name];
    const visible = text("show").split(",");
    for (const layer of LAYERS) plane.shown[layer] = visible.includes(layer);
    for (const input of $("layers").querySelectorAll("input")) input.checked = plane.shown[input.value];
    pad.clear();
    Object.assign(state, {
      model: Object.hasOwn(WEIGHTS.models, text("model")) ? text("model") : START.model,
      plane: text("plane") === "cdf" ? "cdf" : "z",
      digit: isDigit(text("digit")) ? Number(text("digit")) : START.digit,
      drawing: given.has("x") ? digits.fromText(given.get("x")) : null,
    });
    for (const name of ["a", "b"]) {
      const onDigit = text(name).startsWith("d") && isDigit(text(name).slice(1));
      state[name] = onDigit ? text(name) : (placeIn(text(name)) ?? START[name]);
    }
    setModel(state.model, false);
    const z = placeIn(text("z") ?? "");
    if (z) setZ(plane.clamp(z), "place");
  }

  const isDigit = (text) => /^\d+$/.test(text) && Number(text) < LABELS.length;

  function placeIn(text) {
    const numbers = text.split(",").map((part) => (part.trim() ? Number(part) : NaN));
    return numbers.length === 2 && numbers.every(Number.isFinite) ? numbers : null;
  }

  // What is not as at the start, and the model.
  function address() {
    const short = (z) => z.map((value) => Number(value.toFixed(3))).join();
    const now = { model: state.model, plane: state.plane };
    if (state.drawing) now.x = digits.toText(state.drawing);
    else now.digit = state.digit;
    if (state.from !== "mean") now.z = short(state.z);
    for (const name of ["a", "b"]) now[name] = typeof state[name] === "string" ? state[name] : short(state[name]);
    now.show = LAYERS.filter((layer) => plane.shown[layer]).join();
    const said = Object.entries(now).filter(([name, value]) => name === "model" || value !== START[name]);
    return "#" + said.map(([name, value]) => `${name}=${value}`).join("&");
  }

  let keeping = 0;
  function keepAddress() {
    clearTimeout(keeping);
    keeping = setTimeout(() => history.replaceState(null, "", address()), 200);
  }

  // ------------------------------------------------------------------------------------------------------- the changes

  function setModel(name, glide) {
    state.model = name;
    $("about").textContent = ABOUT[name];
    for (const input of document.querySelectorAll("[name=model]")) input.checked = input.value === name;
    for (const input of document.querySelectorAll("[name=plane]")) {
      input.checked = input.value === (model().isVae ? state.plane : "z");
      input.disabled = input.value === "cdf" && !model().isVae;
    }
    $("to-draw").disabled = !model().isVae;
    if (codes[name]) showPlane(glide);
    else {
      slices.stop("map");
      plane.clearMap();
      plane.setView(viewOf(Array.from({ length: 60 }, (_, i) => codeOf(i))));
      const done = (found) => {
        codes[name] = found;
        showPlane(glide);
      };
      slices.run("codes", encodeAll(model()), { done });
    }
    setImage();
  }

  function* encodeAll(network) {
    const found = [];
    for (let i = 0; i < LABELS.length; i++) {
      found.push(network.encode(digitImage(i)).mu);
      yield;
    }
    return found;
  }

  // A VAE's plane is that of its prior; an autoencoder's is wherever its codes are.
  function viewOf(all) {
    if (model().isVae) return { cdf: state.plane === "cdf", low: [-REACH, -REACH], width: 2 * REACH };
    const low = [0, 1].map((axis) => Math.min(0, ...all.map((code) => code[axis])));
    const high = [0, 1].map((axis) => Math.max(0, ...all.map((code) => code[axis])));
    const width = 1.1 * Math.max(high[0] - low[0], high[1] - low[1]);
    return { cdf: false, low: low.map((value, axis) => (value + high[axis] - width) / 2), width };
  }

  function setDigit(i) {
    pad.clear();
    Object.assign(state, { digit: i, drawing: null });
    setImage();
  }

  // Encode another image, or the same by another model; look at its reconstruction, and measure.
  function setImage() {
    const x = state.drawing ?? digitImage(state.digit);
    Object.assign(known, { x, code: model().encode(x), results: null, logP: null, cells: null });
    showImage();
    showPath();
    setZ(known.code.mu, "mean");
    measure();
  }

  function setZ(z, from) {
    Object.assign(state, { z, from });
    showZ();
    keepAddress();
  }

  function setAnchor(name, z) {
    const onDigit = z === known.code.mu && !state.drawing; // then it stays on the digit when the model changes
    state[name] = onDigit ? `d${state.digit}` : z;
    showPath();
    keepAddress();
  }

  // The terms at once where a digit is chosen, a little later where one is being drawn; then the integral.
  let measuring = 0;
  function measure() {
    slices.stop("evidence");
    clearTimeout(measuring);
    showNats();
    measuring = setTimeout(measureNow, pad.isDrawing() ? PAUSE : 0);
  }

  function measureNow() {
    known.results = vae.terms(model(), known.x, EPS);
    showNats();
    if (!model().isVae) return;
    if (grid?.model !== model()) grid = new vae.Grid(model());
    const progress = (share) => share && nats.progress(share);
    const done = (found) => {
      Object.assign(known, found);
      showNats();
      showZ();
    };
    slices.run("evidence", vae.evidence(grid, known.x), { progress, done });
  }

  // -------------------------------------------------------------------------------------------------------- the views

  function showPlane(glide) {
    view = viewOf(codes[state.model]);
    plane.setView(view);
    plane.movePoints(codes[state.model], LABELS, glide && !calm());
    showMap();
  }

  function showMap() {
    if (!plane.shown.map || !codes[state.model]) return;
    let drawn = performance.now();
    const progress = () => {
      if (performance.now() < drawn + REDRAW) return;
      drawn = performance.now();
      plane.invalidate();
    };
    slices.run("map", plane.decodeMap(model()), { progress, done: plane.invalidate });
  }

  function showImage() {
    show($("image-x"), inked(known.x), `The image x: ${whatIsX()}`);
    $("name-x").textContent = whatIsX();
    $("digit").value = state.drawing ? "" : state.digit;
    pad.show(state.drawing && $("image-x"));
  }

  function showZ() {
    const image = model().image(state.z);
    const difference = known.x.map((value, i) => value - image[i]);
    show($("image-z"), inked(image), `The image decoded at z = ${pair(state.z)}`);
    show($("image-difference"), signed(difference), "The image x less the decoded one");
    $("name-z").textContent = FROM[state.from];
    $("name-difference").textContent = `NLL ${number(model().nll(known.x, state.z))} nats`;
    const through = model().isVae && state.plane === "cdf" ? `, Φ(z) = ${pair(state.z.map(vae.normalCdf))}` : "";
    $("readout").textContent = `z = ${pair(state.z)}${through}`;
    plane.draw({ z: state.z, code: known.code, cells: known.cells });
    nats.lens(known.code, known.cells, state.z, EPS);
  }

  function showNats() {
    nats.show(model().isVae, known.results, known.logP);
  }

  function showPath() {
    const [a, b] = [anchorAt(state.a), anchorAt(state.b)];
    plane.draw({ a, b });
    const done = (found) => path.show(found, whatIsX(), (z) => setZ(z, "place"));
    slices.run("path", path.decode(model(), known.x, a, b), { done });
  }

  // Once the reader pauses, say where z is to those who cannot see it.
  let saying = 0;
  function announce() {
    clearTimeout(saying);
    saying = setTimeout(() => {
      const cost = number(model().nll(known.x, state.z));
      const away = (codes[state.model] ?? []).map((code) => Math.hypot(code[0] - state.z[0], code[1] - state.z[1]));
      const nearest = away.indexOf(Math.min(...away));
      const near = nearest < 0 ? "" : ` The nearest test digit is a ${LABELS[nearest]}.`;
      $("said").textContent = `z = ${pair(state.z)}. NLL of x: ${cost} nats.${near}`;
    }, 400);
  }

  // ----------------------------------------------------------------------------------------------- pointers in the plane

  let drag = null; // { id, anchor, digit, pixel, moved }, while a pointer is down

  plane.canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || drag) return;
    event.preventDefault();
    plane.canvas.setPointerCapture(event.pointerId);
    plane.canvas.focus({ preventScroll: true });
    hideTip();
    const { z, ...under } = plane.under(event);
    drag = { id: event.pointerId, moved: false, ...under };
    if (!drag.anchor) setZ(z, "place");
  });
  plane.canvas.addEventListener("pointermove", (event) => {
    const { z, digit, pixel } = plane.under(event);
    if (!drag && event.pointerType === "mouse") showTip(digit, pixel);
    if (event.pointerId !== drag?.id) return;
    drag.moved ||= Math.hypot(pixel[0] - drag.pixel[0], pixel[1] - drag.pixel[1]) > 3;
    const { anchor, moved } = drag;
    if (moved) later("drag", () => (anchor ? setAnchor(anchor, z) : setZ(z, "place")));
  });
  plane.canvas.addEventListener("pointerup", (event) => {
    if (event.pointerId !== drag?.id) return;
    const { anchor, digit, moved } = drag;
    const { z } = plane.under(event);
    drag = null;
    later("drag", null);
    if (moved && anchor) setAnchor(anchor, z);
    else if (moved) setZ(z, "place");
    else if (!anchor && digit !== null) setDigit(digit); // a numeral was clicked
    announce();
  });
  plane.canvas.addEventListener("pointercancel", () => (drag = null));
  plane.canvas.addEventListener("pointerleave", hideTip);

  function showTip(digit, pixel) {
    $("tip").hidden = digit === null;
    plane.canvas.style.cursor = digit === null ? "" : "pointer";
    if (digit === null) return;
    show($("tip").firstElementChild, inked(digitImage(digit)));
    $("tip").lastElementChild.textContent = `test digit ${digit}: a ${LABELS[digit]}`;
    Object.assign($("tip").style, { left: `${pixel[0]}px`, top: `${pixel[1]}px` });
    $("tip").classList.toggle("below", pixel[1] < 110);
  }

  function hideTip() {
    $("tip").hidden = true;
    plane.canvas.style.cursor = "";
  }

  // ------------------------------------------------------------------------------------------------- keys and controls

  plane.canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1], Home: null };
    if (!Object.hasOwn(moves, event.key) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const move = moves[event.key];
    const step = (event.shiftKey ? 10 : 1) * STEP * ((view?.width ?? 2 * REACH) / (2 * REACH));
    setZ(plane.clamp(move ? state.z.map((value, i) => value + step * move[i]) : [0, 0]), "place");
    announce();
  });

  for (const [name, { title }] of Object.entries(WEIGHTS.models)) {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "radio", name: "model", value: name });
    input.addEventListener("change", () => setModel(name, true));
    label.append(input, Object.assign(document.createElement("span"), { textContent: title }));
    $("models").append(label);
  }
  for (const input of document.querySelectorAll("[name=plane]")) {
    input.addEventListener("change", () => {
      state.plane = input.value;
      plane.setView(viewOf([]));
      if (codes[state.model]) showPlane(true);
      setZ(state.z, state.from);
    });
  }
  for (const input of $("layers").querySelectorAll("input")) {
    input.addEventListener("change", () => {
      plane.shown[input.value] = input.checked;
      if (input.value === "map") showMap();
      plane.invalidate();
      keepAddress();
    });
  }

  const someNormals = () => vae.normalPairs(Math.floor(2 ** 32 * Math.random()), 1)[0];
  const actions = {
    "to-mean": () => setZ(known.code.mu, "mean"),
    "to-draw": () => setZ(vae.place(known.code, someNormals()), "draw"),
    "to-prior": () => setZ(someNormals(), "prior"),
    "set-a": () => setAnchor("a", state.z),
    "set-b": () => setAnchor("b", state.z),
    random: () => setDigit(Math.floor(LABELS.length * Math.random())),
    save: () => {
      const title = `${WEIGHTS.models[state.model].title}: ${$("readout").textContent}; x: ${whatIsX()}`;
      save.png(`latent-${state.model}.png`, title, model().isVae);
    },
  };
  for (const [id, action] of Object.entries(actions)) $(id).addEventListener("click", action);
  $("digit").max = LABELS.length - 1;
  $("digit").addEventListener("change", () => (isDigit($("digit").value) ? setDigit(Number($("digit").value)) : showImage()));

  pad.onChange((drawing) => {
    state.drawing = drawing;
    setImage();
  });
  theme.onChange(() => {
    showImage();
    showPath();
    showZ();
    showMap();
    plane.invalidate();
  });
  addEventListener("resize", () => {
    later("resize", () => {
      showImage();
      showZ();
    });
  });
  addEventListener("hashchange", readAddress);
  for (const link of document.querySelectorAll(".try a")) {
    link.addEventListener("click", () => $("frame").scrollIntoView({ behavior: calm() ? "auto" : "smooth", block: "center" }));
  }

  // ------------------------------------------------------------------------------------------------------------ at last

  function describe() {
    const { made, models: all } = WEIGHTS;
    const [first] = Object.values(all);
    const sizes = first.encoder.sizes.slice(0, -1).join("-");
    const results = Object.values(all).map(({ title, test }) => {
      const term = "elbo" in test ? "ELBO" : "NLL";
      return `${title}: ${term} ${number(test.elbo ?? test.nll)} ± ${number(test.standard_error)}`;
    });
    $("made").textContent =
      `Three models, ${sizes}-2 and back, ReLUs between, differ in their loss only: ${made.data}, ${made.epochs} epochs, ` +
      `seed ${made.seed}. In ${made.test}: ${results.join("; ")}. The digits are the first ${LABELS.length} of the test set.`;
  }

  describe();
  readAddress();
  performance.mark("first picture");

  return { state, known, address };
})();
