"""The pictures of a run: which there are of which model, and that there is something on them."""

from functools import partial
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pytest
from conftest import LABELS, grey_images, make
from PIL import Image

from gluon_vae import figures, plotting
from gluon_vae.data import Mnist

HISTORY = {"epoch": [1, 2], "train_loss": [50.0, 40.0], "test_loss": [60.0, 50.0]}


class Digits(Mnist):
    """Images of 8 x 8 pixels."""

    image_shape = (1, 8, 8)


DATA = Digits(grey_images(), LABELS, grey_images(), LABELS)
NAMED = SimpleNamespace(
    x_test=grey_images(3 * 8 * 12),
    y_test=LABELS % 3,
    image_shape=(3, 8, 12),
    class_names=("cat", "dog", "hedgehog"),
    ink=False,
)

NOT_DEFAULT = {
    "text.usetex": True,  # LaTeX need not be there
    "font.size": 20,
    "font.family": "monospace",
    "axes.facecolor": "red",
    "axes.unicode_minus": False,
    "figure.dpi": 30,
    "image.cmap": "jet",
    "lines.linewidth": 9,
    "savefig.bbox": "tight",
    "savefig.format": "pdf",
    "savefig.transparent": True,
}


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(figures, "DPI", 30)


@pytest.mark.parametrize(
    ("kind", "n_latent", "names"),
    [
        ("vae", 2, ["elbo", "reconstructions", "samples", "latent", "latent_grid"]),
        ("vae", 3, ["elbo", "reconstructions", "samples"]),
        ("conv", 2, ["elbo", "reconstructions", "samples", "latent", "latent_grid"]),
        ("conditional", 2, ["elbo", "reconstructions", "samples", "latent"]),
        ("conditional", 3, ["elbo", "reconstructions", "samples"]),
        ("autoencoder", 2, ["loss", "reconstructions", "latent"]),
        ("autoencoder", 3, ["loss", "reconstructions"]),
    ],
)
def test_a_model_gets_the_pictures_that_it_has(kind, n_latent, names, tmp_path):
    net = make(kind, n_latent=n_latent)
    files = figures.save_figures(tmp_path, net, DATA, HISTORY)
    assert files == [tmp_path / f"{name}.png" for name in names]
    assert figures.names(net) == [file.name for file in files]
    assert files == [tmp_path / name for name in figures.NAMES if tmp_path / name in files]
    assert set(files) == set(tmp_path.iterdir())
    for file in files:
        assert np.asarray(Image.open(file).convert("L")).std() > 1  # not blank


def test_the_seed_draws_the_samples_and_nothing_else(tmp_path):
    net = make(n_latent=3)
    pictures = []
    for i, seed in enumerate((0, 0, 1)):
        (tmp_path / str(i)).mkdir()
        files = figures.save_figures(tmp_path / str(i), net, DATA, HISTORY, seed=seed)
        pictures.append({file.stem: file.read_bytes() for file in files})
    assert pictures[0] == pictures[1]
    assert {name for name in pictures[0] if pictures[0][name] != pictures[2][name]} == {"samples"}


def test_pictures_do_not_depend_on_the_settings_of_matplotlib_and_leave_them(tmp_path):
    net, pictures = make(n_latent=2), []
    with mpl.rc_context():
        mpl.rcdefaults()
        for i, settings in enumerate(({}, NOT_DEFAULT)):
            (tmp_path / str(i)).mkdir()
            mpl.rcParams.update(settings)
            before = dict(mpl.rcParams)
            files = figures.save_figures(tmp_path / str(i), net, DATA, HISTORY)
            assert dict(mpl.rcParams) == before
            pictures.append([file.read_bytes() for file in files])
    assert pictures[0] == pictures[1]


@pytest.fixture
def drawn(monkeypatch):
    """Return what is drawn: (name of the function, axes), in turn."""
    calls = []

    def noted(name, function, *arrays, **options):
        calls.append((name, ax := function(*arrays, **options)))
        return ax

    for name in ("plot_images", "plot_reconstructions", "plot_latent", "plot_latent_grid"):
        monkeypatch.setattr(plotting, name, partial(noted, name, getattr(plotting, name)))
    return calls


def test_colour_of_few_named_classes_is_drawn_as_what_it_is(tmp_path, drawn):
    net = make("conditional", n_output=288, image_shape=(3, 8, 12), n_classes=3, n_latent=2)
    figures.save_figures(tmp_path, net, NAMED, HISTORY)
    sheets = [ax.images[0].get_array().shape for name, ax in drawn if name != "plot_latent"]
    assert sheets == [(2 * 10 - 2, 7 * 14 - 2, 3), (10 * 10 - 2, 3 * 14 - 2, 3)]
    ((_, samples),) = [call for call in drawn if call[0] == "plot_images"]
    assert [label.get_text() for label in samples.get_xticklabels()] == list(NAMED.class_names)
    assert "one class to a column" in samples.get_title()
    legend = next(ax.get_legend() for name, ax in drawn if name == "plot_latent")
    assert [text.get_text() for text in legend.get_texts()] == ["0  cat", "1  dog", "2  hedgehog"]


def test_images_without_labels_are_drawn_in_one_colour(tmp_path, drawn):
    net = make("vae", n_output=288, image_shape=(3, 8, 12), n_latent=2)
    unlabelled = SimpleNamespace(**vars(NAMED) | {"y_test": None, "class_names": None})
    files = figures.save_figures(tmp_path, net, unlabelled, HISTORY)
    assert figures.names(net) == [file.name for file in files]
    planes = [ax for name, ax in drawn if name == "plot_latent"]
    assert [len(ax.collections[0].get_facecolors()) for ax in planes] == [1, 1]
    ((_, grid),) = [call for call in drawn if call[0] == "plot_latent_grid"]
    assert grid.images[0].get_array().shape == (20 * 8, 20 * 12, 3)


def test_grey_light_is_drawn_as_light(tmp_path, drawn):
    light = SimpleNamespace(**vars(NAMED) | {"image_shape": (1, 16, 18), "y_test": None, "class_names": None})
    figures.save_figures(tmp_path, make("vae", n_output=288, n_latent=2), light, HISTORY)
    maps = [image.get_cmap().name for _, ax in drawn for image in ax.images]
    assert maps == ["gray"] * 3


def test_many_classes_have_a_legend_once(tmp_path, drawn):
    names = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    shown = {"image_shape": (1, 8, 8), "class_names": names, "ink": True}
    many = SimpleNamespace(x_test=DATA.x_test, y_test=LABELS + 16, **shown)
    figures.save_figures(tmp_path, make("conditional", n_classes=26, n_latent=2), many, HISTORY)
    assert [ax.get_legend() is not None for name, ax in drawn if name == "plot_latent"] == [False, True]
    ((_, samples),) = [call for call in drawn if call[0] == "plot_images"]
    assert [label.get_text() for label in samples.get_xticklabels()] == list(names)


def test_the_sheets_of_digits_are_as_large_as_ever_and_no_sheet_is_larger_than_a_poster(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "DPI", 120)
    digits = (1, 28, 28)
    assert figures.sheet_size(10, 10, 0.6, 0.4, digits) == (6, 6.4)
    assert figures.sheet_size(10, 2, 0.9, 0.5, digits) == (9, 2.3)
    assert figures.sheet_size(20, 20, 0.37, 0.2, digits) == pytest.approx((7.4, 7.6))
    assert figures.sheet_size(10, 10, 0.6, 0.4, (3, 128, 128)) == pytest.approx((128 / 12, 128 / 12 + 0.4))
    assert figures.sheet_size(100, 10, 0.6, 0.4, digits) == pytest.approx((24, 2.8))
    assert max(figures.sheet_size(20, 20, 0.37, 0.2, (1, 512, 64))) == pytest.approx(24.2)
