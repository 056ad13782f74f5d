"""``python -m gluon_vae`` in a process of its own."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import gluon_vae

from mxnet import nd

QUICK = ("--epochs", "1", "--n-hidden", "8", "--n-layers", "1")


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "gluon_vae", *map(str, arguments)], capture_output=True, text=True, timeout=600
    )


def test_training_writes_parameters_history_and_five_pictures(tmp_path, sample):
    result = run(*QUICK, "--out", tmp_path / "new" / "out", "--seed", 3)
    assert result.returncode == 0, result.stderr
    out = tmp_path / "new" / "out"
    pictures = {"elbo.png", "reconstructions.png", "latent.png", "samples.png", "latent_grid.png"}
    assert {path.name for path in out.iterdir()} == pictures | {"checkpoint", "model.params", "history.json"}
    for name in pictures:
        assert np.asarray(Image.open(out / name).convert("L")).std() > 1  # not blank
    history = json.loads((out / "history.json").read_text())
    assert {len(column) for column in history.values()} == {1}
    net = gluon_vae.VAE(n_hidden=8, n_layers=1)
    net.load_parameters(str(out / "model.params"))
    assert f"Test ELBO: {gluon_vae.elbo(net, sample.x_test, seed=3)} nats" in result.stdout
    assert str(out) in result.stdout


def test_a_latent_that_is_not_two_dimensional_gets_the_pictures_that_it_has(tmp_path):
    result = run(*QUICK, "--n-latent", 5, "--out", tmp_path)
    assert result.returncode == 0, result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {
        *("checkpoint", "model.params", "history.json", "elbo.png", "reconstructions.png", "samples.png")
    }


@pytest.mark.parametrize(
    ("model", "options", "pictures"),
    [
        ("conditional", (), {"elbo.png", "samples.png", "latent.png"}),
        ("conv", ("--likelihood", "gaussian", "--variance", "0.1"), {"elbo.png", "samples.png"}),
        ("vae", ("--likelihood", "gaussian", "--variance", "per-pixel", "--beta", "2"), {"elbo.png", "samples.png"}),
        ("autoencoder", (), {"loss.png", "latent.png"}),
        ("sparse", (), {"loss.png", "latent.png"}),
        ("denoising", ("--likelihood", "gaussian"), {"loss.png"}),
    ],
)
def test_every_model_is_trained_by_name_rebuilt_from_its_checkpoint_and_the_same_again(
    model, options, pictures, tmp_path, monkeypatch, capsys, sample
):
    from gluon_vae import __main__ as command_line

    few = sample._replace(
        x_train=sample.x_train[:200],
        y_train=sample.y_train[:200],
        x_test=sample.x_test[:60],
        y_test=sample.y_test[:60],
    )
    monkeypatch.setattr(command_line, "load_mnist", lambda source: few)
    n_latent = 2 if "latent.png" in pictures else 3
    arguments = [*QUICK, "--model", model, "--n-latent", str(n_latent), *options]
    out, again = tmp_path / "out", tmp_path / "again"
    command_line.main([*arguments, "--out", str(out)])
    files = {"checkpoint", "model.params", "history.json", "reconstructions.png"}
    assert {path.name for path in out.iterdir()} == files | pictures
    net = gluon_vae.load(out / "checkpoint")
    assert type(net) is command_line.MODELS[model]
    assert net.n_latent == n_latent
    history = json.loads((out / "history.json").read_text())
    printed = capsys.readouterr().out
    assert type(net).__name__ in printed
    if "elbo.png" in pictures:
        labels = few.y_test if model == "conditional" else None
        assert f"Test ELBO: {gluon_vae.elbo(net, few.x_test, labels)} nats" in printed
    else:
        assert f"Test loss: {history['test_loss'][-1]:.1f} nats" in printed
        assert "ELBO" not in printed

    nd.random.uniform(shape=(5,))  # the state of MXNet's generator is of no consequence
    command_line.main([*arguments, "--out", str(again)])
    for name in {"model.params", "reconstructions.png"} | pictures:
        assert (again / name).read_bytes() == (out / name).read_bytes(), name


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--data", "nowhere"), "nowhere"),
        (("--epochs", "0"), "--epochs"),
        (("--batch-size", "-1"), "--batch-size"),
        (("--learning-rate", "nan"), "--learning-rate"),
        (("--seed", "-1"), "--seed"),
        (("--n-latent", "0"), "n_latent"),
        (("--n-hidden", "many"), "--n-hidden"),
        (("--model", "gan"), "--model"),
        (("--likelihood", "laplace"), "--likelihood"),
        (("--variance", "0.1"), "variance"),
        (("--likelihood", "gaussian", "--variance", "0"), "variance"),
        (("--likelihood", "gaussian", "--variance", "each"), "variance"),
        (("--beta", "-1"), "beta"),
        (("--model", "sparse", "--beta", "2"), "--beta"),
        (("--n-layers", "0"), "n_layers"),
        (("--workers", "0"), "--workers"),
        (("--workers", "101"), "--workers"),
        (("--device", "tpu"), "--device"),
        (("--device", "gpu"), "gpu"),
        (("--epoch", "3"), "--epoch"),
        (("--out", "/dev/null/out"), "/dev/null"),
    ],
)
def test_bad_input_ends_with_code_2_and_one_sentence(arguments, named, tmp_path, capsys):
    from gluon_vae.__main__ import main

    with pytest.raises(SystemExit) as ended:
        main(["--out", str(tmp_path / "out"), *arguments])
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert ended.value.code == 2
    assert named in message
    assert not (tmp_path / "out" / "model.params").exists()


def test_help_is_the_manual():
    result = run("--help")
    assert result.returncode == 0
    for word in ("--data", "--n-latent", "--seed", "GLUON_VAE_MNIST", "history.json", "examples:", "default: 40"):
        assert word in result.stdout
