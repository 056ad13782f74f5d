"""Checkpoints: exact resumption, files that are whole or refused, and what survives a kill."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial

import numpy as np
import pytest
import soak
from conftest import N_OUTPUT, assert_equal, every_model, inputs, labels, make, refused, unchanged

import gluon_vae
from gluon_vae import __main__ as command_line
from gluon_vae import checkpoint, contract, fit
from gluon_vae.layers import mlp

import mxnet as mx
from mxnet import nd
from mxnet.gluon import nn

SETTINGS = {"n_epochs": 4, "batch_size": 10, "seed": 3, "progress": False}


@pytest.fixture
def x():
    return np.random.default_rng(0).random((53, N_OUTPUT), dtype=np.float32)


make_new = partial(make, "vae", "static", initialize=False)


def stop_after(n_epochs):
    def stop(history):
        if len(history["epoch"]) == n_epochs:
            raise KeyboardInterrupt

    return stop


def without_seconds(history):
    return {key: column for key, column in history.items() if key != "seconds"}


@pytest.mark.parametrize("interrupted_after", [1, 3])
def test_interrupted_and_resumed_equals_uninterrupted(x, tmp_path, interrupted_after):
    whole, parts = make_new(), make_new()
    expected = fit(whole, x, x[:9], **SETTINGS)
    path = tmp_path / "checkpoint"
    with pytest.raises(KeyboardInterrupt):
        fit(parts, x, x[:9], checkpoint=path, on_epoch=stop_after(interrupted_after), **SETTINGS)
    mx.random.seed(99)  # another process would have another state
    again = make_new()
    history = fit(again, x, x[:9], checkpoint=path, resume=True, **SETTINGS)
    assert without_seconds(history) == without_seconds(expected)
    for net in (again, gluon_vae.load(path)):
        assert_equal(checkpoint.parameters_of(net), checkpoint.parameters_of(whole))


def test_a_finished_run_is_resumed_to_itself(x, tmp_path):
    net, again = make_new(), make_new()
    history = fit(net, x, checkpoint=tmp_path / "c", **SETTINGS)
    assert fit(again, x, checkpoint=tmp_path / "c", resume=True, **SETTINGS) == history
    assert_equal(checkpoint.parameters_of(net), checkpoint.parameters_of(again))


@every_model
def test_a_checkpoint_rebuilds_the_model(kind, options, x, tmp_path):
    composed, path = "composed" in kind, tmp_path / "c"
    build = partial(make, kind, "static", initialize=False, **options, **({} if composed else {"act_type": "tanh"}))
    net = build()
    y = dict(zip(("y_train",), labels(net, len(x))))
    fit(net, x, n_epochs=1, checkpoint=path, progress=False, **y)
    if composed:
        with refused(str(path), "ComposedVAE", "build it"):
            gluon_vae.load(path)
    again = gluon_vae.load(path, build() if composed else None)
    assert type(again) is type(net)
    assert again.config == net.config
    np.testing.assert_array_equal(again(*inputs(net, x)).asnumpy(), net(*inputs(net, x)).asnumpy())


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"seed": 4}, "seed"),
        ({"n_epochs": 3}, "n_epochs"),
        ({"kl_warmup": 1}, "kl_warmup"),
        ({"rate_warmup": 1}, "rate_warmup"),
        ({"clip_norm": 1.0}, "clip_norm"),
        ({"batch_size": 11}, "batch_size"),
        ({"learning_rate": 1e-3}, "learning_rate"),
        ({"schedule": "constant"}, "schedule"),
        ({"x_train": "other"}, "training images"),
    ],
)
def test_another_run_is_not_resumed(x, tmp_path, change, name):
    fit(make_new(), x, checkpoint=tmp_path / "c", **SETTINGS)
    images = x[::-1] if change.pop("x_train", None) else x
    net = make_new()
    with pytest.raises(ValueError, match=f"{name} ="):
        fit(net, images, checkpoint=tmp_path / "c", resume=True, **SETTINGS | change)


def test_a_finished_run_goes_on_for_more_epochs_with_the_rates_of_the_longer_run(x, tmp_path):
    def run(net=None, **options):
        net = make_new() if net is None else net
        return without_seconds(fit(net, x, x[:9], **SETTINGS | options)), checkpoint.parameters_of(net)

    paths = [tmp_path / name for name in "ab"]
    finished, _ = run(checkpoint=paths[0])
    shutil.copy(*paths)
    straight, parameters = run(n_epochs=7, checkpoint=paths[0], resume=True)
    from_start, _ = run(n_epochs=7)
    assert {name: column[:4] for name, column in straight.items()} == finished
    assert straight["learning_rate"][4:] == from_start["learning_rate"][4:]
    assert straight["learning_rate"][4] > straight["learning_rate"][3]
    assert straight["train_loss"][4:] != from_start["train_loss"][4:]

    with pytest.raises(KeyboardInterrupt):
        run(n_epochs=7, checkpoint=paths[1], resume=True, on_epoch=stop_after(5))
    with refused("n_epochs = 7", "this one has 4"):
        run(checkpoint=paths[1], resume=True)
    resumed, same = run(n_epochs=7, checkpoint=paths[1], resume=True)
    assert resumed == straight
    assert_equal(same, parameters)


@pytest.mark.parametrize("interrupted_after", [1, 2])
def test_warmed_up_and_clipped_runs_are_resumed_to_the_bit(x, tmp_path, interrupted_after):
    settings = SETTINGS | {"rate_warmup": 2, "kl_warmup": 3, "clip_norm": 2.0}
    whole, again, path = make_new(), make_new(), tmp_path / "c"
    expected = fit(whole, x, **settings)
    with pytest.raises(KeyboardInterrupt):
        fit(make_new(), x, checkpoint=path, on_epoch=stop_after(interrupted_after), **settings)
    history = fit(again, x, checkpoint=path, resume=True, **settings)
    assert without_seconds(history) == without_seconds(expected)
    assert_equal(checkpoint.parameters_of(again), checkpoint.parameters_of(whole))
    assert expected["train_loss"] != fit(make_new(), x, **SETTINGS)["train_loss"]


def test_other_multipliers_of_rates_are_another_run(x, tmp_path):
    def slowed(factor):
        net = make_new()
        net.encoder[0].weight.lr_mult = factor
        return net

    fit(slowed(0.5), x, checkpoint=tmp_path / "c", **SETTINGS)
    fit(slowed(0.5), x, checkpoint=tmp_path / "c", resume=True, **SETTINGS)
    for factor in (1, 0.25):
        with refused("its run had lr_mult = {'encoder.0.weight': 0.5}"):
            fit(slowed(factor), x, checkpoint=tmp_path / "c", resume=True, **SETTINGS)


def test_resume_needs_a_path(x):
    with refused("resume", "checkpoint"):
        fit(make_new(), x, resume=True, **SETTINGS)


def flip(content, position):
    content = bytearray(content)
    content[position] ^= 4
    return bytes(content)


DAMAGES = {
    "empty": (lambda c: b"", "not a gluon-vae checkpoint"),
    "truncated": (lambda c: c[: len(c) // 2], "damaged"),
    "one byte short": (lambda c: c[:-1], "damaged"),
    "a byte too many": (lambda c: c + b"\0", "damaged"),
    "flipped in the parameters": (lambda c: flip(c, len(c) // 2), "damaged"),
    "flipped in the checksum": (lambda c: flip(c, 40), "damaged"),
    "another program's": (lambda c: b"\x12\x01\0\0" + c, "not a gluon-vae checkpoint"),
    "another version's": (lambda c: c.replace(b"checkpoint 1\n", b"checkpoint 0\n", 1), "version 0", "version 1"),
    "a newer version's": (lambda c: c.replace(b"checkpoint 1\n", b"checkpoint 9\n", 1), "version 9", "version 1"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_and_foreign_files_are_refused_and_the_network_left_alone(x, tmp_path, damage):
    path, net = tmp_path / "c", make_new()
    fit(net, x, checkpoint=path, **SETTINGS)
    change, *words = DAMAGES[damage]
    damaged = change(path.read_bytes())
    path.write_bytes(damaged)
    for use in (lambda: fit(net, x, checkpoint=path, resume=True, **SETTINGS), lambda: gluon_vae.load(path)):
        with unchanged(net), refused(str(path), *words):
            use()
    assert [(file, file.read_bytes()) for file in tmp_path.iterdir()] == [(path, damaged)]


def test_parameters_of_another_architecture_are_refused_before_any_is_set(x, tmp_path):
    fit(make_new(), x, checkpoint=tmp_path / "c", **SETTINGS)
    for other in (make_new(n_hidden=9), make_new(n_layers=1)):
        other.initialize()
        with unchanged(other), pytest.raises(ValueError, match=r"its run had n_(hidden|layers)"):
            fit(other, x, checkpoint=tmp_path / "c", resume=True, **SETTINGS)
        with unchanged(other), refused(str(tmp_path / "c"), "another architecture"):
            gluon_vae.load(tmp_path / "c", other)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing-here"):
        gluon_vae.load(tmp_path / "nothing-here")


def test_a_ruined_parameter_stops_training_and_the_checkpoint_before_stays(x, tmp_path):
    net, path = make_new(), tmp_path / "c"

    def ruin(history):
        if len(history["epoch"]) == 2:
            bias = net.encoder[0].bias  # the ReLU behind it hides NaN from the loss
            bias.set_data(nd.array([np.nan] + [0.0] * (bias.shape[0] - 1)))

    with pytest.raises(FloatingPointError, match="epoch 3"):
        fit(net, x, checkpoint=path, on_epoch=ruin, **SETTINGS)
    assert len(checkpoint.read(path).meta["history"]["epoch"]) == 2
    assert all(np.isfinite(value).all() for value in checkpoint.parameters_of(gluon_vae.load(path)).values())


def test_a_full_disk_is_an_error_that_leaves_the_previous_file(tmp_path):
    """A limit on the size of files plays the full disk, in a process of its own."""
    code = f"""
import resource, signal, numpy as np
from gluon_vae import checkpoint
meta = {{"model": "M", "config": None, "run": {{}}, "n_steps": 1, "history": {{"epoch": [1]}}}}
small = checkpoint.Checkpoint({{"w": np.zeros(10)}}, {{}}, meta)
large = checkpoint.Checkpoint({{"w": np.random.rand(100_000)}}, {{}}, meta | {{"n_steps": 2}})
path = {str(tmp_path / "c")!r}
checkpoint.write(path, small)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    checkpoint.write(path, large)
except OSError as error:
    print("refused:", error)
assert checkpoint.read(path).meta == meta
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "refused:" in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize(
    ("first", "then"),
    [((9, None), (None, None)), ((None, None), (9, None)), ((9, None), (8, None)), ((9, 0), (9, 1))],
    ids=["removed", "added", "shorter", "of other pixels"],
)
def test_other_test_images_are_another_run(x, tmp_path, first, then):
    def images(n, value):
        test = None if n is None else x[:n].copy()
        if value is not None:
            test[0, 0] = value
        return test

    path, net = tmp_path / "c", make_new()
    fit(make_new(), x, images(*first), checkpoint=path, **SETTINGS)
    kept = path.read_bytes()
    with pytest.raises(ValueError, match="its run had test images ="):
        fit(net, x, images(*then), checkpoint=path, resume=True, **SETTINGS)
    assert not contract.is_initialized(net)
    assert path.read_bytes() == kept


def test_other_test_labels_are_another_run(x, tmp_path):
    def run(y_test, **options):
        net = gluon_vae.ConditionalVAE(n_hidden=8, n_output=N_OUTPUT)
        fit(
            net, x, x[:9], y_train=np.arange(53) % 10, y_test=y_test, checkpoint=tmp_path / "c", **SETTINGS, **options
        )

    run(np.arange(9))
    with pytest.raises(ValueError, match="its run had test labels ="):
        run(np.arange(9)[::-1], resume=True)


def test_every_column_of_a_resumed_history_has_a_number_for_every_epoch(x, tmp_path):
    for test in (None, x[:9]):
        path = tmp_path / "c"
        with pytest.raises(KeyboardInterrupt):
            fit(make_new(), x, test, checkpoint=path, on_epoch=stop_after(2), **SETTINGS)
        history = fit(make_new(), x, test, checkpoint=path, resume=True, **SETTINGS)
        assert {len(column) for column in history.values()} == {4}
        assert ("test_kl" in history) == (test is not None)


@pytest.mark.parametrize("column", ["train_kl", "test_nll", "learning_rate", "seconds"])
def test_a_history_without_a_column_that_training_would_add_to_is_refused(x, tmp_path, column):
    path, net = tmp_path / "c", make_new()
    fit(make_new(), x, x[:9], checkpoint=path, **SETTINGS)
    saved = checkpoint.read(path)
    del saved.meta["history"][column]
    checkpoint.write(path, saved)
    with pytest.raises(ValueError, match="c is malformed: its history"):
        fit(net, x, x[:9], checkpoint=path, resume=True, **SETTINGS)
    assert not contract.is_initialized(net)


def test_what_a_callback_adds_to_the_history_is_its_own(x, tmp_path):
    def add(history):
        history.setdefault("mine", []).append(object())

    path = tmp_path / "c"
    history = fit(make_new(), x, checkpoint=path, on_epoch=add, **SETTINGS)
    assert len(history["mine"]) == 4
    saved = checkpoint.read(path).meta["history"]
    assert saved == {name: column for name, column in history.items() if name != "mine"}


def test_a_loss_that_becomes_infinite_on_test_images_is_no_checkpoint(x, tmp_path):
    class Lost(gluon_vae.VAE):
        def forward(self, x, *args):
            loss = super().forward(x, *args)
            return loss * np.inf if len(x) == 9 and trained else loss

    def remember(history):
        trained.append(1)

    trained, path = [], tmp_path / "c"
    net = Lost(n_hidden=8, n_latent=2, n_output=N_OUTPUT)
    with pytest.raises(FloatingPointError, match="test_loss stopped being finite by epoch 2"):
        fit(net, x, x[:9], checkpoint=path, on_epoch=remember, **SETTINGS)
    assert checkpoint.read(path).meta["history"]["epoch"] == [1]


# What is found out before anything is trained: the path, an error, and what it says.
PATHS = {
    "empty": (lambda folder: "", ValueError, "checkpoint must be the path of a file"),
    "an open file's number": (lambda folder: 1, ValueError, "checkpoint must be a path, got int"),
    "true": (lambda folder: True, ValueError, "checkpoint must be a path, got bool"),
    "bytes": (lambda folder: b"c", ValueError, "checkpoint must be a path, got bytes"),
    "an open file": (lambda folder: sys.stdout, ValueError, "checkpoint must be a path"),
    "with a null": (lambda folder: f"{folder}/a\0b", ValueError, "checkpoint must be the path of a file"),
    "a folder by its slash": (lambda folder: f"{folder}/new/", ValueError, "new/"),
    "a folder": (lambda folder: folder, IsADirectoryError, "folder"),
    "in a folder that is missing": (lambda folder: folder / "missing" / "c", FileNotFoundError, "missing/c"),
    "in a file": (lambda folder: folder / "foreign" / "c", NotADirectoryError, "foreign/c"),
    "a FIFO": (lambda folder: folder / "fifo", OSError, "Not a regular file.*fifo"),
    "a link to a FIFO": (lambda folder: folder / "to fifo", OSError, "Not a regular file.*to fifo"),
    "a link to itself": (lambda folder: folder / "loop", OSError, "symbolic links.*loop"),
    "too long": (lambda folder: folder / ("c" * 250), OSError, "too long.*ccc"),
    "another program's": (lambda folder: folder / "foreign", ValueError, "foreign is not a gluon-vae checkpoint"),
    "a link to another program's": (
        lambda folder: folder / "to foreign",
        ValueError,
        "to foreign is not a gluon-vae",
    ),
}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    os.mkfifo(folder / "fifo")
    (folder / "foreign").write_bytes(b"a letter")
    for name in ("fifo", "foreign"):
        (folder / f"to {name}").symlink_to(folder / name)
    (folder / "loop").symlink_to("loop")
    return folder


def contents(folder):
    return {
        path.name: (path.lstat().st_mode, path.lstat().st_mtime_ns, path.lstat().st_size) for path in folder.iterdir()
    }


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("case", PATHS)
def test_a_path_that_cannot_be_written_to_is_found_before_training(case, resume, folder, x):
    path, kind, message = PATHS[case]
    path, net = path(folder), make_new()
    before = contents(folder)
    with pytest.raises(kind, match=message) as refused:
        fit(net, x, checkpoint=path, resume=resume, **SETTINGS)
    assert "\n" not in str(refused.value)
    assert not contract.is_initialized(net)
    assert contents(folder) == before


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_folder_that_cannot_be_written_to_is_found_before_training(code, folder, x, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(code, os.strerror(code), "a temporary name")

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    net = make_new()
    with pytest.raises(OSError, match=f"{os.strerror(code)}: '{folder}/c'"):
        fit(net, x, checkpoint=folder / "c", **SETTINGS)
    assert not contract.is_initialized(net)


def test_looking_at_the_path_leaves_nothing(folder, x):
    before = contents(folder)
    with pytest.raises(KeyboardInterrupt):
        fit(Interrupted(n_hidden=8, n_output=N_OUTPUT), x, checkpoint=folder / "c", **SETTINGS)
    assert contents(folder) == before


class Interrupted(gluon_vae.VAE):
    def forward(self, x, *args):
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    "there", ["nothing", "an empty file", "an older checkpoint", "a damaged checkpoint", "a link"]
)
def test_a_checkpoint_is_written_where_there_is_none_or_an_older_one(there, tmp_path, x):
    path = target = tmp_path / "c"
    if there == "an empty file":
        path.touch()
    elif there in ("an older checkpoint", "a damaged checkpoint"):
        fit(make_new(n_hidden=5), x, checkpoint=path, **SETTINGS)
        if there == "a damaged checkpoint":
            path.write_bytes(path.read_bytes()[:-100])
    elif there == "a link":
        (tmp_path / "elsewhere").mkdir()
        target = tmp_path / "elsewhere" / "target"
        path.symlink_to(target)
    net = make_new()
    with pytest.raises(KeyboardInterrupt):
        fit(net, x, checkpoint=path, on_epoch=stop_after(2), **SETTINGS)
    assert_equal(checkpoint.parameters_of(gluon_vae.load(path)), checkpoint.parameters_of(net))
    assert path.is_symlink() == (there == "a link")
    fit(net, x, checkpoint=path, resume=True, **SETTINGS)
    assert_equal(checkpoint.parameters_of(gluon_vae.load(target)), checkpoint.parameters_of(net))
    assert path.is_symlink() == (there == "a link")


def test_a_file_that_came_in_the_meantime_is_not_replaced(tmp_path, x):
    path = tmp_path / "c"
    with pytest.raises(ValueError, match="c is not a gluon-vae checkpoint, and is not replaced"):
        fit(make_new(), x, checkpoint=path, on_epoch=lambda history: path.write_text("mine"), **SETTINGS)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("path", [3, True, b"c", None, ""])
def test_load_takes_paths_only(path):
    with pytest.raises(ValueError, match="path must be"):
        gluon_vae.load(path)


@pytest.mark.parametrize("name", ["fifo", "to fifo", "loop", ""])
def test_load_reads_regular_files_only(folder, name):
    with pytest.raises(OSError, match=r"Not a regular file|symbolic links|Is a directory"):
        gluon_vae.load(folder / name)


class Mine(gluon_vae.ComposedVAE):
    """A VAE with attributes of its own."""

    def __init__(self, names=(), blocks=(), **options):
        super().__init__(mlp(N_OUTPUT, 8, 1, 4, "relu"), mlp(2, 8, 1, N_OUTPUT, "relu"), 2, N_OUTPUT, **options)
        with self.name_scope():
            for i, name in enumerate(names):
                setattr(self, name, self.params.get(f"odd{i}", shape=(i + 1,), init=mx.init.Uniform()))
            for name in blocks:
                setattr(self, name, nn.Dense(2, in_units=3, bias_initializer="normal"))

    def hybrid_forward(self, F, x, eps, *label, **mine):
        return super().hybrid_forward(F, x, eps, *label)


ODD_NAMES = [
    "a/b",
    "../b",
    "/b",
    "b.npy",
    "b",
    "\N{GREEK SMALL LETTER MU}",
    "b\nc",
    "b\\c",
    "meta",
    "b/mean",
    "b/mean.npy",
    " ",
    "b" * 300,
    "",
]


@pytest.mark.parametrize("shape", ["parameters", "blocks"])
def test_names_of_any_characters_are_kept(shape, x, tmp_path):
    names = {"names": ODD_NAMES} if shape == "parameters" else {"blocks": ODD_NAMES}
    net, loaded, resumed = Mine(**names), Mine(**names), Mine(**names)
    net.initialize()
    for parameter in net.collect_params().values():
        parameter.zero_grad()  # of those that no call uses
    path = tmp_path / "c"
    fit(net, x, checkpoint=path, **SETTINGS)
    assert len(checkpoint.parameters_of(net)) == 8 + len(ODD_NAMES) * (1 if shape == "parameters" else 2)
    assert_equal(checkpoint.parameters_of(gluon_vae.load(path, loaded)), checkpoint.parameters_of(net))
    fit(resumed, x, checkpoint=path, resume=True, **SETTINGS)
    assert_equal(checkpoint.parameters_of(resumed), checkpoint.parameters_of(net))


def test_a_scalar_is_kept(x, tmp_path):
    with mx.util.np_shape(True):
        net, loaded = Mine(), Mine()
        for one in (net, loaded):
            one.scale = one.params.get("scale", shape=(), init=mx.init.Constant(3))
        net.initialize()
        net.scale.zero_grad()
        fit(net, x, checkpoint=tmp_path / "c", **SETTINGS)
        assert checkpoint.read(tmp_path / "c").parameters["scale"].shape == ()
        assert_equal(checkpoint.parameters_of(gluon_vae.load(tmp_path / "c", loaded)), checkpoint.parameters_of(net))


def with_config(config):
    class Odd(Mine):
        pass

    Odd.config = config
    return Odd()


def with_one_name_twice():
    net = Mine()
    with net.name_scope():
        net.a = nn.HybridSequential()
        net.a.b = nn.Dense(2, in_units=3)
        setattr(net, "a.b", nn.Dense(2, in_units=3))
    return net


CANNOT_BE_KEPT = {
    "a setting that is no JSON": (lambda: with_config({"a": {1, 2}}), "set"),
    "a setting of NumPy": (lambda: with_config({"a": np.float32(1)}), "float32"),
    "a setting that is NaN": (lambda: with_config({"a": float("nan")}), "float"),
    "a setting within itself": (lambda: with_config(itself()), "Circular"),
    "a setting with other keys": (lambda: with_config({"a": {(1, 2): 3}}), "keys"),
    "settings that are none": (lambda: with_config([1, 2]), "config"),
    "settings that are an object": (lambda: with_config(object()), "object"),
    "a name with a null": (lambda: Mine(["a\0b"]), "named 'parameters/a"),
    "a name that is no text": (lambda: Mine(["\ud800"]), "ud800"),
    "a name that is too long": (lambda: Mine(["b" * 70_000]), "bbb"),
    "one name twice": (with_one_name_twice, "dense0_weight"),
    "more draws than a file may ask for": (lambda: make_new(n_samples=20_000), "n_samples"),
}


def itself():
    config = {}
    config["a"] = config
    return config


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("case", CANNOT_BE_KEPT)
def test_what_cannot_be_kept_is_found_before_training(case, resume, x, tmp_path):
    make_net, word = CANNOT_BE_KEPT[case]
    net = make_net()
    with pytest.raises(ValueError, match="checkpoint cannot keep this run") as refused:
        fit(net, x, checkpoint=tmp_path / "c", resume=resume, **SETTINGS)
    assert word in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not contract.is_initialized(net)
    assert list(tmp_path.iterdir()) == []


def test_a_history_that_would_not_be_read_again_is_found_before_training(x, tmp_path):
    with pytest.raises(ValueError, match="n_epochs=1000000000"):
        fit(make_new(), x, checkpoint=tmp_path / "c", **SETTINGS | {"n_epochs": 10**9})


BRIEF = ["--epochs", "10", "--n-hidden", "16", "--n-layers", "1", "--n-latent", "3", "--out"]


def start(out, *options):
    command = [sys.executable, "-m", "gluon_vae", *BRIEF, str(out), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    try:
        out, err = process.communicate(timeout=600)
    finally:
        with process:
            process.kill()
    return process.returncode, out, err


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A run that is to go on from nothing, and starts; those that are begun without that word end like it."""
    out = tmp_path_factory.mktemp("uninterrupted")
    code, said, err = finish(start(out, "--resume"))
    assert code == 0, err
    assert "starting from the beginning" in said
    return out


def assert_same_result(out, uninterrupted):
    result, expected = (checkpoint.read(folder / "checkpoint") for folder in (out, uninterrupted))
    assert_equal(result.parameters, expected.parameters)
    assert_equal(result.moments, expected.moments)
    assert without_seconds(result.meta["history"]) == without_seconds(expected.meta["history"])
    names = [sorted(path.name for path in folder.iterdir()) for folder in (out, uninterrupted)]
    assert names[0] == names[1]  # nothing half-written stays


def wait_for(path, process):
    while not path.exists() and process.poll() is None:
        time.sleep(0.01)


@pytest.mark.slow
def test_ctrl_c_leaves_what_resume_needs(tmp_path, uninterrupted):
    process = start(tmp_path)
    wait_for(tmp_path / "history.json", process)
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code == 130, err
    assert "--resume" in err
    assert "Traceback" not in err
    code, _, err = finish(start(tmp_path, "--resume"))
    assert code == 0, err
    assert_same_result(tmp_path, uninterrupted)


@pytest.mark.slow
def test_the_command_line_killed_resumes_to_the_same_result(tmp_path, uninterrupted):
    process = start(tmp_path)
    wait_for(tmp_path / "checkpoint", process)
    time.sleep(random.Random(0).uniform(0, 0.1))
    process.kill()
    code, _, err = finish(process)
    assert code == -signal.SIGKILL, err
    code, _, err = finish(start(tmp_path, "--resume"))
    assert code == 0, err
    assert_same_result(tmp_path, uninterrupted)


# `make soak` has all thirty.
@pytest.mark.slow
@pytest.mark.parametrize("kill", [soak.DURING_A_SAVE[i] for i in (4, 11)] + soak.ANYWHERE[:1], ids=str)
def test_killed_it_resumes_to_the_same_result(tmp_path, kill):
    soak.check_kill(tmp_path, kill)


@pytest.mark.slow
def test_resume_with_other_options_ends_with_code_2_and_one_sentence(tmp_path, uninterrupted, capsys):
    shutil.copy(uninterrupted / "checkpoint", tmp_path)
    with pytest.raises(SystemExit) as ended:
        command_line.main([*BRIEF, str(tmp_path), "--resume", "--seed", "5"])
    assert ended.value.code == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert "seed" in sentence
