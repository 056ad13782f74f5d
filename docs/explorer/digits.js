// Digits as MNIST has them: 28 x 28 grey pixels, 0 to 1; from the stored bytes, from a drawing, from an address.
"use strict";

const digits = (() => {
  const SIDE = 28;
  const BOX = 20; // MNIST's digits fill a box of this side ...
  const CENTRE = 14; // ... and have their centre of mass at this row and column
  const GREYS = 15; // levels above 0 of a stored pixel, 4 bits
  const FINE = 8; // times finer than the box is the raster on which strokes are laid down
  const PEN = 2.3; // width of the pen in pixels of the box

  // Images of 4 bits a pixel, the first of two in the upper half of a byte.
  function unpack(bytes) {
    const pixels = new Float32Array(2 * bytes.length);
    bytes.forEach((byte, i) => {
      pixels[2 * i] = (byte >> 4) / GREYS;
      pixels[2 * i + 1] = (byte & 15) / GREYS;
    });
    return pixels;
  }

  // The same for an address: base64 with letters that need no escape, zeros at the end left out.
  function toText(image) {
    let binary = "";
    for (let i = 0; i < image.length; i += 2) {
      binary += String.fromCharCode((Math.round(GREYS * image[i]) << 4) | Math.round(GREYS * image[i + 1]));
    }
    return btoa(binary.replace(/\0+$/, "")).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  }

  // An image from an address, or null if it is none.
  function fromText(text) {
    if (!text) return null;
    try {
      const binary = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
      const bytes = new Uint8Array((SIDE * SIDE) / 2);
      bytes.set(Uint8Array.from(binary, (letter) => letter.charCodeAt(0)));
      return unpack(bytes);
    } catch {
      return null; // not base64, or too long
    }
  }

  // Lay strokes, lists of points [x, y], down on a square raster with a round pen: { ink, side }, ink from 0 to 1.
  //
  // The pen is as wide as MNIST's beside the whole digit, however large that was drawn.
  function rasterise(strokes) {
    const points = strokes.flat();
    const low = [0, 1].map((axis) => Math.min(...points.map((point) => point[axis])));
    const high = [0, 1].map((axis) => Math.max(...points.map((point) => point[axis])));
    const extent = Math.max(high[0] - low[0], high[1] - low[1]);
    const side = BOX * FINE;
    const radius = (PEN * FINE) / 2;
    const scale = extent > 0 ? (side - 2 * radius - 2) / extent : 0;
    const onRaster = (point) => [0, 1].map((axis) => radius + 1 + scale * (point[axis] - low[axis]));
    const ink = new Float32Array(side * side);
    for (const stroke of strokes) {
      const places = stroke.map(onRaster);
      places.forEach((place, i) => layDown(ink, side, places[Math.max(0, i - 1)], place, radius));
    }
    return { ink, side };
  }

  // A straight piece of a stroke: all pixels nearer to it than the pen's radius, with a soft rim.
  function layDown(ink, side, from, to, radius) {
    const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
    const square = dx * dx + dy * dy;
    const bounds = (axis) => [
      Math.max(0, Math.floor(Math.min(from[axis], to[axis]) - radius - 1)),
      Math.min(side - 1, Math.ceil(Math.max(from[axis], to[axis]) + radius + 1)),
    ];
    const [[left, right], [top, bottom]] = [bounds(0), bounds(1)];
    for (let y = top; y <= bottom; y++) {
      for (let x = left; x <= right; x++) {
        const along = square > 0 ? ((x - from[0]) * dx + (y - from[1]) * dy) / square : 0;
        const t = Math.max(0, Math.min(1, along));
        const distance = Math.hypot(x - from[0] - t * dx, y - from[1] - t * dy);
        const value = Math.max(0, Math.min(1, radius + 0.5 - distance));
        if (value > ink[y * side + x]) ink[y * side + x] = value;
      }
    }
  }

  // Bring ink on a square raster into MNIST's form: the longer side of its box is scaled to 20 pixels, every pixel the
  // mean of what it covers, and the centre of mass moved to the middle by whole pixels. Null if there is no ink.
  function normalise(ink, side) {
    const marked = [];
    ink.forEach((value, i) => value > 0 && marked.push([i % side, Math.floor(i / side)]));
    if (!marked.length) return null;
    const low = [0, 1].map((axis) => marked.reduce((least, place) => Math.min(least, place[axis]), side));
    const high = [0, 1].map((axis) => marked.reduce((most, place) => Math.max(most, place[axis]), 0) + 1);
    const extents = [high[0] - low[0], high[1] - low[1]];
    const scale = Math.max(...extents) / BOX; // pixels of the raster to a pixel of the box
    const [width, height] = extents.map((extent) => Math.max(1, Math.round(extent / scale)));
    const box = new Float32Array(width * height);
    for (let j = 0; j < height; j++) {
      for (let i = 0; i < width; i++) box[j * width + i] = mean(ink, side, low, scale, i, j);
    }
    return centred(box, width, height);
  }

  // Mean of the ink under pixel (i, j) of the box, pixels that it covers partly counting partly.
  function mean(ink, side, low, scale, i, j) {
    const [left, top] = [low[0] + i * scale, low[1] + j * scale];
    let sum = 0;
    for (let y = Math.floor(top); y < top + scale; y++) {
      const down = Math.min(y + 1, top + scale) - Math.max(y, top);
      for (let x = Math.floor(left); x < left + scale; x++) {
        const across = Math.min(x + 1, left + scale) - Math.max(x, left);
        if (x < side && y < side) sum += ink[y * side + x] * down * across;
      }
    }
    return Math.min(1, sum / (scale * scale));
  }

  function centred(box, width, height) {
    let [mass, right, down] = [0, 0, 0];
    box.forEach((value, k) => {
      mass += value;
      right += value * (k % width);
      down += value * Math.floor(k / width);
    });
    const shift = (sum, extent) => Math.max(0, Math.min(SIDE - extent, Math.round(CENTRE - sum / mass)));
    const [left, top] = [shift(right, width), shift(down, height)];
    const image = new Float32Array(SIDE * SIDE);
    box.forEach((value, k) => (image[(top + Math.floor(k / width)) * SIDE + left + (k % width)] = value));
    return image;
  }

  // A drawing in MNIST's form.
  function fromStrokes(strokes) {
    const { ink, side } = rasterise(strokes);
    return normalise(ink, side);
  }

  return { SIDE, fromStrokes, fromText, normalise, toText, unpack };
})();

if (typeof module !== "undefined") module.exports = digits;
