"""What the denoising autoencoder does to images, and the sparse one to codes."""

import numpy as np
import pytest
from conftest import N_OUTPUT, N, make

import mxnet as mx
from mxnet import autograd, nd


@pytest.mark.parametrize("corruption", ["masking", "gaussian"])
def test_images_are_corrupted_in_training_mode_only_and_measured_against_clean_ones(corruption, x):
    net = make(f"denoising {corruption}", level=0.3)
    x = nd.array(x)
    np.testing.assert_array_equal(net(x).asnumpy(), net(x, x).asnumpy())
    mx.random.seed(5)
    corrupted = net.corrupt(x)
    mx.random.seed(5)
    with autograd.record():
        noisy = net(x)
    assert (noisy != net(x)).asnumpy().any()
    clean_target = net(x, corrupted)
    np.testing.assert_array_equal(noisy.asnumpy(), clean_target.asnumpy())
    logits = net.decoder.logits(net.encoder(corrupted))
    np.testing.assert_allclose(net.likelihood(logits, x).asnumpy(), clean_target.asnumpy(), rtol=1e-6)


def test_corruptions_are_what_they_say():
    x = nd.full((100, N_OUTPUT), 0.5)
    masked = make("denoising masking", level=0.3).corrupt(x).asnumpy()
    assert set(np.unique(masked)) == {0, 0.5}
    assert (masked == 0).mean() == pytest.approx(0.3, abs=0.02)
    noisy = make("denoising gaussian", level=0.1).corrupt(x).asnumpy()
    assert noisy.std() == pytest.approx(0.1, rel=0.05)
    assert make("denoising gaussian", level=0.9).corrupt(x).asnumpy().min() == 0


def test_sparsity_penalties_against_numpy(x):
    net = make("sparse l1", n_layers=1, weight=2.0)
    loss = net(nd.array(x))
    code = net.encoder(nd.array(x)).asnumpy()
    assert (code == 0).any()
    np.testing.assert_allclose(net.penalty.asnumpy(), code.sum(axis=1), rtol=1e-6)
    np.testing.assert_allclose(loss.asnumpy(), net.nll.asnumpy() + 2 * code.sum(axis=1), rtol=1e-6)
    net = make("sparse kl", n_layers=1, rate=0.2)
    net(nd.array(x))
    m = net.encoder(nd.array(x)).asnumpy().mean(axis=0)
    divergence = (0.2 * np.log(0.2 / m) + 0.8 * np.log(0.8 / (1 - m))).sum()
    np.testing.assert_allclose(net.penalty.asnumpy(), np.full(N, divergence), rtol=1e-5)
