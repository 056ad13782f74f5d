"""Thirty kills, and thousands of forged files: what may happen to a checkpoint.

Thirty kills: what a training process leaves behind that is killed at any moment. ``make soak`` runs all of them,
``make test`` a few (in test_checkpoint.py). As a program this file is the process that is killed: it trains and says
what it does, and where it is told to it stops, so that the kill comes there whatever the load of the machine.

Forged files: what ``load`` and ``fit(resume=True)`` do with checkpoints that nobody has trained; ``make test`` has
hundreds (in test_forged.py).
"""

import functools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import forged
import numpy as np
import pytest

import gluon_vae
from gluon_vae import checkpoint, fit

N_EPOCHS = 8
N_PIECES = 7  # in which the stopping process writes a checkpoint
# The steps of a save, in order. Each is a moment at which the process can be killed.
STEPS = [
    "before the file is created",
    "empty file",
    *[f"{i} of {N_PIECES} pieces written" for i in range(1, N_PIECES + 1)],
    "before the flush of the file",
    "after the flush of the file",
    "before the move",
    "after the move",
    "before the flush of the folder",
    "after the flush of the folder",
]
CREATED, MOVED = STEPS.index("empty file"), STEPS.index("after the move")


class Kill(NamedTuple):
    """During a save at a step of it; or without a step, so long after a save that goes on freely."""

    save: int
    step: int | None
    delay: float = 0.0

    def __str__(self):
        if self.step is None:
            return f"{1000 * self.delay:.0f} ms after save {self.save}"
        return f"save {self.save}, {STEPS[self.step]}"


class Found(NamedTuple):
    """After a kill: whether it came in a save, epochs trained but not kept, epochs kept, files left."""

    in_a_save: bool
    lost: int
    kept: int
    left: int
    last_said: str


found = {}


def all_kills(rng):
    during = [Kill(rng.randint(1, N_EPOCHS - 2), step) for step in range(len(STEPS))]
    anywhere = [Kill(rng.randint(0, N_EPOCHS - 4), None, rng.uniform(0, 0.15)) for _ in range(15)]
    return during, anywhere


DURING_A_SAVE, ANYWHERE = all_kills(random.Random(0))


def train(path, **kwargs):
    """Train a small model, from where ``path`` left it if it is there."""
    x = np.random.default_rng(0).random((200, 196), dtype=np.float32)
    net = gluon_vae.VAE(n_hidden=32, n_latent=2, n_layers=1, n_output=196)
    net.hybridize(static_alloc=True, static_shape=True)
    settings = {"n_epochs": N_EPOCHS, "batch_size": 10, "seed": 3, "progress": False}
    settings |= {"rate_warmup": 2, "kl_warmup": 3, "patience": N_EPOCHS, "clip_norm": 5.0}
    # The test images are unlike the others: the best epoch is one in the middle.
    fit(net, x, 1 - x[:50] / 2, checkpoint=path, resume=True, **settings, **kwargs)


def be_killed(path, at_save, at_step):
    """Train, say what is done, and wait for the kill: at a step of a save, or before the last epoch."""
    save = step = 0

    def say(text):
        print(text, flush=True)

    def wait_for_the_kill():
        say("waiting")
        time.sleep(120)
        sys.exit("nobody killed me")

    def moment():
        nonlocal step
        if (save, step) == (at_save, at_step):
            wait_for_the_kill()
        step += 1

    def with_moments(function):
        def wrapped(*args, **kwargs):
            moment()
            result = function(*args, **kwargs)
            moment()
            return result

        return wrapped

    def in_pieces(path, content):
        with path.open("wb", buffering=0) as file:
            for piece in np.array_split(np.frombuffer(content, np.uint8), N_PIECES):
                file.write(piece)
                moment()

    @contextmanager
    def announced(path, replacing=checkpoint.replacing):
        nonlocal save, step
        save, step = save + 1, 0
        say(f"save {save}")
        with replacing(path) as temporary:
            yield temporary
        assert step == len(STEPS)
        say(f"saved {save}")

    def wait_before_the_end(history):
        if len(history["epoch"]) == N_EPOCHS - 1:
            wait_for_the_kill()

    tempfile.mkstemp, os.fsync, Path.replace = map(with_moments, (tempfile.mkstemp, os.fsync, Path.replace))
    Path.write_bytes, checkpoint.replacing = in_pieces, announced
    say("saved 0")
    train(path, on_epoch=wait_before_the_end)


def start_and_kill(path, kill):
    """Kill a training process where it is meant to be killed; return what it had said by then."""
    step = "none" if kill.step is None else str(kill.step)
    command = [sys.executable, __file__, str(path), str(kill.save), step]
    there = f"saved {kill.save}" if kill.step is None else "waiting"
    said = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            said.append(line.strip())
            if said[-1] == there:
                break
        time.sleep(kill.delay)
        process.kill()
        said += process.stdout.read().splitlines()
    assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
    assert there in said
    return said


@functools.cache
def uninterrupted():
    with tempfile.TemporaryDirectory() as folder:
        train(Path(folder) / "checkpoint")
        return checkpoint.read(Path(folder) / "checkpoint")


def epochs_in(path):
    return len(checkpoint.read(path).meta["history"]["epoch"]) if path.exists() else 0


def same_history(a, b):
    return a.keys() == b.keys() and all(a[key] == b[key] for key in a if key != "seconds")


def check_kill(folder, kill):
    """Kill a run, see what it left, and resume it; return what was found."""
    path = folder / "checkpoint"
    said = start_and_kill(path, kill)
    begun, done = (sum(line.startswith(word + " ") for line in said) for word in ("save", "saved"))
    done -= 1  # "saved 0" is the start
    kept, left = epochs_in(path), [p for p in folder.iterdir() if p != path]
    assert done <= kept <= begun <= done + 1, "a save that had ended was lost"
    assert len(left) <= begun - done, "a save that had ended left a file behind"
    if kill.step is not None:
        assert (begun, done) == (kill.save, kill.save - 1), "the kill did not come during the save"
        assert kept == (kill.save if kill.step >= MOVED else kill.save - 1)
        assert len(left) == (CREATED <= kill.step < MOVED)
    if kept:
        gluon_vae.load(path)

    train(path)  # in this process, which is another than the one killed
    result, expected = checkpoint.read(path), uninterrupted()
    assert expected.best
    for kind in ("parameters", "moments", "best"):
        values, expected_values = getattr(result, kind), getattr(expected, kind)
        assert values.keys() == expected_values.keys()
        for name, value in expected_values.items():
            np.testing.assert_array_equal(values[name], value)
    assert same_history(result.meta["history"], expected.meta["history"])
    assert list(folder.iterdir()) == [path], "what the killed process left is still there"
    return Found(begun > done, begun - kept, kept, len(left), said[-1])


@pytest.mark.parametrize("kill", DURING_A_SAVE + ANYWHERE, ids=str)
def test_killed_it_resumes_to_the_same_result(tmp_path, kill):
    found[kill] = check_kill(tmp_path, kill)
    print(f"{kill}: {found[kill]}")


def test_there_were_thirty_kills_at_different_moments():
    during, anywhere = ([found[kill] for kill in kills] for kills in (DURING_A_SAVE, ANYWHERE))
    assert len(during) == len(anywhere) == 15
    assert all(one.in_a_save for one in during)
    assert len({one.kept for one in during}) > 2
    assert len({one.kept for one in anywhere}) > 2
    assert any(one.last_said != "waiting" for one in anywhere)  # hit at work, not where it waits before its end
    print(
        f"{len(found)} kills, {sum(one.in_a_save for one in found.values())} of them during a save: every checkpoint "
        f"was whole and resumed to the same bits; {sum(one.lost for one in found.values())} trained epochs were not "
        f"kept, at most {max(one.lost for one in found.values())} a kill; "
        f"{sum(one.left for one in found.values())} files were left, and gone after the next save"
    )


@pytest.mark.parametrize("part", range(10))
def test_forged_files_are_refused_with_one_line_or_in_order(part, tmp_path):
    happened = Counter()
    for seed in range(1000 + 400 * part, 1400 + 400 * part):
        try:
            happened.update(forged.check_forgery(seed, tmp_path / "c"))
        except BaseException as error:
            error.add_note(f"forgery {seed}")
            raise
    print(f"400 forged files: {dict(happened)}")


if __name__ == "__main__":
    be_killed(Path(sys.argv[1]), int(sys.argv[2]), None if sys.argv[3] == "none" else int(sys.argv[3]))
