// What an image costs a model, in nats: the table, the picture of the bound, and the neighbourhood of the code.
"use strict";

const nats = (() => {
  const { color, fit, svg } = pictures;
  const FIELDS = ["nll-mean", "kl-mean", "elbo-mean", "nll", "kl", "elbo", "log-p", "gap"];
  const NEAR = 1; // nats: with a smaller gap q(z|x) and the posterior nearly agree
  const FAR = 5; // and with a larger one q(z|x) lies beside it
  const NO_ELBO =
    "An autoencoder has a reconstruction and its NLL. Without q(z|x) there is no KL, and without a prior p(z) " +
    "no p(x): neither an ELBO nor a gap exists.";

  const $ = (id) => document.getElementById(id);
  const number = (value, places = 1) => value.toFixed(places).replace(/^-(?=0\.?0*$)/, "").replace("-", "−");

  // The table, from what vae.terms returned, and log p(x) where that is known.
  function show(isVae, results, logP) {
    const texts = {};
    if (results) texts["nll-mean"] = number(results.atMean);
    if (results && isVae) {
      const { nll, kl, atMean, error } = results;
      const range = ` ± ${number(error)}`;
      Object.assign(texts, { "kl-mean": number(kl), "elbo-mean": number(atMean + kl), kl: number(kl) });
      Object.assign(texts, { nll: number(nll) + range, elbo: number(nll + kl) + range });
      if (logP !== null) Object.assign(texts, { "log-p": number(-logP), gap: number(nll + kl + logP) + range });
    }
    for (const field of FIELDS) $(field).textContent = texts[field] ?? (isVae ? "…" : "—");
    const measured = isVae && results && logP !== null;
    $("scale").replaceChildren(...(measured ? [scale(results, logP)] : []));
    if (measured) $("verdict").replaceChildren(...verdict(results, logP));
    else $("verdict").textContent = isVae ? "log p(x) is being integrated over the plane …" : NO_ELBO;
  }

  const progress = (share) => ($("log-p").textContent = `${Math.floor(100 * share)} %`);

  function verdict({ nll, kl, error }, logP) {
    const gap = nll + kl + logP;
    const bold = document.createElement("b");
    bold.textContent = `${number(gap)} ± ${number(error)} nats`;
    const what = " below log p(x): what the encoder’s Gaussian q(z|x) misses of the true posterior p(z|x).";
    const found = gap < NEAR ? " Here the two nearly agree." : gap > FAR ? " Here q(z|x) lies beside it." : "";
    return ["The ELBO lies ", bold, what + found];
  }

  // NLL, −log p(x) and −ELBO on one axis, and the two distances to the ELBO.
  function scale({ nll, kl }, logP) {
    const [evidence, bound] = [-logP, nll + kl];
    const [width, height, margin] = [320, 70, 4];
    const low = Math.min(nll, evidence);
    const on = (value) => margin + ((value - low) / (bound - low)) * (width - 2 * margin);
    const label = `NLL ${number(nll)}, −log p(x) ${number(evidence)}, −ELBO ${number(bound)} nats`;
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
    const bar = (from, y, name, kind) => {
      const [left, right] = [Math.min(on(from), on(bound)), Math.max(on(from), on(bound))];
      const rect = { x: left, y, width: Math.max(1.5, right - left), height: 13, rx: 2, class: kind };
      picture.append(svg("rect", rect));
      if (right - left > 7 * name.length) picture.append(svg("text", { x: (left + right) / 2, y: y + 10, class: "in" }, name));
    };
    bar(nll, 19, `KL ${number(kl)}`, "kl");
    bar(evidence, 36, `gap ${number(bound - evidence)}`, "gap");
    const tick = (value, name, y) => {
      const end = on(value) > width / 2;
      picture.append(
        svg("line", { x1: on(value), x2: on(value), y1: 16, y2: 52 }),
        svg("text", { x: on(value), y, "text-anchor": end ? "end" : "start" }, name),
      );
    };
    tick(nll, `NLL ${number(nll)}`, 11);
    tick(bound, `−ELBO ${number(bound)}`, on(nll) > width / 2 ? 65 : 11);
    tick(evidence, `−log p(x) ${number(evidence)}`, 65);
    return picture;
  }

  // The posterior as a picture, a pixel for each of its cells: { picture, low, side }.
  let cloud = null;
  function draw(cells) {
    const side = cells[0].side;
    const low = [0, 1].map((axis) => cells.reduce((least, cell) => Math.min(least, cell.z[axis]), Infinity));
    const high = [0, 1].map((axis) => cells.reduce((most, cell) => Math.max(most, cell.z[axis]), -Infinity));
    const [width, height] = [0, 1].map((axis) => Math.round((high[axis] - low[axis]) / side) + 1);
    const picture = Object.assign(document.createElement("canvas"), { width, height });
    const image = new ImageData(width, height);
    for (const { z, weight } of cells) {
      const [column, row] = [Math.round((z[0] - low[0]) / side), Math.round((high[1] - z[1]) / side)];
      image.data.set([...pictures.rgb("p"), Math.round(235 * weight)], 4 * (row * width + column));
    }
    picture.getContext("2d").putImageData(image, 0, 0);
    return { picture, cells, side, left: low[0] - side / 2, top: high[1] + side / 2, theme: color("p") };
  }

  // The neighbourhood of μ, enlarged: the true posterior, q(z|x) with its draws, and the dot if it is there.
  function lens(code, cells, z, draws) {
    const canvas = $("lens");
    const { context, side: width, height } = fit(canvas);
    context.clearRect(0, 0, width, height);
    if (!code.logVar) {
      $("name-lens").textContent = "does not exist: a code is a point";
      canvas.setAttribute("aria-label", "Nothing: an autoencoder has no posterior");
      return;
    }
    if (cells && (cloud?.cells !== cells || cloud.theme !== color("p"))) cloud = draw(cells);
    const sigma = code.logVar.map((value) => Math.exp(0.5 * value));
    const box = [0, 1].map((axis) => [code.mu[axis] - 3 * sigma[axis], code.mu[axis] + 3 * sigma[axis]]);
    for (const cell of cells ?? []) {
      if (cell.weight < 0.02) continue;
      cell.z.forEach((value, axis) => (box[axis] = [Math.min(box[axis][0], value), Math.max(box[axis][1], value)]));
    }
    const scale = 0.92 * Math.min(width / (box[0][1] - box[0][0]), height / (box[1][1] - box[1][0]));
    const at = (place) => [
      width / 2 + scale * (place[0] - (box[0][0] + box[0][1]) / 2),
      height / 2 - scale * (place[1] - (box[1][0] + box[1][1]) / 2),
    ];
    if (cells) {
      const extent = [cloud.picture.width, cloud.picture.height].map((pixels) => pixels * scale * cloud.side);
      context.drawImage(cloud.picture, ...at([cloud.left, cloud.top]), ...extent);
    }
    context.strokeStyle = context.fillStyle = color("x");
    context.lineWidth = 1.5;
    for (const k of [1, 2]) {
      context.beginPath();
      context.ellipse(...at(code.mu), k * scale * sigma[0], k * scale * sigma[1], 0, 0, 2 * Math.PI);
      context.stroke();
    }
    const dot = (place, radius) => {
      context.beginPath();
      context.arc(...at(place), radius, 0, 2 * Math.PI);
      context.fill();
    };
    for (const eps of draws) dot(vae.place(code, eps), 1.3);
    context.fillStyle = color("z");
    dot(z, 4);
    $("name-lens").textContent = cells ? `cloud; q(z|x) rings, draws; ${number(width / scale, 1)} wide` : "being integrated …";
    const label = "The true posterior as a cloud, q(z|x) as rings of one and two standard deviations, and its draws";
    canvas.setAttribute("aria-label", label);
  }

  return { show, progress, lens, number };
})();
