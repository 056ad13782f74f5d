"""The variational auto-encoder (Kingma and Welling 2014, arXiv 1312.6114) of any encoder and decoder."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from mxnet import nd, sym
from mxnet.gluon import HybridBlock

from . import checks, likelihoods
from .contract import image_batch, label_batch
from .layers import Decoder
from .losses import Array, kl_to_standard_normal


class ComposedVAE(HybridBlock):
    """A Gaussian VAE made of any encoder and decoder.

    Calling it on x, (batch, n_output), returns the per-sample loss, shape (batch,), in nats per
    image: the negative ELBO

        -log p(x|z) + beta KL(q(z|x) || N(0, I)),   z = mu + exp(log_var / 2) * eps,   eps ~ N(0, I)

    with beta = 1 unless another weight is asked for (Higgins et al. 2017).

    The values of the most recent call stay on attributes, as NDArrays in every execution mode.

    Parameters
    ----------
    encoder : HybridBlock
        Maps x, (batch, n_output), to (batch, 2 * n_latent): mu, then log_var. A conditional one is
        called with (x, y).
    decoder : HybridBlock
        Maps z, (batch, n_latent), or (z, y), to logits: (batch, n_output) log-odds of the pixels'
        means and, with a variance per pixel, as many columns for those.
    n_latent : int
        Dimension of the latent z.
    n_output : int
        Pixels of an image.
    n_classes : int, optional
        If given, the model is conditional: it is called with labels, ``net(x, y)``, and every
        density above is given y too.
    likelihood : {'bernoulli', 'gaussian'} or HybridBlock
        p(x|z). Pixels are to be in [0, 1] under either. A block of your own maps logits and images to
        the negative log-likelihood, (batch,).
    variance : float or {'learned', 'per-pixel'}, optional
        Of the Gaussian likelihood: fixed; one for all pixels and images, learned, which is the
        default; or one for each pixel, from the decoder.
    min_std : float
        A learned standard deviation stays above this.
    n_samples : int
        Monte-Carlo draws of z per image, over which the negative log-likelihood is averaged.
    beta : float
        Weight of the KL in the loss. With 1 the loss bounds -log p(x), with more it is a looser bound,
        with less it is none. To change the attribute of a hybridized model, hybridize it again.
    check_input : bool
        Check the pixel values at every call, which waits for the device. Shape and dtype are
        checked in any case.

    Attributes
    ----------
    mu, log_var : (batch, n_latent)
        Mean and log-variance of the posterior q(z|x).
    output : (batch, n_output)
        The reconstruction, in [0, 1]: the pixels' means, averaged over the draws of z.
    nll, kl : (batch,)
        The terms of the loss, in nats per image; the KL without its weight.
    encoder : HybridBlock
        As given.
    decoder : HybridBlock
        Maps z to images, (batch, n_output); ``decoder.logits`` is the decoder that was given.
    likelihood : HybridBlock
        Maps logits and images to the negative log-likelihood.

    Raises
    ------
    ValueError
        If an argument or a batch is not of the form above.
    """

    def __init__(
        self,
        encoder: HybridBlock,
        decoder: HybridBlock,
        n_latent: int,
        n_output: int = 784,
        *,
        n_classes: int | None = None,
        likelihood: str = "bernoulli",
        variance: float | str | None = None,
        min_std: float = 0.05,
        n_samples: int = 1,
        beta: float = 1.0,
        check_input: bool = True,
        prefix: str | None = None,
    ) -> None:
        for name, block in (("encoder", encoder), ("decoder", decoder)):
            if not isinstance(block, HybridBlock):
                raise ValueError(f"{name} must be a HybridBlock, got {type(block).__name__}")
        super().__init__(prefix=prefix)
        self.n_latent = checks.positive_int("n_latent", n_latent)
        self.n_output = checks.positive_int("n_output", n_output)
        self.n_classes = None if n_classes is None else checks.positive_int("n_classes", n_classes)
        self.n_samples = checks.positive_int("n_samples", n_samples)
        self.beta = checks.positive_number("beta", beta)
        self.check_input = check_input
        self.mu = self.log_var = self.output = self.nll = self.kl = None
        self.encoder = encoder
        if isinstance(likelihood, str):
            likelihood = likelihoods.make(likelihood, self.n_output, variance, min_std)
        elif not isinstance(likelihood, HybridBlock):
            raise ValueError(f"likelihood must be a name or a HybridBlock, got {type(likelihood).__name__}")
        self.likelihood = likelihood
        self.decoder = Decoder(decoder, self.n_output, getattr(likelihood, "n_maps", None))
        self._arguments: dict[str, Any] | None = None

    @property
    def config(self) -> dict[str, Any] | None:
        """The constructor's arguments that make an equal model; None where networks were handed over."""
        if self._arguments is None:
            return None
        return self._arguments | self.likelihood.arguments | {"n_samples": self.n_samples, "beta": self.beta}

    def forward(self, x: Array, *args: Array) -> Array:
        """Return the loss and keep the other outputs on attributes.

        Called as ``net(x)`` or ``net(x, eps)``; a conditional model as ``net(x, y)`` or ``net(x, y, eps)``.

        Parameters
        ----------
        x : (batch, n_output)
            Images, pixels in [0, 1].
        y : (batch,)
            Integer labels from 0 to ``n_classes - 1``.
        eps : (n_samples * batch, n_latent), optional
            The noise of the reparameterization, all images of the first draw, then of the second,
            and so on; drawn from N(0, I) if not given.

        Returns
        -------
        (batch,)
            Negative ELBO, nats per image.
        """
        conditional = self.n_classes is not None
        if not conditional <= len(args) <= conditional + 1:
            called = "net(x, y) or net(x, y, eps)" if conditional else "net(x) or net(x, eps)"
            raise ValueError(f"the model must be called as {called}, got {1 + len(args)} arguments")
        condition, eps = args[:conditional], args[conditional] if len(args) > conditional else None
        if isinstance(x, sym.Symbol):  # traced inside another block: nothing to keep, no shape to draw by
            return super().forward(x, eps, *condition)[0]
        x = image_batch(self, x)
        condition = [label_batch(self, y, x) for y in condition]
        if eps is None:
            eps = self.draw_noise(x)
        elif eps.shape != self._noise_shape(x):
            raise ValueError(
                f"eps must have shape (n_samples * batch, n_latent) = {self._noise_shape(x)}, got {eps.shape}"
            )
        loss, self.mu, self.log_var, self.output, self.nll, self.kl = super().forward(x, eps, *condition)
        return loss

    def draw_noise(self, x: nd.NDArray) -> nd.NDArray:
        """Draw the eps that a call on ``x`` needs, (n_samples * batch, n_latent)."""
        return nd.random.normal(shape=self._noise_shape(x), ctx=x.context, dtype=x.dtype)

    def nll_given(self, x: nd.NDArray, z: nd.NDArray, *condition: nd.NDArray) -> nd.NDArray:
        """Negative log-likelihood of images given their codes, -log p(x|z), (batch,) nats per image."""
        return self.likelihood(self.decoder.logits(z, *condition), x)

    def hybrid_forward(self, F: ModuleType, x: Array, eps: Array | None, *condition: Array) -> tuple[Array, ...]:
        mu, log_var = F.split(self.encoder(x, *condition), num_outputs=2, axis=1)
        kl = kl_to_standard_normal(F, mu, log_var)
        mean, std = self._tile(F, mu), self._tile(F, F.exp(0.5 * log_var))
        if eps is None:
            eps = F.random.normal_like(mean)
        logits = self.decoder.logits(mean + std * eps, *(self._tile(F, y, axes=1) for y in condition))
        nll = self._mean(F, self.likelihood(logits, self._tile(F, x)))
        output = self._mean(F, self.decoder.mean(F, logits))
        return nll + self.beta * kl, mu, log_var, output, nll, kl

    def _noise_shape(self, x: nd.NDArray) -> tuple[int, int]:
        return self.n_samples * x.shape[0], self.n_latent

    def _tile(self, F: ModuleType, array: Array, axes: int = 2) -> Array:
        """Repeat a batch once per draw of z."""
        return array if self.n_samples == 1 else F.tile(array, reps=(self.n_samples, 1)[:axes])

    def _mean(self, F: ModuleType, array: Array) -> Array:
        """Average over the draws of z."""
        if self.n_samples == 1:
            return array
        return F.mean(F.reshape(array, shape=(-4, self.n_samples, -1, -2)), axis=0)
