"""Measure this package beside other systems and write the results to results/*.json and README.md.

Run by ``make bench``, or in the environment that ``make run`` creates:

    python benchmarks/run.py                 everything
    python benchmarks/run.py speed memory    some parts
    python benchmarks/run.py --quick         fewer and shorter rounds, for a first look
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import report
from environments import HERE, confine, machine
from parts import PARTS, Setup
from sklearn.datasets import load_sample_images
from worker import CHANNELS, CONV_LATENT, CONV_SIDE, N_LATENT, N_OUTPUT, PICTURES, WIDTHS

import gluon_vae
from gluon_vae.storage import write_json

N_IMAGES, N_TEST = 60000, 10000
N_PATCHES, N_TEST_PATCHES = 6000, 1000


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    option("--data", default="mnist", help="mnist, a folder with its four files, or sample (default: mnist)")
    option("--quick", action="store_true", help="fewer rounds, on a fifth of the images")
    option("--threads", type=int, default=2, metavar="N", help="and as many physical cores (default: 2)")
    option("--images", type=int, metavar="N", help="images in an epoch (default: 60000; --quick: 12000)")
    option("--patience", type=float, default=6, metavar="X", help="let the slower run of 'quality' take X times ours")
    option("--torch", metavar="PYTHON", help="an interpreter that has PyTorch and NumPy")
    option("--jax", metavar="PYTHON", help="an interpreter that has JAX, optax and NumPy")
    option("--out", type=Path, default=HERE / "results", metavar="FOLDER", help="for the JSON files")
    return parser


def load(source: str) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return training and test images, and whether they are full MNIST: if it is not to be had, the sample."""
    try:
        data = gluon_vae.load_mnist(source)
    except ConnectionError as error:
        print(f"{error}\nGoing on with the bundled sample, repeated.", file=sys.stderr)
        data = gluon_vae.load_mnist()
    full = len(data.x_train) == N_IMAGES
    return _repeated(data.x_train, N_IMAGES), _repeated(data.x_test, N_TEST), full


def _repeated(x: np.ndarray, n: int) -> np.ndarray:
    return x if len(x) == n else np.resize(x, (n, x.shape[1]))


def patches(n: int, seed: int) -> np.ndarray:
    """Return colour patches, (n, 3 * height * width), from random places of scikit-learn's two photographs."""
    _, height, width = PICTURES["colour"]
    rng, some = np.random.default_rng(seed), []
    photographs = [image.transpose(2, 0, 1) for image in load_sample_images().images]
    for i in range(n):
        image = photographs[i % len(photographs)]
        top, left = rng.integers(image.shape[1] - height + 1), rng.integers(image.shape[2] - width + 1)
        some.append(image[:, top : top + height, left : left + width].ravel())
    return rng.permutation(some).astype(np.float32) / np.float32(255)


def write_inputs(folder: Path, x_train: np.ndarray, x_test: np.ndarray, seed: int, *, colour: bool = True) -> None:
    """Write what every contestant reads: images, the parameters to start from, and a batch to compare losses on."""
    assert x_train.shape[1] == N_OUTPUT
    rng = np.random.default_rng(seed)
    images = {"mlp": (x_train, x_test), "conv": (x_train, x_test)}
    if colour:
        images["colour"] = patches(N_PATCHES, seed), patches(N_TEST_PATCHES, seed + 1)
    for kind, model in (("", "mlp"), ("-colour", "colour")):
        for part, x in zip(("train", "test"), images.get(model, ())):
            np.save(folder / f"x_{part}{kind}.npy", x)
    for model, (x, _) in images.items():
        parameters = []
        for shape, n_units in parameter_shapes(model):
            field = np.prod(shape[2:], dtype=int)
            bound = np.sqrt(12 / (field * (shape[0] + shape[1])))  # the package's INITIALIZER
            parameters += [rng.uniform(-bound, bound, shape), np.zeros(n_units)]
        named = {f"{i:02d}": array.astype(np.float32) for i, array in enumerate(parameters)}
        np.savez(folder / f"start-{model}.npz", **named)
        eps = rng.standard_normal((100, CONV_LATENT if model in PICTURES else N_LATENT), dtype=np.float32)
        np.savez(folder / f"check-{model}.npz", x=x[:100], eps=eps)


def parameter_shapes(model: str) -> list[tuple[tuple[int, ...], int]]:
    """Return the shape of the weight and the size of the bias of every layer, the encoder's first."""
    if model == "mlp":
        return [((n_units, n_input), n_units) for widths in WIDTHS for n_input, n_units in pairwise(widths)]
    flat, n_maps = CHANNELS[-1] * CONV_SIDE**2, PICTURES[model][0]
    down = [((n_units, n_input, 4, 4), n_units) for n_input, n_units in pairwise((n_maps, *CHANNELS))]
    up = [((n_input, n_units, 4, 4), n_units) for n_input, n_units in pairwise((*reversed(CHANNELS), n_maps))]
    return [*down, ((2 * CONV_LATENT, flat), 2 * CONV_LATENT), ((flat, CONV_LATENT), flat), *up]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the parts that are asked for; return 1 if losses that must agree do not."""
    parser = build_parser()
    args = parser.parse_args(arguments)
    names = args.parts or list(PARTS)
    if unknown := set(names) - set(PARTS):
        parser.error(f"no part is called {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    cores = confine(args.threads)
    x_train, x_test, full = load(args.data)
    n_images = args.images or (N_IMAGES // 5 if args.quick else N_IMAGES)
    what = "full MNIST" if full else "the bundled sample, repeated"
    args.out.mkdir(parents=True, exist_ok=True)
    status = 0
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(Path(folder), x_train[:n_images], x_test, seed=0, colour="conv" in names)
        options = {"folder": folder, "seed": 0, "threads": args.threads, "batch_size": 100, "n_images": n_images}
        options |= {"model": "mlp", "learning_rate": 1e-3, "schedule": "constant"}
        pythons = {"torch": args.torch, "jax": args.jax}
        setup = Setup(options, args.data, full, args.quick, args.patience, pythons)
        for name in names:
            print(f"{name}: {PARTS[name].__doc__}", file=sys.stderr)
            load_before, started = os.getloadavg()[0], time.perf_counter()
            result = {
                "part": name,
                "date": datetime.now().strftime("%Y-%m-%d %H:%M"),
                "images": f"{n_images:,} images of {what}, grey",
                "threads": args.threads,
                "quick": args.quick,
                "machine": machine(cores),
            }
            result |= PARTS[name](setup)
            result |= {"load": [load_before, os.getloadavg()[0]], "took": time.perf_counter() - started}
            write_json(args.out / f"{name}.json", result)
            for failure in report.failures(result):
                print(f"DIFFERS: {failure}", file=sys.stderr)
                status = 1
    if args.out == HERE / "results":
        report.write(HERE / "README.md", args.out)
    print(report.tables(args.out))
    return status


if __name__ == "__main__":
    sys.exit(main())
