"""Checkpoints: exact resumption, files that are whole or refused, and what survives a kill."""

import random
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest
import soak
from conftest import N_OUTPUT, assert_equal, every_model, inputs, labels, make, refused, unchanged

import gluon_vae
from gluon_vae import checkpoint, fit

import mxnet as mx
from mxnet import nd

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
        ({"n_epochs": 5}, "n_epochs"),
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
small = checkpoint.Checkpoint({{"w": np.zeros(10)}}, {{}}, {{"epoch": 1}})
large = checkpoint.Checkpoint({{"w": np.random.rand(100_000)}}, {{}}, {{"epoch": 2}})
path = {str(tmp_path / "c")!r}
checkpoint.write(path, small)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    checkpoint.write(path, large)
except OSError as error:
    print("refused:", error)
assert checkpoint.read(path).meta == {{"epoch": 1}}
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "refused:" in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


COMMAND = [sys.executable, "-m", "gluon_vae", "--epochs", "10", "--n-hidden", "16", "--n-layers", "1", "--out"]


def start(out, *options):
    return subprocess.Popen([*COMMAND, str(out), *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    try:
        out, err = process.communicate(timeout=600)
    finally:
        with process:
            process.kill()
    return process.returncode, out, err


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    out = tmp_path_factory.mktemp("uninterrupted")
    code, _, err = finish(start(out))
    assert code == 0, err
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
def test_resume_where_nothing_was_saved_says_so_and_starts(tmp_path, uninterrupted):
    code, out, err = finish(start(tmp_path, "--resume"))
    assert code == 0, err
    assert "starting from the beginning" in out
    assert_same_result(tmp_path, uninterrupted)


@pytest.mark.slow
def test_resume_with_other_options_ends_with_code_2_and_one_sentence(tmp_path, uninterrupted):
    shutil.copy(uninterrupted / "checkpoint", tmp_path)
    code, _, err = finish(start(tmp_path, "--resume", "--seed", "5"))
    assert code == 2
    assert "seed" in err.strip().splitlines()[-1]
    assert "Traceback" not in err
