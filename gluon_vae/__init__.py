"""The variational auto-encoder in MXNet Gluon."""

from .data import binarize, load_mnist
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
    "latent_grid",
    "load_mnist",
    "prior_draws",
    "reconstruct",
]
