// The plane, the images and what is known of them, in one picture.
"use strict";

const save = (() => {
  const { color } = pictures;
  const TERMS = { nll: "NLL", "nll-mean": "NLL", kl: "KL", elbo: "−ELBO", "log-p": "−log p(x)", gap: "gap" };
  const $ = (id) => document.getElementById(id);

  function draw(title, isVae) {
    const canvas = Object.assign(document.createElement("canvas"), { width: 1200, height: 920 });
    const context = canvas.getContext("2d");
    context.fillStyle = color("paper");
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.strokeStyle = color("line");
    context.fillStyle = color("ink");
    context.font = "18px system-ui, sans-serif";
    const put = (picture, name, left, top, width, height = width) => {
      context.imageSmoothingEnabled = picture === $("plane");
      context.drawImage(picture, left, top, width, height);
      context.strokeRect(left, top, width, height);
      context.fillText(name, left, top + height + 22);
    };
    put($("plane"), title, 20, 20, 820);
    put($("image-z"), "decoded z", 860, 20, 320);
    put($("image-x"), "x", 860, 376, 155);
    put($("image-difference"), "x − decoded", 1025, 376, 155);
    if (isVae) put($("lens"), "p(z|x), and rings of q(z|x)", 860, 567, 320, 320 / 2.1);
    const terms = isVae ? ["nll", "kl", "elbo", "log-p", "gap"] : ["nll-mean"];
    terms.forEach((id, k) => context.fillText(`${TERMS[id]}  ${$(id).textContent}`, 860, 780 + 26 * k));
    context.fillStyle = color("faint");
    context.fillText("gluon-vae, latent explorer; nats per image, grey MNIST", 20, 895);
    return canvas;
  }

  // Hand the picture to the browser as a download.
  function png(name, title, isVae) {
    draw(title, isVae).toBlob((blob) => {
      const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
  }

  return { png };
})();
