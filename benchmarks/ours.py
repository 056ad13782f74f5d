"""Contestant: this package, through ``gluon_vae.fit``, ``encode`` and ``generate``."""

import numpy as np
from worker import (
    CHANNELS,
    CONV_LATENT,
    N_HIDDEN,
    N_LATENT,
    PICTURES,
    Channel,
    check_batch,
    load_images,
    start_parameters,
)

import gluon_vae

from mxnet import autograd, nd


def main() -> None:
    """Build the model from the common parameters and serve."""
    channel = Channel()
    options = channel.options
    x_train, x_test = load_images(options)
    if options["model"] in PICTURES:
        net = gluon_vae.ConvVAE(CHANNELS, CONV_LATENT, image_shape=PICTURES[options["model"]])
    else:
        net = gluon_vae.VAE(n_hidden=N_HIDDEN, n_latent=N_LATENT, n_layers=2)
    net.hybridize(static_alloc=True, static_shape=True)
    net.initialize()
    for parameter, value in zip(net.collect_params().values(), start_parameters(options), strict=True):
        # The convolutional decoder of grey images ends in two maps and drops the second; it starts from zeros.
        missing = [(0, n - m) for n, m in zip(parameter.shape, value.shape)]
        parameter.set_data(nd.array(np.pad(value, missing)))

    def check() -> dict:
        x, eps = map(nd.array, check_batch(options))
        with autograd.record():
            loss = net(x, eps).mean()
        loss.backward()
        squares = [(parameter.grad() ** 2).sum().asscalar() for parameter in net.collect_params().values()]
        return {"loss": float(loss.asscalar()), "gradient": float(np.sqrt(np.sum(squares)))}

    def epoch() -> None:
        """Train; every epoch after the first waits for its own command."""

        def answer_and_wait(history: dict) -> None:
            channel.answer(**{key: values[-1] for key, values in history.items()})
            channel.wait()

        gluon_vae.fit(
            net,
            x_train,
            x_test if options["evaluate"] else None,
            n_epochs=options["n_epochs"],
            batch_size=options["batch_size"],
            learning_rate=options["learning_rate"],
            schedule=options["schedule"],
            seed=options["seed"],
            progress=False,
            on_epoch=answer_and_wait,
        )

    z = gluon_vae.prior_draws(len(x_test), net.n_latent)
    channel.serve(
        check=check,
        epoch=epoch,
        encode=lambda: {"sum": float(gluon_vae.encode(net, x_test).sum())},
        decode=lambda: {"sum": float(gluon_vae.generate(net, z).sum())},
    )


if __name__ == "__main__":
    main()
