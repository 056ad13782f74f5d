"""The variational auto-encoder in MXNet Gluon.

To read the package, begin with the loss and follow the data:

1. ``losses``: the terms of the negative ELBO; ``layers``: encoders and decoders; ``likelihoods``: p(x|z)
2. ``vae``: the negative ELBO, and the VAEs; ``model``: what they share with ``autoencoders``, and how a call goes;
   ``semi_supervised``: a label as a second latent; ``shapes``: the picture behind a row of numbers
3. ``training``: ``fit``, the loop; ``run``: what a run is; ``adam``: the rule of its steps
4. ``evaluation``: the ELBO and log p(x) of images; ``scoring``: which images are strange; ``latent``: from images to
   codes and back; ``interpolation``: ways between codes; ``priors``, ``vamp_prior``, ``flow``: other p(z);
   ``sample_quality``: how good samples are, by ``digit_classifier``; ``export``: the networks for other runtimes
5. ``data``, ``images`` with ``sources``, ``pixels``, ``classes``, ``idx``, ``array_files``, ``picture_files``;
   ``plotting`` with ``sheets``, ``planes`` and ``palette``, ``figures``: where images come from, and where they go
6. ``contract``: what all of that asks of a model of your own

The rest is for machines: ``arrays``, ``checks``, ``checkpoint`` with ``archive``, ``metadata`` and ``reading``,
``storage``, ``distributed``, ``launcher``, ``compiled_adam``, ``generator``, ``onnx_graph``, ``options``,
``use`` with ``use_options``, ``subject``, ``unsplit``, ``use_codes`` and ``use_images``,
``preflight``, ``process``, ``streams``, ``roles``, ``openmp``, ``machine``, ``compatibility``, ``install_mxnet``;
``divergences``, ``diagrams`` and ``docstrings`` stand alone.
"""

# ruff: noqa: E402

from . import process

process.begin()

from .compatibility import import_mxnet

import_mxnet()

from .autoencoders import Autoencoder, DenoisingAutoencoder, SparseAutoencoder
from .checkpoint import load
from .data import binarize, load_mnist
from .divergences import kl_diagonal_gaussian, kl_gaussian
from .evaluation import active_units, elbo, kl_per_dimension, log_likelihood
from .export import export_onnx
from .images import Images, load_images
from .interpolation import interpolate
from .latent import encode, generate, latent_grid, pixel_variance, posterior_draws, prior_draws, reconstruct
from .scoring import anomaly_threshold, score
from .semi_supervised import SemiSupervisedVAE, label_probabilities
from .training import default_device, fit
from .vae import VAE, ComposedVAE, ConditionalVAE, ConvVAE

__all__ = [
    "VAE",
    "Autoencoder",
    "ComposedVAE",
    "ConditionalVAE",
    "ConvVAE",
    "DenoisingAutoencoder",
    "Images",
    "SemiSupervisedVAE",
    "SparseAutoencoder",
    "active_units",
    "anomaly_threshold",
    "binarize",
    "default_device",
    "elbo",
    "encode",
    "export_onnx",
    "fit",
    "generate",
    "interpolate",
    "kl_diagonal_gaussian",
    "kl_gaussian",
    "kl_per_dimension",
    "label_probabilities",
    "latent_grid",
    "load",
    "load_images",
    "load_mnist",
    "log_likelihood",
    "pixel_variance",
    "posterior_draws",
    "prior_draws",
    "reconstruct",
    "score",
]
