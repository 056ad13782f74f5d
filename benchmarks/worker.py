"""The child's side of the protocol, and what every contestant reads.

A contestant is a program that lives for a whole benchmark. It is started with one argument, its
options as JSON; it then reads one command per line from standard input, does what it says, and
answers with one line of JSON on standard output. It ends when standard input does. Nothing runs
between an answer and the next command, so any number of contestants can wait while one works, and
the parent can time all of them with the same clock.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

N_HIDDEN, N_LATENT, N_OUTPUT = 400, 2, 784  # the flagship: 784-400-400-2 and back
WIDTHS = ((N_OUTPUT, N_HIDDEN, N_HIDDEN, 2 * N_LATENT), (N_LATENT, N_HIDDEN, N_HIDDEN, N_OUTPUT))
CHANNELS, CONV_LATENT = (16, 32, 64), 100
PICTURES = {"conv": (1, 28, 28), "colour": (3, 32, 32)}  # of the convolutional models: channels, height and width
CONV_SIDE = 4  # 28 pixels or 32, halved three times, rounded up


class Channel:
    """Commands in, answers out."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = json.loads(sys.argv[1])

    def wait(self) -> str:
        """Return the next command; leave the program when there is none."""
        line = sys.stdin.readline()
        if not line:
            raise SystemExit
        return line.strip()

    def answer(self, **values: Any) -> None:
        """Answer the last command; the process's peak memory and processor seconds so far are always added."""
        print(json.dumps(values | {"peak_mb": _peak_mb(), "processor": time.process_time()}), flush=True)

    def serve(self, **commands: Callable[[], dict[str, Any] | None]) -> NoReturn:
        """Say that all is ready, then answer commands with what the functions of their names return."""
        self.answer()
        while True:
            self.answer(**(commands[self.wait()]() or {}))


def _peak_mb() -> float | None:
    """Peak resident set of this process in MB (10^6 bytes), where the system tells (Linux)."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))


def load_images(options: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return the training and test images: as the parent wrote them, the ``first`` of them, or from ``source``."""
    if options.get("source"):
        import gluon_vae  # only where memory is measured: loading is a part of it

        data = gluon_vae.load_mnist(options["source"])
        return data.x_train, data.x_test
    folder, kind = Path(options["folder"]), "-colour" if options["model"] == "colour" else ""
    return np.load(folder / f"x_train{kind}.npy")[: options.get("first")], np.load(folder / f"x_test{kind}.npy")


def start_parameters(options: dict[str, Any]) -> list[np.ndarray]:
    """Return the parameters that every contestant starts from: weight (out, in) and bias of each layer in turn."""
    with np.load(Path(options["folder"]) / f"start-{options['model']}.npz") as file:
        return [file[f"{i:02d}"] for i in range(len(file.files))]


def check_batch(options: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return the images and the noise on which the contestants' losses and gradients are compared."""
    with np.load(Path(options["folder"]) / f"check-{options['model']}.npz") as file:
        return file["x"], file["eps"]


def shuffled(options: dict[str, Any], n: int, epoch: int) -> np.ndarray:
    """Return the order of the images in an epoch, (steps, batch); images beyond the last full batch are left out."""
    batch_size = options["batch_size"]
    n_steps = n // batch_size
    order = np.random.default_rng([options["seed"], epoch]).permutation(n)
    return order[: n_steps * batch_size].reshape(n_steps, batch_size)
