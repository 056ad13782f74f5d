"""Contestant: the same models in PyTorch.

``form`` is "default" (eager, Adam as it comes), "fused" (eager, fused Adam, denormal floats flushed to
zero) or "compiled" (the same with the loss through torch.compile).
"""

from itertools import pairwise
from math import prod

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from worker import (
    CHANNELS,
    CONV_LATENT,
    CONV_SIDE,
    N_LATENT,
    N_OUTPUT,
    PICTURES,
    WIDTHS,
    Channel,
    check_batch,
    load_images,
    shuffled,
    start_parameters,
)


def dense(widths: tuple[int, ...]) -> nn.Sequential:
    """Stack linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for n_input, n_units in pairwise(widths):
        layers += [nn.Linear(n_input, n_units), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def convolutional(image_shape: tuple[int, int, int]) -> tuple[nn.Sequential, nn.Sequential]:
    """Kernel 4 and stride 2 at each of three levels: 28, 14, 7, 4 pixels, or 32, 16, 8, 4, and back; leaky ReLUs."""
    n_maps, side, _ = image_shape
    flat, odd = CHANNELS[-1] * CONV_SIDE**2, [(-(-side // 2**level)) % 2 for level in range(len(CHANNELS))]
    encoder: list[nn.Module] = [nn.Unflatten(1, image_shape)]
    for (n_input, n_units), extra in zip(pairwise((n_maps, *CHANNELS)), odd):
        encoder += [nn.Conv2d(n_input, n_units, 4, 2, 1 + extra), nn.LeakyReLU(0.1)]
    encoder += [nn.Flatten(), nn.Linear(flat, 2 * CONV_LATENT)]
    decoder: list[nn.Module] = [nn.Linear(CONV_LATENT, flat), nn.LeakyReLU(0.1)]
    decoder += [nn.Unflatten(1, (CHANNELS[-1], CONV_SIDE, CONV_SIDE))]
    for (n_input, n_units), extra in zip(pairwise((*reversed(CHANNELS), n_maps)), reversed(odd)):
        decoder += [nn.ConvTranspose2d(n_input, n_units, 4, 2, 1 + extra, extra), nn.LeakyReLU(0.1)]
    return nn.Sequential(*encoder), nn.Sequential(*decoder[:-1], nn.Flatten())


class TorchVAE(nn.Module):
    """Encoder and decoder; a call returns the mean negative ELBO of a batch."""

    def __init__(self, model: str) -> None:
        super().__init__()
        if model in PICTURES:
            self.encoder, self.decoder = convolutional(PICTURES[model])
        else:
            self.encoder, self.decoder = map(dense, WIDTHS)
        self.n_latent = CONV_LATENT if model in PICTURES else N_LATENT

    def forward(self, x: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
        mu, log_var = self.encoder(x).chunk(2, dim=1)
        logits = self.decoder(mu + torch.exp(0.5 * log_var) * eps)
        nll = functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        kl = 0.5 * (mu.square() + log_var.exp() - 1 - log_var).sum()
        return (nll + kl) / len(x)


def main() -> None:
    """Build the model from the common parameters and serve."""
    channel = Channel()
    options = channel.options
    torch.manual_seed(options["seed"])
    torch.set_num_threads(options["threads"])
    fast = options["form"] != "default"
    torch.set_flush_denormal(fast)
    x_train, x_test = map(torch.from_numpy, load_images(options))
    net = TorchVAE(options["model"])
    with torch.no_grad():
        for parameter, value in zip(net.parameters(), start_parameters(options), strict=True):
            parameter.copy_(torch.from_numpy(value))
    adam = torch.optim.Adam(net.parameters(), lr=options["learning_rate"], fused=True if fast else None)
    loss_of = torch.compile(net) if options["form"] == "compiled" else net
    n_epochs = 0

    def check() -> dict:
        net.zero_grad()
        loss = loss_of(*map(torch.from_numpy, check_batch(options)))
        loss.backward()
        squares = sum(float(parameter.grad.square().sum()) for parameter in net.parameters())
        net.zero_grad()
        return {"loss": float(loss), "gradient": float(np.sqrt(squares))}

    def epoch() -> dict:
        nonlocal n_epochs
        n_epochs += 1
        order = torch.from_numpy(shuffled(options, len(x_train), n_epochs))
        total = torch.zeros(())
        for rows in order:
            x = x_train[rows]
            loss = loss_of(x, torch.randn(len(x), net.n_latent))
            adam.zero_grad()
            loss.backward()
            adam.step()
            total += loss.detach()
        return {"train_loss": float(total) / len(order)}

    z = torch.from_numpy(np.random.default_rng(0).standard_normal((len(x_test), net.n_latent), dtype=np.float32))
    rows = options.get("rows", len(x_test))

    @torch.no_grad()
    def encode() -> dict:
        parts = [net.encoder(x)[:, : net.n_latent].numpy() for x in x_test.split(rows)]
        return {"sum": float(np.concatenate(parts).sum())}

    @torch.no_grad()
    def decode() -> dict:
        parts = [torch.sigmoid(net.decoder(some)).numpy() for some in z.split(rows)]
        return {"sum": float(np.concatenate(parts).sum())}

    assert x_train.shape[1] == prod(PICTURES.get(options["model"], (N_OUTPUT,)))
    channel.serve(check=check, epoch=epoch, encode=encode, decode=decode)


if __name__ == "__main__":
    main()
