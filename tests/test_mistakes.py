"""experiments/mistakes.py: the ruler is right where the answer is known, and the bad starts are bad."""

from itertools import product
from types import SimpleNamespace

import mistakes
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

import gluon_vae
from gluon_vae.data import Mnist

from mxnet import nd


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(1)
    x = rng.random((60, 784), dtype=np.float32)
    y = np.zeros(60, dtype=np.int64)
    return Mnist(x[:40], y[:40], x[40:], y[40:])


def initialized(net):
    net.initialize(gluon_vae.training.INITIALIZER)
    return net


def test_the_overstatement_is_the_kl_that_is_charged_less_that_of_the_draws(rng):
    mu, log_var = rng.standard_normal(3), np.array([-3.0, -0.4, 0.5])
    true = 0.0
    for q in (norm(m, np.exp(s)) for m, s in zip(mu, log_var)):
        points = [q.mean() - 9, q.mean() + 9]
        true += quad(lambda z, q=q: q.pdf(z) * (q.logpdf(z) - norm.logpdf(z)), *points, points=[q.mean()])[0]
    charged = mistakes.kl(mu[None], log_var[None])[0]
    np.testing.assert_allclose(mistakes.overstated(log_var[None])[0], true - charged, rtol=1e-6)


@pytest.mark.parametrize("std", [None, mistakes.power, mistakes.no_half])
def test_the_judge_knows_from_which_density_the_codes_are_drawn(rng, data, std):
    net = initialized(mistakes.Exhibit(std=std))
    mu, log_var, of_noise = mistakes.drawn(net, data.x_test)
    eps = rng.standard_normal((4000, 10))
    z = mu[0] + net.std(nd, nd.array(log_var[0])).asnumpy() * eps
    np.testing.assert_allclose(np.log(z.var(axis=0)), of_noise[0], atol=0.15)
    nll, kl = mistakes.judge(net, data.x_test, seed=0, n_samples=20)
    np.testing.assert_allclose(kl, mistakes.kl(mu, of_noise))
    if std is None:
        elbo = gluon_vae.elbo(net, data.x_test, n_samples=20)
        np.testing.assert_allclose(-(nll + kl).mean(), elbo.mean, rtol=0.01)


def test_the_evidence_of_all_images_sums_to_one(rng):
    W = rng.standard_normal((2, 3))
    net = SimpleNamespace(decoder=SimpleNamespace(logits=lambda z: nd.dot(z, nd.array(W, dtype=z.dtype))))
    x = np.array(list(product((0.0, 1.0), repeat=3)))
    np.testing.assert_allclose(np.exp(mistakes.log_evidence(net, x, 201)).sum(), 1, rtol=1e-4)


def test_copies_are_found_and_others_are_not(data):
    net = initialized(mistakes.Exhibit())
    shown = {"copy": gluon_vae.reconstruct(net, data.x_train), "other": gluon_vae.reconstruct(net, data.x_test)}
    slow = [min(np.linalg.norm(image - other) for other in shown["copy"]) for image in shown["other"]]
    np.testing.assert_allclose(mistakes.nearest(shown["other"], shown["copy"]), slow, rtol=1e-2)
    shares = mistakes.as_copies(net, data, shown)
    assert shares["copy"] == 1
    assert shares["other"] <= 1 / len(data.x_test)


def test_warm_up_ends_with_the_full_weight(data):
    setting = mistakes.Setting(lambda: gluon_vae.VAE(n_hidden=4, beta=20), n_epochs=3, warm_up=2)
    net, history = mistakes.train(setting, 0, data)
    charged = np.subtract(history["train_loss"], history["train_nll"]) / history["train_kl"]
    np.testing.assert_allclose(charged, [0.2, 10, 20], rtol=1e-3)
    assert net.beta == 20


def test_free_bits_are_free(data):
    net = initialized(mistakes.FreeBits(0.5, n_hidden=4, n_latent=3, beta=2))
    loss = net(data.x_train).asnumpy()
    per_dimension = gluon_vae.kl_per_dimension(net, data.x_train)
    charged = np.maximum(per_dimension, 0.5).sum()
    np.testing.assert_allclose(loss, net.nll.asnumpy() + 2 * charged, rtol=1e-5)
    assert charged > per_dimension.sum() + 0.1


@pytest.mark.parametrize("name", ["4 from a bar", "5 from zero"])
def test_the_bad_starts_are_as_bad_as_they_are_said_to_be(name):
    setting = mistakes.SETTINGS[name]
    net = initialized(setting.make())
    setting.start(net)
    logits = net.decoder.logits(nd.random.normal(shape=(5, 10))).asnumpy().reshape(5, 28, 28)
    if name == "5 from zero":
        assert not logits.any()
    else:
        assert (logits[:, 12:16] > 20).all()
        assert (abs(logits[:, :12]) < 20).all()


def test_collapse_is_a_local_optimum_of_the_sheets():
    x = mistakes.sheets()
    assert np.isclose(np.mean(x == mistakes.DARK), mistakes.RARE)
    largest = np.linalg.eigvalsh(np.cov(x, rowvar=False, bias=True))[-1]
    assert np.isclose(largest, mistakes.RATIO * mistakes.sheet_variance())


def test_the_loss_of_the_sheets_is_that_of_the_mean_if_the_code_is_silent():
    net = initialized(mistakes.SETTINGS["sheets plain"].make())
    net.encoder[-1].weight.set_data(nd.zeros((2, 20)))  # q is the prior for either sheet
    net.decoder.logits[-1].weight.set_data(nd.zeros((mistakes.N_PIXELS, 20)))
    mean = mistakes.sheets().mean()
    net.decoder.logits[-1].bias.set_data(nd.full(mistakes.N_PIXELS, np.log(mean / (1 - mean))))
    np.testing.assert_allclose(mistakes.sheet_loss(net, 0), [mistakes.RATIO / 2, 0], atol=1e-4)


def test_every_run_is_on_record():
    settings = mistakes.SETTINGS.items()
    assert [run for name, setting in settings for run in mistakes.RECORD.missing([name], setting.seeds)] == []
    assert set(mistakes.UNSEEN).isdisjoint(mistakes.SEEDS)
