"""A label as a second latent: known, it is data; unknown, every label is weighed."""

import numpy as np
import pytest
from conftest import MODES, N_LATENT, N_OUTPUT, N, grey_images, make
from scipy.special import logsumexp, softmax

import gluon_vae
from gluon_vae import SemiSupervisedVAE

from mxnet import autograd, nd

N_CLASSES = 4
LABELS = np.array([0, 3, -1, 2, -1, 1, -1])
KNOWN = LABELS >= 0


@pytest.fixture
def x():
    return grey_images()


def model(mode="imperative", **options):
    return make("semi-supervised", mode, n_classes=N_CLASSES, **options)


def terms_of_every_label(net, x, eps):
    """Return NLL and KL(q(z|x, y) || p(z)), (n_classes, n), and q(y|x), (n, n_classes), one label at a time."""
    nll, kl = [], []
    for label, noise in enumerate(eps):
        y = nd.array(np.full(len(x), label), dtype=np.int32)
        mu, log_var = net.encoder(nd.array(x), y).asnumpy().astype(float).reshape(len(x), 2, -1).transpose(1, 0, 2)
        z = mu + np.exp(0.5 * log_var) * noise
        nll.append(net.nll_given(nd.array(x), nd.array(z), y).asnumpy())
        kl.append(0.5 * (mu**2 + np.exp(log_var) - 1 - log_var).sum(axis=1))
    return np.array(nll), np.array(kl), softmax(net.classifier(nd.array(x)).asnumpy().astype(float), axis=1)


@pytest.mark.parametrize("mode", MODES)
def test_the_loss_is_the_papers_label_by_label(x, mode):
    net = model(mode, beta=0.5, label_weight=7)
    eps = np.random.default_rng(3).standard_normal((N_CLASSES, N, N_LATENT))
    nll, kl, q = terms_of_every_label(net, x, eps)
    bound = nll + 0.5 * (kl + np.log(N_CLASSES))
    known = [bound[y, i] - 7 * np.log(q[i, y]) for i, y in enumerate(LABELS) if y >= 0]
    unknown = [(q[i] * (bound[:, i] + 0.5 * np.log(q[i]))).sum() for i in np.flatnonzero(~KNOWN)]
    loss = net(nd.array(x), nd.array(LABELS), nd.array(eps.reshape(-1, N_LATENT))).asnumpy()
    np.testing.assert_allclose(loss[KNOWN], known, rtol=1e-5)
    np.testing.assert_allclose(loss[~KNOWN], unknown, rtol=1e-5)
    penalty = [-np.log(q[i, y]) if y >= 0 else 0 for i, y in enumerate(LABELS)]
    np.testing.assert_allclose(net.penalty.asnumpy(), penalty, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose((net.nll + 0.5 * net.kl + 7 * net.penalty).asnumpy(), loss, rtol=1e-6)


def test_attributes_are_those_of_the_label_or_their_mean_by_its_probability(x):
    net = model()
    eps = np.zeros((N_CLASSES * N, N_LATENT))
    net(nd.array(x), nd.array(LABELS), nd.array(eps))
    weight = np.where(KNOWN[:, None], np.eye(N_CLASSES)[LABELS], gluon_vae.label_probabilities(net, x))
    for label in range(N_CLASSES):
        every = np.full(N, label)
        codes, pictures = gluon_vae.encode(net, x, every), gluon_vae.reconstruct(net, x, every)
        only = weight[:, label] == 1
        np.testing.assert_allclose(net.mu.asnumpy()[only], codes[only], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(net.output.asnumpy()[only], pictures[only], rtol=1e-5, atol=1e-6)
    mean = sum(weight[:, [y]] * gluon_vae.encode(net, x, np.full(N, y)) for y in range(N_CLASSES))
    np.testing.assert_allclose(net.mu.asnumpy(), mean, rtol=1e-5, atol=1e-6)


def test_without_its_label_an_image_is_bounded_through_every_label(x):
    """log p(x) = log sum_y p(x, y), and both ELBOs are below what they bound."""
    net = model()
    log_p_xy = np.full((N_CLASSES, N), -np.log(N_CLASSES))
    for y in range(N_CLASSES):
        log_p_xy[y] += gluon_vae.log_likelihood(net, x, np.full(N, y), n_samples=2000, progress=False).per_image
    told = gluon_vae.elbo(net, x, np.full(N, 2), n_samples=200).per_image
    untold = gluon_vae.elbo(net, x, np.full(N, -1), n_samples=200).per_image
    assert (told < log_p_xy[2] + 0.05).all()
    assert (untold < logsumexp(log_p_xy, axis=0) + 0.05).all()
    assert (untold > logsumexp(log_p_xy, axis=0) - 20).all()


def test_the_bound_is_highest_where_the_classifier_is_bayes_rule(x):
    """Over q(y|x) the loss of an image without a label is least at the softmax of the bounds."""
    net = model()
    eps = np.random.default_rng(3).standard_normal((N_CLASSES, N, N_LATENT))
    nll, kl, _ = terms_of_every_label(net, x, eps)
    output = net.classifier[-1]
    noise = nd.array(eps.reshape(-1, N_LATENT))
    # One image: the last layer's bias alone then decides q(y|x).
    one, one_noise = nd.array(x[:1]), nd.array(eps[:, :1].reshape(-1, N_LATENT))
    output.weight.set_data(nd.zeros_like(output.weight.data()))
    log_joint = -(nll + kl)[:, 0]
    output.bias.set_data(nd.array(log_joint - logsumexp(log_joint)))
    with autograd.record():
        best = net(one, nd.array([-1]), one_noise)
    best.backward()
    np.testing.assert_allclose(best.asscalar(), np.log(N_CLASSES) - logsumexp(log_joint), rtol=1e-5)
    assert np.abs(output.bias.grad().asnumpy()).max() < 1e-4
    for change in np.random.default_rng(4).standard_normal((5, N_CLASSES)):
        output.bias.set_data(nd.array(log_joint - logsumexp(log_joint) + change))
        assert net(one, nd.array([-1]), one_noise).asscalar() > best.asscalar()
    assert noise.shape == net.noise_shape(nd.array(x))


def two_kinds(n, seed=0):
    """Return noisy images of two kinds, (n, 12), and their kinds."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 2, n)
    mean = np.where(np.arange(12) < 6, 0.85, 0.15)
    mean = np.where(kinds[:, None] == 0, mean, 1 - mean)
    return (rng.random((n, 12)) < mean).astype(np.float32), kinds


def test_images_without_labels_teach_the_classifier():
    x, kinds = two_kinds(400)
    x_test, y_test = two_kinds(400, seed=1)
    few = np.array([np.flatnonzero(kinds == kind)[0] for kind in (0, 1)])
    y = np.full(400, -1)
    y[few] = kinds[few]
    settings = {"n_epochs": 15, "batch_size": 20, "learning_rate": 1e-2, "seed": 0, "progress": False}
    rows = np.concatenate([np.arange(400), np.repeat(few, 20)])
    net = SemiSupervisedVAE(16, 2, 1, 12, 2)
    history = gluon_vae.fit(net, x[rows], y_train=y[rows], **settings)
    alone = SemiSupervisedVAE(16, 2, 1, 12, 2)
    gluon_vae.fit(alone, x[few], y_train=y[few], **settings | {"n_epochs": 100})
    right = [(gluon_vae.label_probabilities(m, x_test).argmax(axis=1) == y_test).mean() for m in (net, alone)]
    assert right[0] > max(0.95, right[1] + 0.02)
    assert history["train_loss"][-1] < history["train_loss"][0]
    assert {"train_nll", "train_kl", "train_penalty"} <= set(history)


@pytest.mark.parametrize("y", [LABELS - 1, np.full(N, N_CLASSES), LABELS[:-1], LABELS / 2])
def test_what_is_no_label_is_refused_and_what_may_be_missing_is_said(x, y):
    net = model()
    for call in (lambda: net(nd.array(x), y), lambda: gluon_vae.fit(net, x, y_train=y, progress=False)):
        with pytest.raises(ValueError, match=r"integer labels from -1 to 3, got"):
            call()


def test_where_a_label_is_needed_a_missing_one_is_refused(x):
    net, z = model(), np.zeros((N, N_LATENT), np.float32)
    for call in (
        lambda: gluon_vae.encode(net, x, LABELS),
        lambda: gluon_vae.generate(net, z, LABELS),
        lambda: gluon_vae.log_likelihood(net, x, LABELS, progress=False),
        lambda: gluon_vae.kl_per_dimension(net, x, LABELS),
    ):
        with pytest.raises(ValueError, match=r"y must be 7 integer labels from 0 to 3, got"):
            call()


def test_a_model_that_has_no_classifier_gives_no_probabilities(x):
    with pytest.raises(ValueError, match="net must have a classifier like SemiSupervisedVAE, got VAE"):
        gluon_vae.label_probabilities(make("vae"), x)


def test_probabilities_sum_to_one_whatever_the_batch(x):
    net = model("static")
    q = gluon_vae.label_probabilities(net, x)
    assert q.shape == (N, N_CLASSES)
    np.testing.assert_allclose(q.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(gluon_vae.label_probabilities(net, x[:2]), q[:2], rtol=1e-5)
    assert x.shape[1] == N_OUTPUT
