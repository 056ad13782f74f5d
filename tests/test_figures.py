"""The pictures of a run: which there are, and that they are the same on every machine."""

import matplotlib as mpl
import numpy as np
import pytest

import gluon_vae
from gluon_vae import figures
from gluon_vae.data import Mnist

SIZES = {"n_hidden": 4, "n_output": 16}
VAE_ONLY = ["elbo.png", "reconstructions.png", "samples.png"]
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


@pytest.fixture
def draw(tmp_path):
    """Return a function that draws the pictures of a small model and returns their content by name."""
    x = np.random.default_rng(0).random((20, 16), dtype=np.float32)
    data = Mnist(x, np.arange(20) % 10, x, np.arange(20) % 10)
    history = {"epoch": [1, 2], "train_loss": [3.0, 2.0], "test_loss": [3.0, 2.5]}

    def save(net):
        paths = figures.save_figures(tmp_path, net, data, history)
        assert [path.name for path in paths] == figures.names(net)
        assert set(tmp_path.iterdir()) == set(paths)
        return {path.name: path.read_bytes() for path in paths}

    return save


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        (gluon_vae.VAE(n_latent=2, **SIZES), [*VAE_ONLY, "latent.png", "latent_grid.png"]),
        (gluon_vae.VAE(n_latent=3, **SIZES), VAE_ONLY),
        (gluon_vae.ConditionalVAE(n_latent=2, **SIZES), [*VAE_ONLY, "latent.png"]),
        (gluon_vae.Autoencoder(n_latent=2, **SIZES), ["loss.png", "reconstructions.png", "latent.png"]),
        (gluon_vae.Autoencoder(n_latent=3, **SIZES), ["loss.png", "reconstructions.png"]),
    ],
)
def test_a_model_has_the_pictures_that_are_named(net, expected, draw):
    net.initialize()
    assert list(draw(net)) == expected == [name for name in figures.NAMES if name in expected]


def test_pictures_do_not_depend_on_the_settings_of_matplotlib_and_leave_them(draw):
    net = gluon_vae.VAE(n_latent=2, **SIZES)
    net.initialize()
    with mpl.rc_context():
        mpl.rcdefaults()
        default = draw(net)
        mpl.rcParams.update(NOT_DEFAULT)
        before = dict(mpl.rcParams)
        assert draw(net) == default
        assert dict(mpl.rcParams) == before
