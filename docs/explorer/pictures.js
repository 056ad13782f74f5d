// Pictures of digits on canvases, ink on paper as the theme has it, and small charts.
"use strict";

const pictures = (() => {
  const { SIDE } = digits;
  const style = getComputedStyle(document.documentElement);

  const color = (name) => style.getPropertyValue(`--${name}`).trim();
  const rgb = (name) => color(name).match(/\w\w/g).map((part) => parseInt(part, 16)); // of #rrggbb

  // Pixels, 784 of them in [0, 1], as ink that lets the paper through.
  function inked(pixels, strength = 1) {
    const [r, g, b] = rgb("ink");
    const image = new ImageData(SIDE, SIDE);
    pixels.forEach((value, i) => image.data.set([r, g, b, Math.round(255 * strength * value)], 4 * i));
    return image;
  }

  // Differences in [-1, 1]: one colour where x has more, another where the model has.
  function signed(values) {
    const [more, less] = [rgb("x"), rgb("z")];
    const image = new ImageData(SIDE, SIDE);
    values.forEach((value, i) => {
      image.data.set([...(value > 0 ? more : less), Math.round(255 * Math.min(1, Math.abs(value)))], 4 * i);
    });
    return image;
  }

  // Put an image on a canvas of 28 x 28 pixels, which its style enlarges.
  function show(canvas, image, label) {
    if (canvas.width !== SIDE) canvas.width = canvas.height = SIDE;
    canvas.getContext("2d").putImageData(image, 0, 0);
    if (label) canvas.setAttribute("aria-label", label);
  }

  // Give a canvas as many pixels as its place has on the screen; return its context and its size in CSS pixels.
  function fit(canvas) {
    const [side, height] = [canvas.clientWidth, canvas.clientHeight].map((extent) => Math.round(extent) || 1);
    const density = Math.min(2, window.devicePixelRatio || 1);
    if (canvas.width !== Math.round(side * density) || canvas.height !== Math.round(height * density)) {
      canvas.width = Math.round(side * density);
      canvas.height = Math.round(height * density);
    }
    const context = canvas.getContext("2d");
    context.setTransform(density, 0, 0, density, 0, 0);
    return { context, side, height };
  }

  // An SVG element with attributes and children.
  function svg(name, attributes, ...children) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  // Do something with the next frame, however often events ask for it; the last of them counts, and null undoes it.
  const asked = new Map();
  function later(name, action) {
    if (!asked.has(name)) {
      requestAnimationFrame(() => {
        asked.get(name)?.();
        asked.delete(name);
      });
    }
    asked.set(name, action);
  }

  return { color, rgb, inked, signed, show, fit, svg, later };
})();
