"""Contestant: every model of the package, and what is done with a trained one, as often as it is told."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from worker import CHANNELS, CONV_LATENT, N_HIDDEN, N_LATENT, Channel, load_images

import gluon_vae

DENSE = {"n_hidden": N_HIDDEN, "n_latent": N_LATENT, "n_layers": 2}
N_TRAINED, N_TRAINED_CONV = 6000, 2000  # images in an epoch


def main() -> None:
    """Build the models and serve."""
    channel = Channel()
    x_train, x_test = load_images(channel.options)
    labels = np.arange(len(x_train)) % 10

    def made(kind: type, *args: Any, **options: Any) -> gluon_vae.VAE:
        net = kind(*args, **options)
        net.hybridize(static_alloc=True, static_shape=True)
        return net

    def train(net: gluon_vae.VAE, n: int, batch_size: int = 100) -> None:
        y = labels[:n] if net.n_classes else None
        gluon_vae.fit(net, x_train[:n], y_train=y, n_epochs=1, batch_size=batch_size, progress=False)

    dense, conv = made(gluon_vae.VAE, **DENSE), made(gluon_vae.ConvVAE, CHANNELS, CONV_LATENT)
    z, z_conv = (gluon_vae.prior_draws(len(x_test), net.n_latent) for net in (dense, conv))
    kinds = ("ConditionalVAE", "Autoencoder", "SparseAutoencoder", "DenoisingAutoencoder")
    others = {kind: made(getattr(gluon_vae, kind), **DENSE) for kind in kinds}
    tasks: dict[str, Callable[[], object]] = {
        "fit VAE": partial(train, dense, N_TRAINED),
        "fit VAE, 500 rows": partial(train, dense, N_TRAINED, 500),
        "fit VAE, Gaussian": partial(train, made(gluon_vae.VAE, **DENSE, likelihood="gaussian"), N_TRAINED),
        **{f"fit {kind}": partial(train, net, N_TRAINED) for kind, net in others.items()},
        "fit ConvVAE": partial(train, conv, N_TRAINED_CONV),
        "encode": partial(gluon_vae.encode, dense, x_test),
        "generate": partial(gluon_vae.generate, dense, z),
        "elbo": partial(gluon_vae.elbo, dense, x_test),
        "log_likelihood, 100 images": partial(
            gluon_vae.log_likelihood, dense, x_test[:100], n_samples=1000, progress=False
        ),
        "encode, ConvVAE": partial(gluon_vae.encode, conv, x_test),
        "generate, ConvVAE": partial(gluon_vae.generate, conv, z_conv),
    }

    def do(task: Callable[[], object]) -> None:
        task()

    channel.serve(tasks=lambda: {"tasks": list(tasks)}, **{name: partial(do, task) for name, task in tasks.items()})


if __name__ == "__main__":
    main()
