"""The variational auto-encoder in MXNet Gluon."""

from .checkpoint import load
from .data import binarize, load_mnist
from .divergences import kl_diagonal_gaussian, kl_gaussian
from .evaluation import elbo, encode, generate, latent_grid, prior_draws, reconstruct
from .training import default_device, fit
from .vae import VAE

__all__ = [
    "VAE",
    "binarize",
    "default_device",
    "elbo",
    "encode",
    "fit",
    "generate",
    "kl_diagonal_gaussian",
    "kl_gaussian",
    "latent_grid",
    "load",
    "load_mnist",
    "prior_draws",
    "reconstruct",
]
