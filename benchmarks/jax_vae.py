"""Contestant: the same model in JAX with optax's Adam.

``form`` is "step" (one compiled call per step) or "scan" (one compiled call per epoch).
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from worker import N_LATENT, Channel, check_batch, load_images, shuffled, start_parameters


def dense(layers: list, x: jax.Array) -> jax.Array:
    """Apply linear layers with ReLU between them."""
    for weight, bias in layers[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    weight, bias = layers[-1]
    return x @ weight + bias


def negative_elbo(layers: list, x: jax.Array, eps: jax.Array) -> jax.Array:
    """Mean negative ELBO of a batch; the first half of the layers encodes, the second decodes."""
    half = len(layers) // 2
    mu, log_var = jnp.split(dense(layers[:half], x), 2, axis=1)
    logits = dense(layers[half:], mu + jnp.exp(0.5 * log_var) * eps)
    nll = jnp.sum(jax.nn.softplus(logits) - x * logits)
    kl = 0.5 * jnp.sum(mu**2 + jnp.exp(log_var) - 1 - log_var)
    return (nll + kl) / len(x)


def main() -> None:
    """Build the model from the common parameters and serve."""
    channel = Channel()
    options = channel.options
    x_train, _ = load_images(options)
    x_train = jnp.asarray(x_train)
    values = start_parameters(options)
    layers = [(jnp.asarray(weight.T), jnp.asarray(bias)) for weight, bias in zip(values[::2], values[1::2])]
    adam = optax.adam(options["learning_rate"])
    state = layers, adam.init(layers), jax.random.key(options["seed"])
    n_epochs = 0

    def step(state: tuple, rows: jax.Array, x_train: jax.Array) -> tuple[tuple, jax.Array]:
        layers, moments, key = state
        key, own = jax.random.split(key)
        eps = jax.random.normal(own, (len(rows), N_LATENT))
        loss, gradient = jax.value_and_grad(negative_elbo)(layers, x_train[rows], eps)
        update, moments = adam.update(gradient, moments)
        return (optax.apply_updates(layers, update), moments, key), loss

    @partial(jax.jit, donate_argnums=0)
    def many_steps(state: tuple, order: jax.Array, x_train: jax.Array) -> tuple[tuple, jax.Array]:
        return lax.scan(lambda state, rows: step(state, rows, x_train), state, order)

    one_step = jax.jit(step, donate_argnums=0)

    def check() -> dict:
        loss, gradient = jax.jit(jax.value_and_grad(negative_elbo))(layers, *map(jnp.asarray, check_batch(options)))
        squares = sum(float((array**2).sum()) for array in jax.tree.leaves(gradient))
        return {"loss": float(loss), "gradient": float(np.sqrt(squares))}

    def epoch() -> dict:
        nonlocal state, n_epochs
        n_epochs += 1
        order = shuffled(options, len(x_train), n_epochs).astype(np.int32)
        if options["form"] == "scan":
            state, losses = many_steps(state, order, x_train)
        else:
            losses = []
            for rows in order:
                state, loss = one_step(state, rows, x_train)
                losses.append(loss)
        return {"train_loss": float(jnp.mean(jnp.stack(list(losses))))}

    channel.serve(check=check, epoch=epoch)


if __name__ == "__main__":
    main()
