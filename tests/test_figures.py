"""The pictures of a run: which there are of which model, and that there is something on them."""

import matplotlib as mpl
import numpy as np
import pytest
from conftest import LABELS, grey_images, make
from PIL import Image

from gluon_vae import figures
from gluon_vae.data import Mnist

HISTORY = {"epoch": [1, 2], "train_loss": [50.0, 40.0], "test_loss": [60.0, 50.0]}
DATA = Mnist(grey_images(), LABELS, grey_images(), LABELS)

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
