"""``python -m gluon_vae --from CHECKPOINT``: what each command writes, of which models, and what it refuses."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import FAMILY, N_LATENT, N_OUTPUT, make, noise
from PIL import Image

import gluon_vae
from gluon_vae import __main__ as command_line
from gluon_vae import evaluation, figures, use, use_codes, use_images

from mxnet import nd

KINDS = ("vae", "conditional", "conv", "semi-supervised", "autoencoder", "sparse kl", "denoising masking")
WITH_LABELS = ("conditional", "semi-supervised")
COMMANDS = {
    "generate": ("samples.npz", "samples.png"),
    "reconstruct": ("reconstructions.npz", "reconstructions.png"),
    "encode": ("codes.npz",),
    "score": ("scores.npz", "scores.png"),
    "interpolate": ("interpolation.npz", "interpolation.png"),
}
NAMES = np.array([f"class {c}" for c in range(10)])


def pictures(n, seed, n_output=N_OUTPUT):
    return np.random.default_rng(seed).random((n, n_output), dtype=np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with images in ``data.npz``, and of every kind of model a checkpoint that knows them."""
    folder = tmp_path_factory.mktemp("use")
    y = np.arange(60) % 10
    arrays = {"x_train": pictures(60, 0), "y_train": y, "x_test": pictures(50, 1), "y_test": y[:50]}
    np.savez(folder / "data.npz", class_names=NAMES, **arrays)
    np.savez(folder / "unlabelled.npz", x_train=arrays["x_train"], x_test=arrays["x_test"])
    colour = {"image_shape": (3, 4, 5), "n_hidden": 8, "n_latent": N_LATENT}
    nets = {kind: make(kind, initialize=False) for kind in KINDS}
    nets |= {"plane": make("vae", n_latent=2, initialize=False), "colour": gluon_vae.VAE(**colour)}
    nets["composed"] = make("composed", initialize=False)
    nets["gaussian"] = make("vae", likelihood="gaussian", variance=0.05, initialize=False)
    for kind, net in nets.items():
        data = dict(arrays)
        if kind == "colour":
            data |= {"x_train": pictures(60, 0, 60), "x_test": pictures(50, 1, 60)}
            np.savez(folder / "colour.npz", x_train=data["x_train"], x_test=data["x_test"])
        if net.n_classes is None:
            data |= {"y_train": None, "y_test": None}
        options = {"n_epochs": 1, "progress": False, "checkpoint": folder / kind}
        gluon_vae.fit(net, data["x_train"], data["x_test"], y_train=data["y_train"], y_test=data["y_test"], **options)
    return folder


@pytest.fixture
def main(folder, tmp_path, capsys, monkeypatch):
    """Return a function that runs a command here, into ``tmp_path``; exit code, what was printed, arrays."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(figures, "DPI", 30)

    def run_here(kind, command, *arguments, out=tmp_path, data="data.npz"):
        code = 0
        options = ["--data", data] if data else []
        try:
            command_line.main(["--from", kind, command, *options, *map(str, arguments), "--out", str(out)])
        except SystemExit as end:
            code = end.code
        printed, err = capsys.readouterr()
        path = out / COMMANDS[command][0]
        arrays = dict(np.load(path)) if not code else None
        return SimpleNamespace(code=code, out=printed, said=err.strip().splitlines()[-1:], arrays=arrays)

    return run_here


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_model_is_used_by_every_command(kind, command, main, tmp_path, folder):
    arguments = ["--z", "z.npy"] if command == "generate" and kind not in (*WITH_LABELS, "vae", "conv") else []
    np.save(folder / "z.npy", gluon_vae.prior_draws(4, N_LATENT))
    ended = main(kind, command, *arguments)
    assert ended.code == 0, ended.said
    assert {path.name for path in tmp_path.iterdir()} == set(COMMANDS[command])
    assert str(tmp_path) in ended.out
    for path in tmp_path.glob("*.png"):
        assert np.asarray(Image.open(path).convert("L")).std() > 1  # not blank


@pytest.mark.parametrize("command", COMMANDS)
def test_one_seed_gives_the_same_files_bit_for_bit(command, main, tmp_path):
    files = []
    for i, seed in enumerate((3, 3, 4)):
        nd.random.uniform(shape=(5,))  # the state of MXNet's generator is of no consequence
        arguments = [] if command == "encode" else ["--seed", seed]
        assert main("conditional", command, *arguments, out=tmp_path / str(i)).code == 0
        files.append({path.name: path.read_bytes() for path in (tmp_path / str(i)).iterdir()})
    assert files[0] == files[1]
    if command != "encode":
        assert files[0] != files[2]


def test_draws_from_the_prior_are_decoded(main, folder):
    net = gluon_vae.load(folder / "vae")
    ended = main("vae", "generate", "--n", 7, "--seed", 3, "--temperature", 0.5, data=None)
    np.testing.assert_array_equal(ended.arrays["z"], 0.5 * gluon_vae.prior_draws(7, N_LATENT, 3))
    np.testing.assert_allclose(ended.arrays["images"], gluon_vae.generate(net, ended.arrays["z"]), atol=1e-6)
    assert ended.arrays["image_shape"].tolist() == [1, 8, 8]
    assert "labels" not in ended.arrays
    drawn = main("vae", "generate", "--n", 7, "--seed", 3, "--pixels", "sample").arrays["images"]
    assert set(np.unique(drawn)) == {0, 1}
    assert main("vae", "generate").arrays["images"].shape == (100, N_OUTPUT)
    assert "the first 400 of 500" not in ended.out
    assert main("vae", "generate", "--n", 500).arrays["images"].shape == (500, N_OUTPUT)


def test_a_label_is_asked_for_by_number_or_name_or_all_are(main, folder):
    net = gluon_vae.load(folder / "conditional")
    columns = main("conditional", "generate", "--n", 2, data=None).arrays
    assert columns["labels"].tolist() == [*range(10)] * 2
    np.testing.assert_array_equal(columns["z"][:10], np.tile(columns["z"][:1], (10, 1)))
    images = gluon_vae.generate(net, columns["z"], columns["labels"])
    np.testing.assert_allclose(columns["images"], images, atol=1e-6)
    by_number = main("conditional", "generate", "--label", 7, "--n", 3, data=None).arrays
    by_name = main("conditional", "generate", "--label", "class 7", "--n", 3).arrays
    np.testing.assert_array_equal(by_number["images"], by_name["images"])
    assert by_name["labels"].tolist() == [7] * 3


def test_codes_of_a_file_are_decoded(main, folder):
    z = gluon_vae.prior_draws(5, N_LATENT, 9)
    np.save(folder / "codes.npy", z.astype(float))
    for kind in ("vae", "autoencoder"):
        images = main(kind, "generate", "--z", "codes.npy").arrays["images"]
        np.testing.assert_allclose(images, gluon_vae.generate(gluon_vae.load(folder / kind), z), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_reconstructions_have_the_likelihood_of_what_is_drawn(kind, main, folder):
    net, arrays = gluon_vae.load(folder / kind), main(kind, "reconstruct", "--index", 3, 1, 41).arrays
    x = pictures(50, 1)[[3, 1, 41]]
    labels = [np.array([3, 1, 1])] if kind in WITH_LABELS else []
    np.testing.assert_array_equal(arrays["x"], x)
    np.testing.assert_allclose(arrays["output"], gluon_vae.reconstruct(net, x, *labels), atol=1e-6)
    p = arrays["output"].astype(float)
    bernoulli = -(x * np.log(p) + (1 - x) * np.log1p(-p)).sum(axis=1)
    np.testing.assert_allclose(arrays["nll"], bernoulli, rtol=1e-4)
    assert arrays["index"].tolist() == [3, 1, 41]
    assert arrays["labels"].tolist() == [3, 1, 1]


def test_so_many_reconstructions_as_are_asked_for_or_there_are(main):
    few, same, many = (main("vae", "reconstruct", "--n", n).arrays["index"] for n in (7, 7, 900))
    assert few.tolist() == same.tolist() == sorted(few)
    assert len(few) == 7
    assert many.tolist() == list(range(50))


@pytest.mark.parametrize("kind", KINDS)
def test_codes_are_those_of_encode(kind, main, folder):
    net, arrays = gluon_vae.load(folder / kind), main(kind, "encode").arrays
    data = np.load(folder / "data.npz")
    for part in ("train", "test"):
        x, y = data[f"x_{part}"], data[f"y_{part}"]
        given = [y] if kind in WITH_LABELS else []
        np.testing.assert_allclose(arrays[f"mu_{part}"], gluon_vae.encode(net, x, *given), atol=1e-6)
        np.testing.assert_array_equal(arrays[f"y_{part}"], y)
        assert (f"log_var_{part}" in arrays) == hasattr(net, "nll_given")
        if hasattr(net, "nll_given"):
            net(nd.array(x), *given)
            np.testing.assert_allclose(
                arrays[f"mu_{part}"] if kind == "semi-supervised" else arrays[f"log_var_{part}"],
                (net.mu if kind == "semi-supervised" else net.log_var).asnumpy(),
                atol=1e-5,
            )
        if kind == "semi-supervised":
            expected = gluon_vae.label_probabilities(net, x)
            np.testing.assert_allclose(arrays[f"label_probabilities_{part}"], expected, atol=1e-6)
    assert arrays["class_names"].tolist() == NAMES.tolist()


def test_a_plane_of_codes_is_drawn(main, tmp_path):
    assert main("plane", "encode").code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"codes.npz", "latent.png"}
    assert main("plane", "encode", data="unlabelled.npz").code == 0


def test_scores_and_their_threshold_are_those_of_the_functions(main, folder):
    net, x = gluon_vae.load(folder / "vae"), pictures(50, 1)
    ended = main("vae", "score", "--n-samples", 9, "--share", 0.1, "--seed", 4)
    expected = gluon_vae.score(net, x, n_samples=9, seed=4, progress=False)
    for name, values in expected.items():
        np.testing.assert_allclose(ended.arrays[name], values, rtol=1e-5)
    threshold = gluon_vae.anomaly_threshold(ended.arrays["neg_log_p"], 0.1, seed=4)
    assert ended.arrays["threshold"] == threshold.value
    assert ended.arrays["false_alarms"] == threshold.false_alarms.mean
    np.testing.assert_array_equal(ended.arrays["checked_on"], threshold.checked_on)
    alarms = threshold.false_alarms
    assert f"{100 * alarms.mean:.1f} ± {100 * alarms.standard_error:.1f} % are" in ended.out
    highest = np.argsort(-ended.arrays["neg_log_p"])[0]
    listed = ended.out[ended.out.index("The highest") :].splitlines()[1:11]
    assert listed[0].split()[1].strip(",") == str(highest)


def test_images_to_be_judged_are_flagged_by_name(main, folder, tmp_path):
    (folder / "judged").mkdir()
    ordinary = pictures(50, 1)[:3].reshape(-1, 8, 8)
    for name, image in zip(("a", "b", "c"), ordinary):
        Image.fromarray(np.uint8(np.round(255 * image))).save(folder / "judged" / f"{name}.png")
    Image.fromarray(np.uint8(255 * (np.indices((8, 8)).sum(axis=0) % 2))).save(folder / "judged" / "board.png")
    ended = main("gaussian", "score", "--scored", "judged")
    names, flagged = ended.arrays["scored_names"].tolist(), ended.arrays["scored_flagged"]
    assert names == ["a.png", "b.png", "board.png", "c.png"]
    np.testing.assert_array_equal(flagged, ended.arrays["scored_neg_log_p"] > ended.arrays["threshold"])
    assert flagged.tolist() == [False, False, True, False]
    assert "1 of the 4 scored images are above" in ended.out
    assert "board.png, above the threshold" in ended.out
    one = main("gaussian", "score", "--scored", "judged/board.png").arrays
    assert one["scored_names"].tolist() == ["board.png"]
    assert one["scored_neg_log_p"] == pytest.approx(ended.arrays["scored_neg_log_p"][2], rel=0.01)
    inverted = main("gaussian", "score", "--scored", "judged/board.png", "--invert")
    assert inverted.arrays["scored_neg_log_p"] != one["scored_neg_log_p"]
    of_array = main("gaussian", "score", "--scored", "data.npz").arrays
    assert len(of_array["scored_names"]) == 110
    assert of_array["scored_names"][[0, 60]].tolist() == ["train[0]", "test[0]"]
    assert np.corrcoef(of_array["scored_neg_elbo"][60:], of_array["neg_elbo"])[0, 1] > 0.9  # but for the draws of z


def test_a_reconstructions_loss_is_said_to_be_no_likelihood(main):
    assert "no likelihood" in main("autoencoder", "score").out
    assert "no likelihood" not in main("vae", "score").out


def test_lines_lead_from_image_to_image(main, folder):
    net, x = gluon_vae.load(folder / "vae"), pictures(50, 1)
    arrays = main("vae", "interpolate", "--pairs", "3,17", "5,8", "--steps", 4).arrays
    mu = gluon_vae.encode(net, x)
    assert arrays["ends"].tolist() == [[3, 17], [5, 8]]
    np.testing.assert_allclose(arrays["z"], gluon_vae.interpolate(mu[[3, 5]], mu[[17, 8]], 4), atol=1e-6)
    assert arrays["images"].shape == (2, 4, N_OUTPUT)
    np.testing.assert_allclose(arrays["images"][1, 2:3], gluon_vae.generate(net, arrays["z"][1, 2:3]), atol=1e-6)
    arcs = main("vae", "interpolate", "--pairs", "3,17", "5,8", "--steps", 4, "--arc").arrays
    np.testing.assert_allclose(arcs["z"], gluon_vae.interpolate(mu[[3, 5]], mu[[17, 8]], 4, arc=True), atol=1e-6)
    drawn = main("vae", "interpolate", "--n", 5).arrays["ends"]
    assert len(np.unique(drawn)) == 10


def test_lines_lead_from_class_to_class(main, folder):
    net, x = gluon_vae.load(folder / "vae"), pictures(50, 1)
    arrays = main("vae", "interpolate", "--classes", "class 2,5", "9,0", "--steps", 3).arrays
    mu = gluon_vae.encode(net, x)
    np.testing.assert_allclose(arrays["z"][0, 0], mu[2::10].mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(arrays["z"][1, 2], mu[0::10].mean(axis=0), atol=1e-5)
    assert arrays["ends"].tolist() == [[2, 5], [9, 0]]


def test_a_label_is_kept_on_the_way_or_changes_in_the_middle(main, folder):
    net = gluon_vae.load(folder / "conditional")
    kept, changed = (
        main("conditional", "interpolate", "--pairs", "3,17", "5,8", "--steps", 5, "--labels", labels).arrays
        for labels in ("keep", "change")
    )
    assert kept["labels"].tolist() == [[3] * 5, [5] * 5]
    assert changed["labels"].tolist() == [[3, 3, 3, 7, 7], [5, 5, 5, 8, 8]]
    for arrays in (kept, changed):
        images = gluon_vae.generate(net, arrays["z"].reshape(-1, N_LATENT), arrays["labels"].ravel())
        np.testing.assert_allclose(arrays["images"].reshape(-1, N_OUTPUT), images, atol=1e-6)


def test_colour_and_other_shapes_are_the_models(main, tmp_path):
    for command in COMMANDS:
        ended = main("colour", command, data=None if command == "generate" else "colour.npz")
        assert ended.code == 0, ended.said
        if command in ("generate", "reconstruct", "interpolate"):
            assert ended.arrays["image_shape"].tolist() == [3, 4, 5]
            drawn = np.asarray(Image.open(tmp_path / COMMANDS[command][1]).convert("RGB")).astype(int)
            assert np.abs(drawn[..., 0] - drawn[..., 2]).max() > 30


def test_whether_the_test_images_were_kept_from_training_is_said(main, folder):
    data = np.load(folder / "data.npz")
    assert "(as in its training)" in main("vae", "encode").out
    np.savez(folder / "swapped.npz", x_train=data["x_test"], x_test=data["x_train"])
    assert "the test images are those that it was trained on" in main("vae", "encode", data="swapped.npz").out
    np.savez(folder / "others.npz", x_train=data["x_test"], x_test=data["x_test"])
    assert "(not as in its training)" in main("vae", "encode", data="others.npz").out


@pytest.mark.parametrize(
    ("kind", "arguments", "named"),
    [
        ("nowhere", ["generate"], "nowhere"),
        ("data.npz", ["generate"], "data.npz is not a gluon-vae checkpoint"),
        ("composed", ["generate"], "composed holds a 'ComposedVAE', which only your code can build"),
        ("vae", ["generate", "--n", "0"], "--n"),
        ("vae", ["generate", "--seed", "-1"], "--seed"),
        ("vae", ["generate", "--temperature", "0"], "--temperature"),
        ("vae", ["generate", "--label", "3"], "--label is for models that take labels"),
        ("vae", ["generate", "--z", "nowhere.npy"], "nowhere.npy"),
        ("vae", ["generate", "--z", "data.npz"], "data.npz"),
        ("vae", ["generate", "--z", "wide.npy"], "--z must be a non-empty array of shape (n, 3)"),
        ("vae", ["generate", "--z", "wide.npy", "--n", "3"], "--n and --temperature are of draws"),
        ("vae", ["generate", "--test-share", "0.5"], "--test-share"),
        ("vae", ["generate", "--device", "gpu"], "gpu"),
        ("vae", ["generate", "--epochs", "3"], "--epochs"),
        ("vae", ["dream"], "dream"),
        ("vae", [], "COMMAND"),
        ("conditional", ["generate", "--label", "10"], "--label must be one of 0, 1"),
        ("conditional", ["generate", "--label", "cat", "--data", "data.npz"], "--label must be one of class 0"),
        ("conditional", ["encode", "--data", "unlabelled.npz"], "--data has no labels"),
        ("autoencoder", ["generate"], "--z must be given: Autoencoder"),
        ("vae", ["encode"], "the sample (--data names other data) must be of images of 64 numbers"),
        ("vae", ["encode", "--data", "colour.npz", "--image-shape", "3,4,5"], "--data must be of images of 64"),
        ("vae", ["encode", "--data", "nowhere"], "nowhere"),
        ("colour", ["generate", "--image-shape", "1,6,10"], "--image-shape must be of images of 3 x 4 x 5"),
        ("colour", ["encode", "--data", "colour.npz", "--image-shape", "1,6,10"], "3 x 4 x 5"),
        ("vae", ["reconstruct", "--data", "data.npz", "--index", "3", "50"], "--index must be places"),
        ("vae", ["score", "--data", "data.npz", "--share", "0"], "--share"),
        ("vae", ["score", "--data", "data.npz", "--share", "0.01"], "scores must be at least 198"),
        ("vae", ["score", "--data", "data.npz", "--n-samples", "0"], "--n-samples"),
        ("vae", ["score", "--data", "data.npz", "--scored", "nowhere"], "nowhere"),
        ("vae", ["score", "--data", "data.npz", "--scored", "sample"], "--scored must be of images of 64"),
        ("vae", ["interpolate", "--data", "data.npz", "--pairs", "3"], "--pairs"),
        ("vae", ["interpolate", "--data", "data.npz", "--pairs", "3,x"], "--pairs"),
        ("vae", ["interpolate", "--data", "data.npz", "--pairs", "3,50"], "--pairs must be places"),
        ("vae", ["interpolate", "--data", "data.npz", "--pairs", "3,4", "--n", "3"], "--n"),
        ("vae", ["interpolate", "--data", "data.npz", "--classes", "cat,dog"], "--classes must be one of class 0"),
        (
            "vae",
            ["interpolate", "--data", "unlabelled.npz", "--classes", "1,2"],
            "--classes is for images with la",
        ),
        ("vae", ["interpolate", "--data", "data.npz", "--steps", "1"], "--steps must be at least 2"),
    ],
)
def test_bad_input_ends_with_code_2_and_one_sentence(kind, arguments, named, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    np.save("wide.npy", np.zeros((4, N_LATENT + 1)))
    with pytest.raises(SystemExit) as ended:
        command_line.main(["--from", kind, *arguments, *(["--out", str(tmp_path / "out")] if arguments else [])])
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert ended.value.code == 2
    assert named in message
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_wrong_label_of_the_data_is_refused(main, folder):
    data = np.load(folder / "data.npz")
    y = np.arange(60) % 12
    np.savez(folder / "twelve.npz", x_train=data["x_train"], y_train=y, x_test=data["x_test"], y_test=y[:50])
    ended = main("conditional", "encode", data="twelve.npz")
    assert ended.code == 2
    assert "--data has 12 classes, and the model 10" in ended.said[0]


def test_a_failure_leaves_what_was_there(main, tmp_path, monkeypatch):
    assert main("vae", "generate", "--n", 4).code == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(path, **arrays):
        Path(path).write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(use.np, "savez", full)
    ended = main("vae", "generate", "--n", 5)
    assert ended.code == 1
    assert ended.said == ["python -m gluon_vae: error: [Errno 28] No space left on device"]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_interrupt_ends_with_code_130(main, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(use_images, "score", interrupted)
    ended = main("vae", "score")
    assert (ended.code, ended.said) == (130, ["Interrupted"])


def test_an_out_that_cannot_be_written_to_is_found_before_anything_is_computed(main, tmp_path, monkeypatch):
    monkeypatch.setattr(use_codes, "generate", None)
    (tmp_path / "samples.png").mkdir()
    ended = main("vae", "generate")
    assert ended.code == 2
    assert "samples.png is not a file" in ended.said[0]


@pytest.mark.parametrize("arguments", [["--help"], ["generate", "--help"], ["score", "--help"]])
def test_help_says_what_is_written(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        command_line.main(["--from", "nowhere", *arguments])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    written = (
        COMMANDS[arguments[0]] if len(arguments) > 1 else [name for names in COMMANDS.values() for name in names]
    )
    for name in written:
        assert name in said


def test_the_checkpoint_may_be_named_anywhere_and_the_process_is_the_usual_one(folder, tmp_path):
    command = [
        sys.executable,
        "-m",
        "gluon_vae",
        "generate",
        "--n",
        "4",
        f"--from={folder / 'vae'}",
        "--out",
        tmp_path,
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0] == "VAE, 3-D latent"
    assert {path.name for path in tmp_path.iterdir()} == {"samples.npz", "samples.png"}


def test_the_nll_of_a_reconstruction_is_below_that_of_drawn_codes(x):
    for kind in FAMILY:
        net = make(kind)
        labels = [] if net.n_classes is None else [np.arange(len(x))]
        nll = evaluation.reconstruction_nll(net, x, *labels)
        assert nll.shape == (len(x),)
        assert noise(net, x) is not None
        code = nd.array(gluon_vae.encode(net, x, *labels))
        expected = net.likelihood(net.decoder.logits(code, *map(nd.array, labels)), nd.array(x)).asnumpy()
        np.testing.assert_allclose(nll, expected, rtol=1e-5)
