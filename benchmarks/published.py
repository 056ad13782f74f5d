"""Contestant: the way the published Gluon tutorial trains the same network.

Written anew from its description: the loss from ``log(y + 1e-10)``, the batch size inside the model,
``hybridize()`` without options, Xavier's initial weights, ``gluon.Trainer`` with Adam at 1e-3, batches in
fixed order from ``NDArrayIter``, and a loss that is read at every step.
"""

from worker import N_HIDDEN, N_LATENT, N_OUTPUT, Channel, load_images

import gluon_vae  # noqa: F401  MXNet imports after it only

import mxnet as mx
from mxnet import autograd, gluon, nd
from mxnet.gluon import nn

TINY = 1e-10


class PublishedVAE(gluon.HybridBlock):
    """784-400-400-2 and back, sigmoid outputs; a call returns the negative ELBO of each image."""

    def __init__(self, batch_size: int) -> None:
        super().__init__()
        self.batch_size = batch_size
        with self.name_scope():
            self.encoder = nn.HybridSequential()
            self.decoder = nn.HybridSequential()
            for part in (self.encoder, self.decoder):
                part.add(nn.Dense(N_HIDDEN, activation="relu"), nn.Dense(N_HIDDEN, activation="relu"))
            self.encoder.add(nn.Dense(2 * N_LATENT))
            self.decoder.add(nn.Dense(N_OUTPUT, activation="sigmoid"))

    def hybrid_forward(self, F, x):
        mu, log_var = F.split(self.encoder(x), num_outputs=2, axis=1)
        eps = F.random_normal(loc=0, scale=1, shape=(self.batch_size, N_LATENT))
        y = self.decoder(mu + F.exp(0.5 * log_var) * eps)
        minus_kl = 0.5 * F.sum(1 + log_var - mu * mu - F.exp(log_var), axis=1)
        log_likelihood = F.sum(x * F.log(y + TINY) + (1 - x) * F.log(1 - y + TINY), axis=1)
        return -(log_likelihood + minus_kl)


def main() -> None:
    """Build the model and serve."""
    channel = Channel()
    options = channel.options
    batch_size = options["batch_size"]
    x_train, x_test = load_images(options)
    mx.random.seed(options["seed"])
    net = PublishedVAE(batch_size)
    net.initialize(mx.init.Xavier())
    net.hybridize()
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 1e-3})
    train_batches = mx.io.NDArrayIter(x_train, batch_size=batch_size, last_batch_handle="discard")
    test_batches = mx.io.NDArrayIter(x_test, batch_size=batch_size, last_batch_handle="discard")

    def epoch() -> dict:
        train_batches.reset()
        total = n = 0
        for batch in train_batches:
            x = batch.data[0]
            with autograd.record():
                loss = net(x)
            loss.backward()
            trainer.step(batch_size)
            total, n = total + nd.mean(loss).asscalar(), n + 1
        return {"train_loss": float(total / n)} | (evaluate() if options["evaluate"] else {})

    def evaluate() -> dict:
        test_batches.reset()
        losses = [nd.mean(net(batch.data[0])).asscalar() for batch in test_batches]
        return {"test_loss": float(sum(losses) / len(losses))}

    channel.serve(epoch=epoch)


if __name__ == "__main__":
    main()
