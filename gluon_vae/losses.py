"""The terms of the negative ELBO: pure functions of ``F``, in nats per image.

``F`` is ``mxnet.nd`` or ``mxnet.sym``, so the same line serves a call and a traced graph.
Every function sums over the last axis; the mean over a batch is taken outside.
"""

from __future__ import annotations

from types import ModuleType

from mxnet import nd, sym

Array = nd.NDArray | sym.Symbol


def bernoulli_nll(F: ModuleType, logits: Array, x: Array) -> Array:
    """Negative log-likelihood of pixels under independent Bernoulli distributions.

    ``-sum_i [x_i log p_i + (1 - x_i) log(1 - p_i)]`` with ``p = sigmoid(logits)``, computed as
    ``sum_i softplus(logits_i) - x_i logits_i`` (Kingma and Welling 2014, appendix C.1). Unlike
    ``log(p + 1e-10)`` it is linear where a pixel saturates, so its gradient, ``p - x``, never dies.

    Parameters
    ----------
    F
        ``mxnet.nd`` or ``mxnet.sym``.
    logits : (batch, n_output)
        Log-odds of each pixel.
    x : (batch, n_output)
        Pixels in [0, 1].

    Returns
    -------
    (batch,)
        Nats per image.
    """
    return F.sum(F.Activation(logits, act_type="softrelu") - x * logits, axis=1)


def kl_to_standard_normal(F: ModuleType, mu: Array, log_var: Array) -> Array:
    """KL divergence of N(mu, diag exp(log_var)) from N(0, I).

    ``1/2 sum_j [mu_j^2 + exp(log_var_j) - 1 - log_var_j]`` (Kingma and Welling 2014, appendix B).

    Parameters
    ----------
    F
        ``mxnet.nd`` or ``mxnet.sym``.
    mu, log_var : (batch, n_latent)
        Mean and logarithm of the variance.

    Returns
    -------
    (batch,)
        Nats per image, at least 0.
    """
    return 0.5 * F.sum(F.square(mu) + F.exp(log_var) - 1 - log_var, axis=1)
