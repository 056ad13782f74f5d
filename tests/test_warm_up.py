"""The KL's warm-up: gradients of a smaller beta, losses of the model's own, and no model whose loss it would bend."""

import numpy as np
import pytest
from conftest import VAES, N, labels, make, refused

import gluon_vae
from gluon_vae import adam, contract, fit
from gluon_vae.run import Run

from mxnet import gluon, nd

DRAWS = {"n_samples": 3, "beta": 0.5}
# In three epochs of one batch the weights are 0, 1/2 and 1.
SETTINGS = {"n_epochs": 3, "batch_size": N, "progress": False}


def gradients(monkeypatch, x, kind, mode, options, **settings):
    """Return the gradients of every step of a run that moves no parameter."""
    seen = []

    def step(self, rate, batch_size):
        seen.append({name: gradient.asnumpy() for name, gradient in self.gradients().items()})

    net = make(kind, mode, **options)
    y = dict(zip(("y_train",), labels(net)))
    with monkeypatch.context() as patch:
        patch.setattr(adam.Adam, "step", step)
        history = fit(net, x, **y, **SETTINGS | settings)
    return seen, history


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("vae", "imperative", {}),
        ("vae", "static", DRAWS),
        ("conditional", "static", DRAWS),
        ("conv", "static", {}),
        ("semi-supervised", "static", DRAWS),
    ],
)
def test_gradients_are_those_of_a_smaller_beta(kind, options, mode, x, monkeypatch):
    beta = options.get("beta", 1)
    warmed, _ = gradients(monkeypatch, x, kind, mode, options, kl_warmup=2)
    for step, weight in enumerate((1e-30, 0.5, 1)):
        expected, _ = gradients(monkeypatch, x, kind, mode, options | {"beta": weight * beta})
        for name, values in expected[step].items():
            tolerance = 0 if weight == 1 else 1e-5 * np.abs(values).max()
            np.testing.assert_allclose(warmed[step][name], values, rtol=0, atol=tolerance, err_msg=name)


def test_the_weight_rises_with_every_step_and_stays():
    run = Run(kl_warmup=2, n_epochs=3, batch_size=4)
    weights = [step.kl_weight for epoch in (1, 2, 3) for step in run.batches([nd.zeros((7, 1))], epoch)]
    np.testing.assert_allclose(weights, [0, 2 / 7, 1 / 2, 11 / 14, 1, 1])
    assert Run().kl_weight(0) == 1


def test_losses_are_those_of_the_models_own_beta(x, monkeypatch):
    """Of parameters that do not move, with the same noise: whatever the weight, the same losses."""
    histories = [gradients(monkeypatch, x, "vae", "static", DRAWS, kl_warmup=k)[1] for k in (0, 3)]
    for name in ("train_loss", "train_nll", "train_kl"):
        assert histories[0][name] == histories[1][name]


def test_a_weight_of_one_from_the_start_on_changes_no_bit(x):
    losses = [fit(make(), x, kl_warmup=k, **SETTINGS | {"n_epochs": 2})["train_loss"] for k in (0, 1)]
    assert losses[0][0] == losses[1][0]  # of one step from the same parameters
    assert losses[0][1] != losses[1][1]


class FreeBits(gluon_vae.VAE):
    """A VAE that pays for more than fifty nats only."""

    def hybrid_forward(self, F, x, eps, *label):
        loss, *others, kl = super().hybrid_forward(F, x, eps, *label)
        return loss - self.beta * kl + self.beta * F.maximum(kl, 50), *others, kl


class Own(gluon.HybridBlock):
    """A block with a loss of its own, and a KL; its loss heeds beta or not."""

    def __init__(self, heeds):
        super().__init__()
        self.heeds, self.beta = heeds, 2.0
        self.shift = self.params.get("shift", shape=(1,), init="zeros")

    def forward(self, x):
        self.nll, self.kl = ((x - self.shift.data()) ** 2).sum(axis=1), self.shift.data() ** 2 + x[:, 0]
        return self.nll + (self.beta if self.heeds else 2) * self.kl


@pytest.mark.parametrize("mode", ["imperative", "static"])
@pytest.mark.parametrize(
    ("make_net", "words"),
    [
        (lambda: make("autoencoder"), ("Autoencoder", "has no KL")),
        (lambda: gluon.nn.Dense(1), ("Dense", "has no KL")),
        (lambda: FreeBits(n_hidden=4, n_output=64), ("FreeBits", "not linear in beta * kl")),
        (lambda: Own(heeds=False), ("Own", "not linear")),
    ],
)
def test_a_model_whose_loss_has_no_such_term_is_refused(make_net, words, mode, x):
    net = make_net()
    if mode == "static":
        net.hybridize(static_alloc=True, static_shape=True)
    before = getattr(net, "beta", None)
    with refused("kl_warmup must be 0", *words):
        fit(net, x, kl_warmup=2, **SETTINGS)
    assert getattr(net, "beta", None) == before


def test_a_block_of_ones_own_may_have_one(x):
    net = Own(heeds=True)
    fit(net, x, kl_warmup=2, **SETTINGS)
    assert net.beta == 2.0


@pytest.mark.parametrize("kind", VAES)
def test_every_vae_has_one(kind, x):
    net = make(kind, "static", **({} if "composed" in kind else {"beta": 0.7}))
    inputs = (nd.array(x[:1]), *(nd.array(y) for y in labels(net, 1)))
    beta = net.beta
    contract.check_kl_weight(net, *inputs)
    assert net.beta == beta
