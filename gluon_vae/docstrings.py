"""What the docstrings of several models say in the same words, so that ``help`` of each is complete."""

from __future__ import annotations

import re
from textwrap import dedent, indent
from typing import TypeVar

FRAGMENTS = {
    "mlp": """
        n_hidden : int
            Units of each hidden layer.
        n_latent : int
            Dimension of the latent z.
        n_layers : int
            Hidden layers of the encoder, and of the decoder.
        n_output : int
            Numbers of an image: its pixels, three times as many in colour.
        """,
    "networks": """
        encoder : HybridBlock or callable
            Maps x, (batch, n_output), to (batch, 2 * n_latent): mu, then log_var. A conditional one is
            called with (x, y). A function that makes one, called without arguments, has its parameters named
            after their place in the model: 'composedvae0_encoder_dense0_weight'.
        decoder : HybridBlock or callable
            Maps z, (batch, n_latent), or (z, y), to logits: (batch, n_output) log-odds of the pixels'
            means and, with a variance per pixel, as many columns for those. A function is given the number
            of columns.
        n_latent : int
            Dimension of the latent z.
        n_output : int
            Numbers of an image: its pixels, three times as many in colour.
        n_classes : int, optional
            If given, the model is conditional: it is called with labels, ``net(x, y)``, and every
            density above is given y too.
        """,
    "given_blocks": """
        encoder, likelihood : HybridBlock
            As given.
        decoder : HybridBlock
            Maps z to images, (batch, n_output); ``decoder.logits`` is the decoder that was given.
        """,
    "act_type": """
        act_type : {'leaky', 'relu', 'sigmoid', 'softrelu', 'softsign', 'tanh'}
            Activation of the hidden layers; 'leaky' is a ReLU with slope 0.1 below 0.
        """,
    "likelihood": """
        likelihood : {'bernoulli', 'gaussian'} or HybridBlock
            p(x|z). Pixels are to be in [0, 1] under either. A block of your own maps logits and images to
            the negative log-likelihood, (batch,).
        variance : float or {'learned', 'per-pixel'}, optional
            Of the Gaussian likelihood: fixed; one for all pixels and images, learned, which is the
            default; or one for each pixel, from the decoder.
        min_std : float, optional
            A learned standard deviation stays above this, 0.05 unless given.
        """,
    "elbo": """
        n_samples : int
            Monte-Carlo draws of z per image, over which the negative log-likelihood is averaged.
        beta : float
            Weight of the KL in the loss. With 1 the loss bounds -log p(x), with more it is a looser bound,
            with less it is none.
        """,
    "block": """
        image_shape : (channels, height, width), optional
            The picture behind the numbers of an image, in this order; one channel or three. ``n_output`` is its
            product, and need not be given. Without it a picture is drawn as grey and square.
        check_input : bool
            Check pixel values and labels at every call, which waits for the device. Shape and dtype are
            checked in any case.
        prefix : str, optional
            Of the parameters' names; a number is added to the class's name if not given: ``vae0_``.
        """,
    "posterior": """
        mu, log_var : (batch, n_latent)
            Mean and log-variance of the posterior q(z|x), of the most recent call, like all arrays here.
        output : (batch, n_output)
            The reconstruction, in [0, 1]: the pixels' means, averaged over the draws of z.
        nll, kl : (batch,)
            The terms of the loss, in nats per image; the KL without its weight.
        """,
    "code": """
        mu : (batch, n_latent)
            The code, of the most recent call, like all arrays here.
        output : (batch, n_output)
            The reconstruction, in [0, 1].
        nll : (batch,)
            The negative log-likelihood, in nats per image; ``kl`` and ``log_var`` stay None.
        """,
    "blocks": """
        encoder : HybridBlock
            Maps x, (batch, n_output), to (batch, 2 * n_latent): mu, then log_var.
        decoder : HybridBlock
            Maps z, (batch, n_latent), to images, (batch, n_output); ``decoder.logits`` stops before the sigmoid.
        """,
    "autoencoder": """
        n_hidden : int
            Units of each hidden layer.
        n_latent : int
            Dimension of the code.
        n_layers : int
            Hidden layers of the encoder, and of the decoder; with 0 the code is the only one.
        n_output : int
            Numbers of an image: its pixels, three times as many in colour.
        """,
    "blocks_of_codes": """
        encoder, decoder : HybridBlock
            Map x to the code, and codes to images; ``decoder.logits`` stops before the sigmoid.
        """,
    "config": """
        config : dict
            What defines the computation, by the constructor's names.
        """,
}

Documented = TypeVar("Documented", bound=type)


def filled(cls: Documented) -> Documented:
    """Put the fragments where the docstring of a class has their names in braces, on lines of their own."""
    if cls.__doc__:
        cls.__doc__ = re.sub(
            r"^( *)\{(\w+)\}$",
            lambda line: indent(dedent(FRAGMENTS[line[2]]).strip(), line[1]),
            cls.__doc__,
            flags=re.MULTILINE,
        )
    return cls
