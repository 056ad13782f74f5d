// The networks of the explorer and what is estimated with them, in nats. It needs no page: node runs it as well.
"use strict";

const vae = (() => {
  const LOG_2PI = Math.log(2 * Math.PI);

  // Bytes of a base64 text.
  function bytesOf(text) {
    const binary = atob(text);
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
    return bytes;
  }

  // An MLP with ReLUs between its layers, from weights.js: of each layer scales, biases, and integer weights row by row.
  class Network {
    constructor({ sizes, bits, bytes }) {
      const { buffer } = bytesOf(bytes);
      let at = 0;
      this.layers = sizes.slice(1).map((n, i) => {
        const m = sizes[i];
        const scale = floats(buffer, at, n);
        const bias = floats(buffer, at + 4 * n, n);
        const integers = whole(buffer, at + 8 * n, n * m, bits[i]);
        at += 8 * n + (n * m * bits[i]) / 8;
        // Column by column, so that an input of 0 (most of a digit, half of a ReLU's outputs) costs nothing.
        const columns = new Float32Array(m * n);
        for (let j = 0; j < n; j++) for (let k = 0; k < m; k++) columns[k * n + j] = scale[j] * integers[j * m + k];
        return { n, m, bias, columns, output: new Float64Array(n) };
      });
    }

    // The output for one input; the array is written over by the next call.
    forward(input) {
      for (const layer of this.layers) {
        if (layer !== this.layers[0]) for (let k = 0; k < layer.m; k++) input[k] = Math.max(0, input[k]);
        input = apply(layer, input);
      }
      return input;
    }
  }

  // bias + weights * input, four columns at a time, which takes half the time of one.
  function apply({ n, m, bias, columns, output }, input) {
    const at = [];
    const values = [];
    for (let k = 0; k < m; k++) {
      if (input[k] !== 0) {
        at.push(k * n);
        values.push(input[k]);
      }
    }
    while (at.length % 4) {
      at.push(0);
      values.push(0);
    }
    output.set(bias);
    for (let k = 0; k < at.length; k += 4) {
      const [a, b, c, d] = [at[k], at[k + 1], at[k + 2], at[k + 3]];
      const [x, y, z, w] = [values[k], values[k + 1], values[k + 2], values[k + 3]];
      for (let j = 0; j < n; j++) {
        output[j] += x * columns[a + j] + y * columns[b + j] + z * columns[c + j] + w * columns[d + j];
      }
    }
    return output;
  }

  // Little-endian float32, at a place that need not be aligned.
  function floats(buffer, at, n) {
    const view = new DataView(buffer, at, 4 * n);
    const values = new Float32Array(n);
    for (let i = 0; i < n; i++) values[i] = view.getFloat32(4 * i, true);
    return values;
  }

  function whole(buffer, at, n, bits) {
    if (bits === 8) return new Int8Array(buffer, at, n);
    const view = new DataView(buffer, at, 2 * n);
    const values = new Int16Array(n);
    for (let i = 0; i < n; i++) values[i] = view.getInt16(2 * i, true);
    return values;
  }

  class Model {
    constructor(data) {
      this.encoder = new Network(data.encoder);
      this.decoder = new Network(data.decoder);
      const outputs = this.encoder.layers.at(-1).n;
      this.isVae = outputs === 2 * this.decoder.layers[0].m;
    }

    // Mean and log-variance of q(z|x), or a plain autoencoder's code and null.
    encode(x) {
      const output = this.encoder.forward(x);
      return { mu: [output[0], output[1]], logVar: this.isVae ? [output[2], output[3]] : null };
    }

    // Log-odds of the pixels; written over by the next call.
    logits(z) {
      return this.decoder.forward(z);
    }

    // Means of the pixels, in [0, 1].
    image(z) {
      return Float32Array.from(this.logits(z), (l) => 1 / (1 + Math.exp(-l)));
    }

    // -log p(x|z), a Bernoulli for each grey pixel, summed.
    nll(x, z) {
      return negativeLogLikelihood(x, this.logits(z));
    }
  }

  // The sum of softplus(l), max(l, 0) + log(1 + exp(-|l|)), over the pixels of an image. The logarithms are taken at
  // once, of a product that is at most 2 ** 784: a quarter of the time.
  function logPartition(logits) {
    let sum = 0;
    let product = 1;
    for (let i = 0; i < logits.length; i++) {
      const l = logits[i];
      sum += l > 0 ? l : 0;
      product *= 1 + Math.exp(l > 0 ? -l : l);
    }
    return sum + Math.log(product);
  }

  function negativeLogLikelihood(x, logits) {
    let sum = logPartition(logits);
    for (let i = 0; i < x.length; i++) sum -= x[i] * logits[i];
    return sum;
  }

  // KL(q(z|x) || N(0, I)), in closed form.
  function kl({ mu, logVar }) {
    return mu.reduce((sum, m, i) => sum + 0.5 * (m * m + Math.exp(logVar[i]) - 1 - logVar[i]), 0);
  }

  const logPrior = (z) => -0.5 * (z[0] * z[0] + z[1] * z[1]) - LOG_2PI;

  // z = mu + sigma * eps.
  const place = ({ mu, logVar }, eps) => mu.map((m, i) => m + Math.exp(0.5 * logVar[i]) * eps[i]);

  // NLL and NLL + KL at z = mu and, as mean and standard error, over draws of eps; of an autoencoder only the NLL.
  function terms(model, x, draws) {
    const code = model.encode(x);
    const atMean = model.nll(x, code.mu);
    if (!model.isVae) return { code, atMean };
    const values = draws.map((eps) => model.nll(x, place(code, eps)));
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
    const error = Math.sqrt(squares / (values.length - 1) / values.length);
    return { code, atMean, kl: kl(code), nll: mean, error };
  }

  // The nodes of a square grid over the plane with the decoder's logits at each: decoded once, for every image after.
  class Grid {
    constructor(model, reach = 5, n = 101) {
      Object.assign(this, { model, reach, n, step: (2 * reach) / (n - 1), done: 0 });
    }

    axis(i) {
      return i * this.step - this.reach;
    }

    // Decode all nodes; every step is a short piece of work.
    *fill() {
      const { n, model } = this;
      if (!this.logits) {
        const size = model.decoder.layers.at(-1).n;
        Object.assign(this, { size, logits: new Float32Array(n * n * size), partition: new Float64Array(n * n) });
      }
      while (this.done < n * n) {
        const k = this.done++;
        const logits = model.logits([this.axis(k % n), this.axis(Math.floor(k / n))]);
        this.logits.set(logits, k * this.size);
        this.partition[k] = logPartition(logits);
        yield this.done / (n * n);
      }
    }

    // log p(x, z) at all nodes: (n * n,), the first coordinate running fastest.
    *logJoint(x) {
      const ink = Array.from(x.keys()).filter((i) => x[i] > 0);
      const values = new Float64Array(this.n * this.n);
      for (let k = 0; k < values.length; k++) {
        let sum = -this.partition[k];
        for (const i of ink) sum += x[i] * this.logits[k * this.size + i];
        values[k] = sum + logPrior([this.axis(k % this.n), this.axis(Math.floor(k / this.n))]);
        if (k % 100 === 99) yield;
      }
      return values;
    }
  }

  const LEAST = 12; // nats below the highest node, from which on a cell of the grid is not looked at more closely
  const PARTS = 5; // into which the side of every other cell is divided

  // log p(x) by integrating p(z) p(x|z) over the plane, and where the posterior p(z|x) has its mass.
  //
  // A posterior is narrow beside the prior, and the grid alone would miss it by tenths of a nat. The cells that matter
  // are divided further and decoded anew. A generator, whose every step is a short piece of work; it returns
  // { logP, cells }, the cells with { z, side, weight }, the largest weight being 1.
  function* evidence(grid, x) {
    yield* grid.fill();
    const { n, step, model } = grid;
    const joint = yield* grid.logJoint(x);
    const best = joint.reduce((most, value) => Math.max(most, value), -Infinity);
    const side = step / PARTS;
    const cells = [];
    let rest = 0;
    for (let i = 0; i + 1 < n; i++) {
      for (let j = 0; j + 1 < n; j++) {
        const corners = [joint[i * n + j], joint[i * n + j + 1], joint[(i + 1) * n + j], joint[(i + 1) * n + j + 1]];
        if (Math.max(...corners) < best - LEAST) {
          rest += corners.reduce((sum, value) => sum + Math.exp(value - best), 0) / 4;
          continue;
        }
        for (let k = 0; k < PARTS * PARTS; k++) {
          const z = [
            grid.axis(j) + side * ((k % PARTS) + 0.5),
            grid.axis(i) + side * (Math.floor(k / PARTS) + 0.5),
          ];
          cells.push({ z, side, log: logPrior(z) - model.nll(x, z) });
          yield;
        }
      }
      yield;
    }
    const top = cells.reduce((most, cell) => Math.max(most, cell.log), best);
    const mass = cells.reduce((sum, cell) => sum + Math.exp(cell.log - top), 0);
    const logP = top + Math.log(mass * side * side + rest * Math.exp(best - top) * step * step);
    const highest = cells.reduce((most, cell) => Math.max(most, cell.log), -Infinity);
    return { logP, cells: cells.map((cell) => ({ z: cell.z, side, weight: Math.exp(cell.log - highest) })) };
  }

  // Standard normal numbers, pairs of them: the same seed gives the same.
  function normalPairs(seed, n) {
    let state = seed >>> 0;
    const uniform = () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let t = Math.imul(state ^ (state >>> 15), state | 1);
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
      return (((t ^ (t >>> 14)) >>> 0) + 0.5) / 4294967296;
    };
    return Array.from({ length: n }, () => {
      const radius = Math.sqrt(-2 * Math.log(uniform()));
      const angle = 2 * Math.PI * uniform();
      return [radius * Math.cos(angle), radius * Math.sin(angle)];
    });
  }

  // Distribution function of N(0, 1): series of the error function, and its continued fraction in the tails.
  function normalCdf(z) {
    const a = Math.abs(z);
    const density = Math.exp(-0.5 * a * a - 0.5 * LOG_2PI);
    if (a < 3) {
      let term = a;
      let sum = a;
      for (let k = 3; term > 1e-17 * sum; k += 2) sum += term *= (a * a) / k;
      return 0.5 + Math.sign(z) * density * sum;
    }
    let fraction = a;
    for (let k = 60; k > 0; k--) fraction = a + k / fraction;
    return z > 0 ? 1 - density / fraction : density / fraction;
  }

  // Its inverse, by Newton steps from the logistic distribution's.
  function normalPpf(p) {
    let z = Math.log(p / (1 - p)) / 1.702;
    for (let k = 0; k < 50; k++) {
      const move = (normalCdf(z) - p) / Math.exp(-0.5 * z * z - 0.5 * LOG_2PI);
      z -= Math.max(-0.5, Math.min(0.5, move));
      if (Math.abs(move) < 1e-12) break;
    }
    return z;
  }

  return { Model, Grid, bytesOf, evidence, kl, logPrior, normalCdf, normalPairs, normalPpf, place, terms };
})();

if (typeof module !== "undefined") module.exports = vae;
