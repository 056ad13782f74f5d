"""Early stopping: when a run ends, what the model is then, and that an interruption changes nothing of it."""

import numpy as np
import pytest
from conftest import assert_equal, make, refused

import gluon_vae
from gluon_vae import checkpoint, fit
from gluon_vae.run import Run, best_epochs

from mxnet import autograd, gluon

# A shift that goes from 0 to the training images' 1, a tenth a step, past 0.3, the test image's.
X, X_TEST = np.ones((3, 2), np.float32), np.full((1, 2), 0.3, np.float32)
SETTINGS = {"n_epochs": 9, "schedule": "constant", "learning_rate": 0.1, "patience": 2, "progress": False}
BEST, LAST = 3, 5


class Shift(gluon.HybridBlock):
    """The squared distance from a number, which is all that there is to train."""

    n_calls = 0

    def __init__(self):
        super().__init__()
        self.shift = self.params.get("shift", shape=(1,), init="zeros")
        self.kept = self.params.get("kept", shape=(1,), init="ones", grad_req="null")

    def forward(self, x):
        self.n_calls += autograd.is_recording()
        return ((x - self.shift.data()) ** 2).sum(axis=1) * self.kept.data()


def trained(**options):
    net = Shift()
    return net, fit(net, X, X_TEST, **SETTINGS | options)


def without_seconds(history):
    return {name: column for name, column in history.items() if name != "seconds"}


def stop_after(n_epochs):
    def stop(history):
        if len(history["epoch"]) == n_epochs:
            raise KeyboardInterrupt

    return stop


def test_a_run_ends_when_the_test_loss_has_not_fallen_and_gives_the_best_parameters():
    net, history = trained()
    assert history["epoch"] == [1, 2, 3, 4, 5]
    assert history["best_epoch"] == [1, 2, 3, 3, 3]
    assert net.shift.data().asscalar() == pytest.approx(0.3, abs=1e-2)
    at_best, _ = trained(n_epochs=BEST, patience=None)
    assert_equal(checkpoint.parameters_of(net), checkpoint.parameters_of(at_best))


def test_the_best_parameters_are_given_too_where_the_epochs_end_first_and_no_others_without():
    net, history = trained(n_epochs=4)
    assert history["best_epoch"] == [1, 2, 3, 3]
    assert net.shift.data().asscalar() == pytest.approx(0.3, abs=1e-2)
    net, history = trained(n_epochs=4, patience=None)
    assert "best_epoch" not in history
    assert net.shift.data().asscalar() == pytest.approx(0.4, abs=1e-2)


@pytest.mark.parametrize("interrupted_after", range(1, LAST + 1))
def test_interrupted_and_resumed_equals_uninterrupted(interrupted_after, tmp_path):
    whole, expected = trained(checkpoint=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(checkpoint=tmp_path / "c", on_epoch=stop_after(interrupted_after))
    net, history = trained(checkpoint=tmp_path / "c", resume=True)
    assert without_seconds(history) == without_seconds(expected)
    assert_equal(checkpoint.parameters_of(net), checkpoint.parameters_of(whole))
    ours, theirs = (checkpoint.read(tmp_path / name) for name in ("c", "whole"))
    for part in ("parameters", "moments", "best"):
        assert_equal(getattr(ours, part), getattr(theirs, part))
    assert ours.parameters["shift"] != ours.best["shift"]


def test_load_gives_the_best_parameters_at_every_time(tmp_path):
    shifts = []

    def note(history):
        loaded = gluon_vae.load(tmp_path / "c", Shift())
        shifts.append(loaded.shift.data().asscalar())
        saved = checkpoint.read(tmp_path / "c")
        assert set(saved.best) == (set(saved.parameters) if len(history["epoch"]) > BEST else set())

    net, _ = trained(checkpoint=tmp_path / "c", on_epoch=note)
    np.testing.assert_allclose(shifts, [0.1, 0.2, 0.3, 0.3, 0.3], atol=1e-2)
    assert shifts[-1] == net.shift.data().asscalar()


@pytest.mark.parametrize("longer", [0, 10])
def test_a_run_that_was_stopped_early_returns_at_once(longer, tmp_path):
    net, history = trained(checkpoint=tmp_path / "c")
    assert net.n_calls == LAST
    again, same = trained(checkpoint=tmp_path / "c", resume=True, n_epochs=9 + longer)
    assert again.n_calls == 0
    assert same == history
    assert_equal(checkpoint.parameters_of(again), checkpoint.parameters_of(net))


def test_a_run_with_other_patience_is_another_run(tmp_path):
    trained(checkpoint=tmp_path / "c")
    for patience in (None, 3):
        with refused("c cannot be resumed: its run had patience = 2", f"this one has {patience}"):
            trained(checkpoint=tmp_path / "c", resume=True, patience=patience)


def test_patience_needs_test_images():
    net = Shift()
    with refused("patience", "x_test"):
        fit(net, X, **SETTINGS)


def test_a_column_of_that_name_in_a_run_without_patience_is_its_callbacks(tmp_path):
    def note(history):
        history.setdefault("best_epoch", []).append("mine")

    trained(checkpoint=tmp_path / "c", on_epoch=note, patience=None)
    assert "best_epoch" not in checkpoint.read(tmp_path / "c").meta["history"]


def test_the_best_epoch_is_the_first_of_equal_ones():
    assert best_epochs([3.0, 2.0, 2.0, 4.0, 1.0]) == [1, 2, 2, 2, 5]
    assert best_epochs([]) == []


def test_a_run_is_over_by_its_epochs_or_its_patience():
    assert not Run(n_epochs=2).is_over({})
    assert not Run(n_epochs=2, patience=1).is_over({})
    assert Run(n_epochs=2).is_over({"epoch": [1, 2]})
    assert not Run(n_epochs=3, patience=2).is_over({"epoch": [1, 2], "best_epoch": [1, 1]})
    assert Run(n_epochs=9, patience=2).is_over({"epoch": [1, 2, 3], "best_epoch": [1, 1, 1]})


@pytest.mark.parametrize(
    ("answer", "n_epochs"), [(True, 1), (np.bool_(True), 1)] + [(a, 3) for a in (None, 0, 1, "x")]
)
def test_on_epoch_stops_the_run_by_true_and_by_nothing_else(answer, n_epochs, x, tmp_path):
    settings = {"n_epochs": 3, "progress": False, "checkpoint": tmp_path / "c"}
    history = fit(make(), x, on_epoch=lambda history: answer, **settings)
    assert len(history["epoch"]) == n_epochs
    net, whole = make(), make()
    resumed = fit(net, x, resume=True, **settings)
    expected = fit(whole, x, **settings)
    assert without_seconds(resumed) == without_seconds(expected)
    assert_equal(checkpoint.parameters_of(net), checkpoint.parameters_of(whole))
