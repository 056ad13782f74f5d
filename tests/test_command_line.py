"""``python -m gluon_vae`` in a process of its own."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import gluon_vae

QUICK = ("--epochs", "1", "--n-hidden", "8", "--n-layers", "1")


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "gluon_vae", *map(str, arguments)], capture_output=True, text=True, timeout=120
    )


def test_training_writes_parameters_history_and_five_pictures(tmp_path, sample):
    result = run(*QUICK, "--out", tmp_path / "new" / "out", "--seed", 3)
    assert result.returncode == 0, result.stderr
    out = tmp_path / "new" / "out"
    pictures = {"elbo.png", "reconstructions.png", "latent.png", "samples.png", "latent_grid.png"}
    assert {path.name for path in out.iterdir()} == pictures | {"checkpoint", "vae.params", "history.json"}
    for name in pictures:
        assert np.asarray(Image.open(out / name).convert("L")).std() > 1  # not blank
    history = json.loads((out / "history.json").read_text())
    assert {len(column) for column in history.values()} == {1}
    net = gluon_vae.VAE(n_hidden=8, n_layers=1)
    net.load_parameters(str(out / "vae.params"))
    assert f"Test ELBO: {gluon_vae.elbo(net, sample.x_test, seed=3)} nats" in result.stdout
    assert str(out) in result.stdout


def test_a_latent_that_is_not_two_dimensional_gets_the_pictures_that_it_has(tmp_path):
    result = run(*QUICK, "--n-latent", 5, "--out", tmp_path)
    assert result.returncode == 0, result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {
        *("checkpoint", "vae.params", "history.json", "elbo.png", "reconstructions.png", "samples.png")
    }


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
    assert not (tmp_path / "out" / "vae.params").exists()


def test_help_is_the_manual():
    result = run("--help")
    assert result.returncode == 0
    for word in ("--data", "--n-latent", "--seed", "GLUON_VAE_MNIST", "history.json", "examples:", "default: 40"):
        assert word in result.stdout
