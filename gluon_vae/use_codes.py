"""The commands that are about codes: ``generate``, ``encode``, ``interpolate``."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import array_files, checks, figures
from .arrays import dtype_of
from .interpolation import interpolate
from .latent import encode, generate, posterior, prior_draws
from .semi_supervised import label_probabilities
from .subject import Result, Subject, places

MOST_DRAWN = 400  # images of a sheet
MOST_NAMED = 30  # columns that have room for a name


def generated(subject: Subject, args: argparse.Namespace) -> Result:
    """Decode draws from the prior, or codes of a file."""
    net, n_classes = subject.net, subject.net.n_classes
    label: int | None = None
    if args.label is not None:
        if n_classes is None:
            raise ValueError(f"--label is for models that take labels, and {type(net).__name__} takes none")
        label = subject.class_of("--label", args.label)
    every = n_classes is not None and label is None
    z = _codes(subject, args, 10 if every else 100)
    n_columns = math.ceil(math.sqrt(min(len(z), MOST_DRAWN)))
    names: Sequence[str] | None = None
    labels: np.ndarray | None = None
    title = "Prior samples" if args.z is None else "Decoded codes"
    if every:
        n_columns, labels = n_classes, np.tile(np.arange(n_classes), len(z))
        z = np.repeat(z, n_classes, axis=0)
        names = subject.names if n_classes <= MOST_NAMED else None
        title += ", one to a row"
    elif label is not None:
        labels = np.full(len(z), label)
        title += f" of {subject.names[label]}"
    images = generate(net, z, labels, pixels=args.pixels, seed=args.seed)
    shown = images[: max(1, MOST_DRAWN // n_columns) * n_columns]
    if len(shown) < len(images):
        title += f": the first {len(shown)} of {len(images)}"
    size, draw = subject.sheet(shown, n_columns, title, column_labels=names)
    arrays = {"images": images, "z": z, "labels": labels, "image_shape": subject.shape}
    return Result(arrays, f"{len(images)} images", size, [draw])


def _codes(subject: Subject, args: argparse.Namespace, n: int) -> np.ndarray:
    net, temperature = subject.net, checks.positive_number("--temperature", args.temperature)
    if args.z is not None:
        if args.n is not None or temperature != 1:
            raise ValueError("--n and --temperature are of draws, and --z gives the codes")
        return checks.codes("--z", array_files.read(args.z), net.n_latent, np.float32)
    if not hasattr(net, "nll_given"):
        raise ValueError(f"--z must be given: {type(net).__name__} has no prior to draw codes from")
    n = checks.positive_int("--n", n if args.n is None else args.n)
    return temperature * prior_draws(n, net.n_latent, args.seed)


def encoded(subject: Subject, args: argparse.Namespace) -> Result:
    """Encode all images."""
    net, data = subject.net, subject.images
    is_vae = hasattr(net, "nll_given")
    arrays: dict[str, Any] = {}
    for part, x, y in (("train", data.x_train, data.y_train), ("test", data.x_test, data.y_test)):
        if is_vae:
            mu, log_var = posterior(net, x, subject.labels(y))
            arrays[f"mu_{part}"], arrays[f"log_var_{part}"] = (a.astype(dtype_of(net)) for a in (mu, log_var))
        else:
            arrays[f"mu_{part}"] = encode(net, x, subject.labels(y))
        if hasattr(net, "classifier"):
            arrays[f"label_probabilities_{part}"] = label_probabilities(net, x)
        arrays[f"y_{part}"] = y
    arrays["class_names"] = data.class_names
    said = f"{len(data.x_train)} training and {len(data.x_test)} test codes"
    if net.n_latent != 2:
        return Result(arrays, said)
    return Result(arrays, said, *figures.latent_planes(net, arrays["mu_test"], data))


def interpolated(subject: Subject, args: argparse.Namespace) -> Result:
    """Walk from one test image to another, or from the mean code of one class to that of another."""
    net, data = subject.net, subject.images
    if checks.positive_int("--steps", args.steps) == 1:
        raise ValueError("--steps must be at least 2, the ends, got 1")
    labels = subject.labels(data.y_test)
    if args.classes is not None:
        what, names = "mean codes of classes", subject.names
        ends, codes = _means(subject, args)
        of_ends = ends
    else:
        what, names = "test images", tuple(map(str, range(len(data.x_test))))
        ends = _pairs(args, len(data.x_test))
        given = None if labels is None else labels[ends.ravel()]
        of_ends = ends if given is None else given.reshape(ends.shape)
        codes = encode(net, data.x_test[ends.ravel()], given).reshape(*ends.shape, -1)
    z = interpolate(codes[:, 0], codes[:, 1], args.steps, arc=args.arc)
    told = None
    if labels is not None:
        is_later = (args.labels == "change") & (np.arange(args.steps) >= args.steps / 2)
        told = np.where(is_later, of_ends[:, 1:], of_ends[:, :1])
    images = generate(net, z.reshape(-1, net.n_latent), None if told is None else told.ravel())
    images = images.reshape(*z.shape[:2], -1)
    sheet = images
    gaps: list[int] = []
    if args.classes is None:  # the images themselves are to the left and to the right
        pictures = data.x_test[ends]
        sheet = np.concatenate([pictures[:, :1], images, pictures[:, 1:]], axis=1)
        gaps = [1, args.steps + 1]
    title = f"{'Arcs' if args.arc else 'Lines'} between {what}"
    rows = [f"{names[first]} to {names[second]}" for first, second in ends]
    flat = sheet.reshape(-1, net.n_output)
    size, draw = subject.sheet(flat, sheet.shape[1], title, row_labels=rows, column_gaps=gaps)
    arrays = {"images": images, "z": z, "ends": ends, "labels": told, "image_shape": subject.shape}
    return Result(arrays, f"{len(images)} ways of {args.steps} steps", size, [draw])


def _pairs(args: argparse.Namespace, n_images: int) -> np.ndarray:
    """Return places in the test part, (n, 2): those that are asked for, or some at random, none of them twice."""
    if args.pairs is not None:
        return places("--pairs", args.pairs, n_images)
    n = min(checks.positive_int("--n", args.n), n_images // 2)
    if n == 0:
        raise ValueError("--data must have two test images, got 1")
    return np.random.default_rng(args.seed).permutation(n_images)[: 2 * n].reshape(n, 2)


def _means(subject: Subject, args: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Return classes, (n, 2), and the mean codes of their test images, (n, 2, n_latent)."""
    data = subject.images
    if data.y_test is None:
        raise ValueError("--classes is for images with labels, and --data has none")
    ends = np.array([[subject.class_of("--classes", name) for name in pair] for pair in args.classes])
    means = {}
    for c in np.unique(ends):
        of_class = data.y_test == c
        if not of_class.any():
            raise ValueError(f"--classes must have test images, and there are none of {subject.names[c]}")
        y = subject.labels(data.y_test)
        means[c] = encode(subject.net, data.x_test[of_class], None if y is None else y[of_class]).mean(axis=0)
    return ends, np.stack([[means[c] for c in pair] for pair in ends])
