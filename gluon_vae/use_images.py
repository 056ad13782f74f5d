"""The commands that are about images: ``reconstruct``, ``score``."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from . import checks, plotting
from .evaluation import Estimate, reconstruction_nll
from .latent import reconstruct
from .scoring import Threshold, anomaly_threshold, score
from .subject import Result, Subject, asked_shape, check_shape, places
from .unsplit import load_unsplit

MOST_DRAWN = 100  # images, each above its reconstruction
LISTED = 10  # of the highest scores, on the terminal
HIGHEST = 25  # of them, in the picture
MEASURES = {"neg_log_p": "-log p(x)", "neg_elbo": "-ELBO", "nll": "-log p(x|code)"}


def reconstructed(subject: Subject, args: argparse.Namespace) -> Result:
    """Encode test images and decode the means of their posteriors."""
    net, data = subject.net, subject.images
    if args.index is None:
        n = min(checks.positive_int("--n", args.n), len(data.x_test))
        index = np.sort(np.random.default_rng(args.seed).permutation(len(data.x_test))[:n])
    else:
        index = places("--index", args.index, len(data.x_test))
    x, y = data.x_test[index], None if data.y_test is None else data.y_test[index]
    output, nll = reconstruct(net, x, subject.labels(y)), reconstruction_nll(net, x, subject.labels(y))
    n_columns, n_shown = min(10, len(x)), min(MOST_DRAWN, len(x))
    rows = []
    for start in range(0, n_shown, n_columns):
        for part in (x, output):
            row = part[start : min(start + n_columns, n_shown)]
            left = np.full((n_columns - len(row), net.n_output), subject.white, x.dtype)  # white, as the paper is
            rows.append(np.concatenate([row, left]))
    title = "Test images, each above its reconstruction"
    size, draw = subject.sheet(np.concatenate(rows), n_columns, title, row_gaps=range(2, len(rows), 2))
    arrays = {"x": x, "output": output, "nll": nll, "index": index, "labels": y, "image_shape": subject.shape}
    said = f"NLL given the mean code: {Estimate.of(nll)} nats per image, of {len(x)} test images"
    return Result(arrays, said, size, [draw])


def scored(subject: Subject, args: argparse.Namespace) -> Result:
    """Tell how strange images are, and choose the threshold from which on they are anomalies."""
    net, data = subject.net, subject.images
    n_samples = checks.positive_int("--n-samples", args.n_samples)
    share = checks.fraction("--share", args.share)
    anomaly_threshold(np.arange(len(data.x_test)), share)  # too few images for it are found before they are scored
    judged = None
    if args.scored is not None:
        judged = load_unsplit(
            args.scored, image_shape=asked_shape(net, args.scored, args), background=args.background
        )
        check_shape(net, "--scored", judged.image_shape)
        if judged.ink != data.ink and not args.invert:
            ink, light = ("--data", "--scored") if data.ink else ("--scored", "--data")
            print(f"1 is ink in {ink} and light in {light}: --invert, if dark strokes are to be light ones")
        if args.invert:
            judged = judged._replace(x=1 - judged.x)
    elif args.invert:
        raise ValueError("--invert is of --scored, which is not given")
    held_out = score(net, data.x_test, n_samples=n_samples, seed=args.seed)
    main = next(iter(held_out))
    threshold = anomaly_threshold(held_out[main], share, seed=args.seed)
    arrays: dict[str, Any] = held_out | {
        "threshold": threshold.value,
        "share": share,
        "false_alarms": threshold.false_alarms.mean,
        "standard_error": threshold.false_alarms.standard_error,
        "chosen_on": threshold.chosen_on,
        "checked_on": threshold.checked_on,
        "labels": data.y_test,
    }
    said = _summary(held_out, main, threshold, net.n_classes)
    groups = {"held out": held_out[main][threshold.checked_on]}
    if judged is None:
        x, values, names, what = data.x_test, held_out[main], np.arange(len(data.x_test)).astype(str), "test images"
    else:
        scores = score(net, judged.x, n_samples=n_samples, seed=args.seed)
        x, values, names, what = judged.x, scores[main], np.array(judged.names), "scored images"
        groups["scored"] = values
        flagged = values > threshold.value
        said.append(f"{flagged.sum()} of the {len(x)} scored images are above the threshold")
        arrays |= {f"scored_{name}": value for name, value in scores.items()}
        arrays |= {"scored_flagged": flagged, "scored_names": names}
    order = np.argsort(-values, kind="stable")
    said.append(f"The highest of the {what}, in nats:")
    for i in order[:LISTED]:
        said.append(f"{values[i]:12.1f}  {names[i]}{', above the threshold' if values[i] > threshold.value else ''}")
    highest = order[:HIGHEST]
    framed = np.flatnonzero(values[highest] > threshold.value)
    title = f"The highest of the {what}{', framed above the threshold' if len(framed) else ''}"
    label = f"{MEASURES[main]} (nats per image)"
    draws = [
        lambda ax: plotting.plot_scores(groups, ax, threshold=threshold.value, label=label),
        subject.sheet(x[highest], 5, title, framed=framed)[1],
    ]
    return Result(arrays, "\n".join(said), (12.5, 5.6), draws)


def _summary(scores: dict[str, np.ndarray], main: str, threshold: Threshold, n_classes: int | None) -> list[str]:
    each = [f"{MEASURES[name]} {Estimate.of(values)}" for name, values in scores.items()]
    note = "; a reconstruction's loss, and no likelihood of an image" if main == "nll" else ""
    note += "" if n_classes is None else f"; p(x) is the mean of p(x|y) over {n_classes} labels"
    alarms = threshold.false_alarms
    return [
        f"Test images, nats per image: {', '.join(each)}{note}",
        f"Threshold: {threshold.value:.1f} nats, chosen on {len(threshold.chosen_on)} of them for at most "
        f"{100 * threshold.share:g} % above it; of the other {len(threshold.checked_on)}, "
        f"{100 * alarms.mean:.1f} ± {100 * alarms.standard_error:.1f} % are",
    ]
