"""The variational auto-encoder in MXNet Gluon."""

# ruff: noqa: E402

from .compatibility import import_mxnet

import_mxnet()

from .autoencoders import Autoencoder, DenoisingAutoencoder, SparseAutoencoder
from .checkpoint import load
from .codes import encode, generate, latent_grid, pixel_variance, prior_draws, reconstruct
from .composed import ComposedVAE
from .data import binarize, load_mnist
from .divergences import kl_diagonal_gaussian, kl_gaussian
from .evaluation import active_units, elbo, kl_per_dimension, log_likelihood
from .training import default_device, fit
from .vae import VAE, ConditionalVAE, ConvVAE

__all__ = [
    "VAE",
    "Autoencoder",
    "ComposedVAE",
    "ConditionalVAE",
    "ConvVAE",
    "DenoisingAutoencoder",
    "SparseAutoencoder",
    "active_units",
    "binarize",
    "default_device",
    "elbo",
    "encode",
    "fit",
    "generate",
    "kl_diagonal_gaussian",
    "kl_gaussian",
    "kl_per_dimension",
    "latent_grid",
    "load",
    "load_mnist",
    "log_likelihood",
    "pixel_variance",
    "prior_draws",
    "reconstruct",
]
