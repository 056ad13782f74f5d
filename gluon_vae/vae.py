"""The variational auto-encoder (Kingma and Welling 2014, arXiv 1312.6114)."""

from __future__ import annotations

from types import ModuleType

from mxnet import nd, sym
from mxnet.gluon import HybridBlock

from . import checks
from .layers import ACTIVATIONS, BernoulliDecoder, mlp
from .losses import Array, bernoulli_nll, kl_to_standard_normal


class VAE(HybridBlock):
    """A Gaussian VAE with MLP encoder and decoder and a Bernoulli likelihood.

    Calling it on x, (batch, n_output) with pixels in [0, 1], returns the per-sample loss, shape
    (batch,), in nats per image: the negative ELBO

        -log p(x|z) + beta KL(q(z|x) || N(0, I)),   z = mu + exp(log_var / 2) * eps,   eps ~ N(0, I)

    with beta = 1 unless another weight is asked for (Higgins et al. 2017).

    The values of the most recent call stay on attributes, as NDArrays in every execution mode.

    Parameters
    ----------
    n_hidden : int
        Units of each hidden layer.
    n_latent : int
        Dimension of the latent z.
    n_layers : int
        Hidden layers of the encoder, and of the decoder.
    n_output : int
        Pixels of an image.
    batch_size : int, optional
        Accepted for code written against the published tutorial; any batch size works.
    act_type : {'relu', 'sigmoid', 'softrelu', 'softsign', 'tanh'}
        Activation of the hidden layers.
    n_samples : int
        Monte-Carlo draws of z per image, over which the negative log-likelihood is averaged.
    beta : float
        Weight of the KL in the loss; only with 1 is the loss a bound of -log p(x). To change the
        attribute of a hybridized model, hybridize it again.
    check_input : bool
        Check the pixel values at every call, which waits for the device. Shape and dtype are
        checked in any case.

    Attributes
    ----------
    mu, log_var : (batch, n_latent)
        Mean and log-variance of the posterior q(z|x).
    output : (batch, n_output)
        The reconstruction, in [0, 1]: pixel probabilities, averaged over the draws of z.
    nll, kl : (batch,)
        The terms of the loss, in nats per image.
    encoder : HybridBlock
        Maps x to (batch, 2 * n_latent): mu, then log_var.
    decoder : HybridBlock
        Maps z to images, (batch, n_output); ``decoder.logits`` maps z to their log-odds.

    Raises
    ------
    ValueError
        If an argument or a batch is not of the form above.
    """

    def __init__(
        self,
        n_hidden: int = 400,
        n_latent: int = 2,
        n_layers: int = 1,
        n_output: int = 784,
        batch_size: int | None = None,
        act_type: str = "relu",
        *,
        n_samples: int = 1,
        beta: float = 1.0,
        check_input: bool = True,
        **kwargs,
    ) -> None:
        n_hidden = checks.positive_int("n_hidden", n_hidden)
        n_layers = checks.positive_int("n_layers", n_layers)
        act_type = checks.one_of("act_type", act_type, ACTIVATIONS)
        if batch_size is not None:
            checks.positive_int("batch_size", batch_size)
        super().__init__(**kwargs)
        self._sizes = {"n_hidden": n_hidden, "n_layers": n_layers, "act_type": act_type}
        self.n_latent = checks.positive_int("n_latent", n_latent)
        self.n_output = checks.positive_int("n_output", n_output)
        self.n_samples = checks.positive_int("n_samples", n_samples)
        self.beta = checks.positive_number("beta", beta)
        self.check_input = check_input
        self.mu = self.log_var = self.output = self.nll = self.kl = None
        with self.name_scope():
            self.encoder = mlp(self.n_output, n_hidden, n_layers, 2 * self.n_latent, act_type)
            self.decoder = BernoulliDecoder(mlp(self.n_latent, n_hidden, n_layers, self.n_output, act_type))

    @property
    def config(self) -> dict[str, int | float | str]:
        """The constructor's arguments that make an equal model."""
        kept = ("n_latent", "n_output", "n_samples", "beta")
        return self._sizes | {name: getattr(self, name) for name in kept}

    def forward(self, x: Array, eps: Array | None = None) -> Array:
        """Return the loss and keep the other outputs on attributes.

        Parameters
        ----------
        x : (batch, n_output)
            Images, pixels in [0, 1].
        eps : (n_samples * batch, n_latent), optional
            The noise of the reparameterization, all images of the first draw, then of the second,
            and so on; drawn from N(0, I) if not given.

        Returns
        -------
        (batch,)
            Negative ELBO, nats per image.
        """
        if isinstance(x, sym.Symbol):  # traced inside another block: nothing to keep, no shape to draw by
            return super().forward(x, *() if eps is None else (eps,))[0]
        x = checks.batch(x, self.n_output, values=self.check_input)
        shape = (self.n_samples * x.shape[0], self.n_latent)
        if eps is None:
            eps = nd.random.normal(shape=shape, ctx=x.context, dtype=x.dtype)
        elif eps.shape != shape:
            raise ValueError(f"eps must have shape (n_samples * batch, n_latent) = {shape}, got {eps.shape}")
        loss, self.mu, self.log_var, self.output, self.nll, self.kl = super().forward(x, eps)
        return loss

    def nll_given(self, x: nd.NDArray, z: nd.NDArray) -> nd.NDArray:
        """Negative log-likelihood of images given their codes, -log p(x|z), (batch,) nats per image."""
        return bernoulli_nll(nd, self.decoder.logits(z), x)

    def hybrid_forward(self, F: ModuleType, x: Array, eps: Array | None = None) -> tuple[Array, ...]:
        mu, log_var = F.split(self.encoder(x), num_outputs=2, axis=1)
        kl = kl_to_standard_normal(F, mu, log_var)
        mean, std = self._tile(F, mu), self._tile(F, F.exp(0.5 * log_var))
        if eps is None:
            eps = F.random.normal_like(mean)
        logits = self.decoder.logits(mean + std * eps)
        nll = self._mean(F, bernoulli_nll(F, logits, self._tile(F, x)))
        output = self._mean(F, F.sigmoid(logits))
        return nll + self.beta * kl, mu, log_var, output, nll, kl

    def _tile(self, F: ModuleType, array: Array) -> Array:
        """Repeat a batch once per draw of z."""
        return array if self.n_samples == 1 else F.tile(array, reps=(self.n_samples, 1))

    def _mean(self, F: ModuleType, array: Array) -> Array:
        """Average over the draws of z."""
        if self.n_samples == 1:
            return array
        return F.mean(F.reshape(array, shape=(-4, self.n_samples, -1, -2)), axis=0)
