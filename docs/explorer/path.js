// A straight path through the plane: nine digits along it, and what an image costs at every place of it.
"use strict";

const path = (() => {
  const { inked, show: put, svg } = pictures;
  const { number } = nats;
  const N_TILES = 9;
  const N_CURVE = 65;
  const [WIDTH, HEIGHT, ABOVE, BELOW] = [900, 120, 26, 12]; // of the curve's picture, which is stretched to its place

  const between = (a, b, t) => a.map((value, i) => value + t * (b[i] - value));

  // Decode a path from a to b; every step is a short piece of work.
  function* decode(model, x, a, b) {
    const tiles = [];
    for (let k = 0; k < N_TILES; k++) {
      const z = between(a, b, k / (N_TILES - 1));
      tiles.push({ z, image: model.image(z) });
      yield;
    }
    const curve = [];
    for (let k = 0; k < N_CURVE; k++) {
      curve.push(model.nll(x, between(a, b, k / (N_CURVE - 1))));
      yield;
    }
    return { tiles, curve };
  }

  // Show it; a digit that is chosen hands its z on.
  function show({ tiles, curve }, what, choose) {
    const strip = document.getElementById("strip");
    while (strip.children.length < N_TILES) {
      const button = Object.assign(document.createElement("button"), { type: "button" });
      button.append(document.createElement("canvas"));
      strip.append(button);
    }
    tiles.forEach(({ z, image }, k) => {
      const button = strip.children[k];
      put(button.firstChild, inked(image));
      button.setAttribute("aria-label", `Digit ${k + 1} of ${N_TILES}: move z to (${number(z[0], 2)}, ${number(z[1], 2)})`);
      button.onclick = () => choose(z);
    });
    showCurve(curve, what);
  }

  function showCurve(curve, what) {
    const [low, high] = [Math.min(...curve), Math.max(...curve)];
    const least = curve.indexOf(low);
    const place = (k) => {
      const tile = WIDTH / N_TILES;
      const share = (curve[k] - low) / (high - low || 1);
      return [tile / 2 + (k / (N_CURVE - 1)) * (WIDTH - tile), ABOVE + (1 - share) * (HEIGHT - ABOVE - BELOW)];
    };
    const points = curve.map((_, k) => place(k).join()).join(" ");
    const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": true });
    picture.append(svg("polyline", { points }));
    // Marks are elements of their own, since the picture is stretched.
    const mark = (name, k, text = "") => {
      const element = Object.assign(document.createElement(name), { textContent: text });
      const [across, down] = place(k);
      Object.assign(element.style, { left: `${(100 * across) / WIDTH}%`, top: `${(100 * down) / HEIGHT}%` });
      return element;
    };
    const frame = document.createElement("div");
    frame.append(picture, mark("i", least), ...[0, N_CURVE - 1].map((k) => mark("span", k, number(curve[k]))));
    const [first, last] = [curve[0], curve[N_CURVE - 1]].map((value) => number(value));
    const text = `−log p(x|z) along the path, x being ${what}: ${first} nats at A, ${last} at B, ${number(low)} where it is least.`;
    document.getElementById("curve").replaceChildren(frame, Object.assign(document.createElement("p"), { textContent: text }));
  }

  return { between, decode, show };
})();
