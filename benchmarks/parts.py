"""What is measured: one function per part, each returning what goes into its JSON file.

Ratios are medians over rounds: in a round every contestant does the same once, one after the other, so a
machine that slows down slows all of them.
"""

from __future__ import annotations

import sys
from functools import partial
from statistics import median, quantiles
from typing import Any, NamedTuple

from contestants import Field
from environments import python_of

# The first has as many threads as the others and is the base of the ratios; one is the command line's own choice.
OURS, OURS_ONE, PUBLISHED = "gluon-vae", "gluon-vae, OMP_NUM_THREADS=1", "published tutorial"
TORCH, TORCH_FUSED, COMPILED = "PyTorch eager", "PyTorch eager, fused Adam", "torch.compile, fused Adam"
JAX_STEP, JAX_SCAN = "JAX, a call per step", "JAX, a call per epoch (scan)"
LIMIT_TORCH, LIMIT_MXNET = "matrix products alone (MKL)", "matrix products alone (oneDNN)"
SPEED_TARGETS = {PUBLISHED: 0.55, TORCH: 0.7, COMPILED: 1.05, TORCH_FUSED: 1.0, JAX_STEP: 1.35, JAX_SCAN: 1.35}
LIMIT_TARGET, CONV_TARGET = 1.6, 0.9
# The first loss and gradient, on equal parameters, images and noise, and training losses after equal epochs,
# which differ by the noise: among seeds of one system by 2 % after a few hundred steps, later by less.
CHECK_TOLERANCE, LOSS_TOLERANCE, EARLY_TOLERANCE = 1e-4, 0.01, 0.04
QUALITY = 141.5  # nats: what the published code reaches at epoch 45 of 50


class Setup(NamedTuple):
    """What all parts are given."""

    options: dict[str, Any]  # for every contestant
    data: str  # the source of the images, for those who load it themselves
    full: bool  # whether it is full MNIST
    quick: bool
    patience: float
    pythons: dict[str, str | None]

    def field(self, *names: str, **options: Any) -> Field:
        """Start the contestants of these names with the common options and more."""
        torch, jax = (partial(python_of, peer, self.pythons[peer]) for peer in ("torch", "jax"))
        known = {
            OURS: (lambda: sys.executable, "ours.py", {}),
            OURS_ONE: (lambda: sys.executable, "ours.py", {"threads": 1}),
            PUBLISHED: (lambda: sys.executable, "published.py", {}),
            TORCH: (torch, "torch_vae.py", {"form": "default"}),
            TORCH_FUSED: (torch, "torch_vae.py", {"form": "fused"}),
            COMPILED: (torch, "torch_vae.py", {"form": "compiled"}),
            JAX_STEP: (jax, "jax_vae.py", {"form": "step"}),
            JAX_SCAN: (jax, "jax_vae.py", {"form": "scan"}),
            LIMIT_TORCH: (torch, "matmul.py", {"library": "torch"}),
            LIMIT_MXNET: (lambda: sys.executable, "matmul.py", {"library": "mxnet"}),
        }
        field = Field()
        for name in names:
            python, script, own = known[name]
            field.enter(name, python, script, **self.options | own | options)
        return field


def rounds(field: Field, command: str, n_warm: int, n: int) -> dict[str, list[dict[str, Any]]]:
    """Ask everyone ``n_warm + n`` times in turn; return the answers of those who gave all of them."""
    answers: dict[str, list[dict[str, Any]]] = {}
    for i in range(n_warm + n):
        for name, answer in field.ask(command).items():
            answers.setdefault(name, []).append(answer)
        print(f"  round {i + 1} of {n_warm + n}: {_seconds(answers)}", file=sys.stderr)
    return {name: some for name, some in answers.items() if len(some) == n_warm + n}


def _seconds(answers: dict[str, list[dict[str, Any]]]) -> str:
    return ", ".join(f"{name} {some[-1]['seconds']:.3g} s" for name, some in answers.items())


def compare(answers: dict[str, list[dict[str, Any]]], n_warm: int) -> dict[str, dict[str, float]]:
    """Summarise the rounds after the warm-up: seconds, and the ratio of our seconds to each contestant's."""
    times = {name: [answer["seconds"] for answer in some[n_warm:]] for name, some in answers.items()}
    return {
        name: {
            "seconds": median(values),
            "fastest": min(values),
            "slowest": max(values),
            "processor_seconds": median(answer["processor_seconds"] for answer in answers[name][n_warm:]),
            "ratio": median(own / other for own, other in zip(times[OURS], values)),
        }
        for name, values in times.items()
    }


def figure(what: str, value: float | None, target: float | None = None, unit: str = "", note: str = "") -> dict:
    """Return a number that is not a contestant's time, with the most it should be."""
    met = None if value is None or target is None else value <= target
    return {"what": what, "value": value, "unit": unit, "target": target, "met": met, "note": note}


def speed(setup: Setup) -> dict[str, Any]:
    """Training of the flagship, an epoch of each in turn."""
    n_warm, n = (1, 3) if setup.quick else (2, 5)
    names = [OURS, OURS_ONE, *SPEED_TARGETS, LIMIT_TORCH, LIMIT_MXNET]
    with setup.field(*names, n_epochs=n_warm + n, evaluate=False) as field:
        same = [OURS, OURS_ONE, TORCH, TORCH_FUSED, COMPILED, JAX_STEP, JAX_SCAN]
        checks = field.ask("check", same)
        answers = rounds(field, "epoch", n_warm, n)
        absent = field.absent
    table = compare(answers, n_warm)
    for name, row in table.items():
        row["target"] = SPEED_TARGETS.get(name)
        row["train_loss"] = answers[name][-1].get("train_loss")
    limits = [name for name in (LIMIT_TORCH, LIMIT_MXNET) if name in table]
    if limits:  # the faster library is the limit
        table[min(limits, key=lambda name: table[name]["seconds"])]["target"] = LIMIT_TARGET
    result = {"contestants": table, "absent": absent, "checks": checks, "figures": []}
    for name in limits:
        flops = answers[name][-1]["flops"] / table[name]["seconds"] / 1e9
        result["figures"].append(figure(f"{name}: rate", flops, unit="GFLOP/s"))
    losses = [table[name]["train_loss"] for name in same if name in table]
    result["figures"] += agreement(checks, losses, EARLY_TOLERANCE if setup.quick else LOSS_TOLERANCE)
    return result


def agreement(checks: dict[str, dict[str, float]], losses: list[float], tolerance: float) -> list[dict]:
    """Return how far the contestants' losses and gradients are apart that should be the same."""
    figures = []
    for key, what in (("loss", "loss"), ("gradient", "norm of the gradient")):
        what = f"first {what}, equal parameters, images and noise: largest relative difference"
        figures.append(figure(what, _spread([check[key] for check in checks.values()]), CHECK_TOLERANCE))
    what = "training loss in the last epoch: largest relative difference"
    return [*figures, figure(what, _spread(losses), tolerance)]


def _spread(values: list[float]) -> float:
    return (max(values) - min(values)) / min(values)


def quality(setup: Setup) -> dict[str, Any]:
    """Seconds of training, tests after each epoch included, until the test loss is 141.5 nats."""
    if not setup.full:
        return {"figures": [], "note": f"needs full MNIST: on the sample no run reaches {QUALITY} nats"}
    n_epochs = 14
    own = {"learning_rate": 3e-3, "schedule": "cosine", "n_epochs": n_epochs, "evaluate": True}
    with setup.field(OURS_ONE, **own) as field:
        ours = _until(field, OURS_ONE, limit=float("inf"), n_epochs=n_epochs)
    patience = setup.patience * ours["seconds"]
    with setup.field(PUBLISHED, evaluate=True) as field:
        theirs = _until(field, PUBLISHED, limit=patience, n_epochs=100)
    note = "" if theirs["reached"] else f"stopped before the target: {theirs['test_loss']:.1f} nats"
    result = {"runs": {OURS_ONE: ours, PUBLISHED: theirs}, "figures": []}
    for name, run in result["runs"].items():
        done = f"{run['epochs']} epochs, {run['test_loss']:.1f} nats"
        planned = f" of {n_epochs} planned, cosine from 3e-3" if name == OURS_ONE else ", constant 1e-3"
        what = f"{name}: seconds to a test loss of {QUALITY} nats"
        result["figures"].append(figure(what, run["seconds"], unit="s", note=done + planned))
    ratio = ours["seconds"] / theirs["seconds"] if ours["reached"] else None
    result["figures"].append(figure("ratio" if theirs["reached"] else "ratio, at most", ratio, 0.2, note=note))
    return result


def _until(field: Field, name: str, limit: float, n_epochs: int) -> dict[str, Any]:
    """Train until the quality is reached, the time is over or the epochs are."""
    seconds, losses = 0.0, []
    for _ in range(n_epochs):
        answer = field.ask("epoch")[name]
        seconds += answer["seconds"]
        losses.append(answer["test_loss"])
        print(f"  {name}: {seconds:.0f} s, test loss {losses[-1]:.1f}", file=sys.stderr)
        if losses[-1] <= QUALITY or seconds > limit:
            break
    return {
        "seconds": seconds,
        "epochs": len(losses),
        "test_loss": losses[-1],
        "reached": losses[-1] <= QUALITY,
        "losses": losses,
    }


def growth(setup: Setup) -> dict[str, Any]:
    """Seconds per epoch late in training against early, and of many images against few."""
    n_epochs, n_all = (20 if setup.quick else 50), setup.options["n_images"]
    n_images = n_all // 5 if setup.quick else n_all
    with setup.field(OURS_ONE, n_epochs=n_epochs, evaluate=False, first=n_images) as field:
        times = [answer["seconds"] for answer in rounds(field, "epoch", 0, n_epochs)[OURS_ONE]]
    early, late = median(times[1:4]), median(times[-3:])
    what = f"seconds of epoch {n_epochs} over epoch 3, {n_images:,} images"
    grown = figure(what, late / early, 1.1, note="medians of three epochs")
    n_warm, n = (1, 2) if setup.quick else (1, 4)
    n_few = n_all // 10
    with (
        setup.field(OURS_ONE, n_epochs=n_warm + n, evaluate=False) as many,
        setup.field(OURS_ONE, n_epochs=10 * (n_warm + n), evaluate=False, first=n_few) as few,
    ):
        ratios = []
        for _ in range(n_warm + n):
            seconds = many.ask("epoch")[OURS_ONE]["seconds"]
            ratios.append(seconds / median(few.ask("epoch")[OURS_ONE]["seconds"] for _ in range(10)))
    what = f"seconds of {n_all:,} images over {n_few:,}"
    scale = figure(what, median(ratios[n_warm:]), 11, note="not below 9 either")
    return {"seconds": times, "figures": [grown, scale]}


def memory(setup: Setup) -> dict[str, Any]:
    """Peak resident set of a process that loads full MNIST and trains on it."""
    own = {"n_epochs": 2, "evaluate": True, "source": setup.data if setup.full else None}
    result: dict[str, Any] = {"figures": []}
    with setup.field(OURS, PUBLISHED, **own) as field:
        answers = rounds(field, "epoch", 0, 2)
        result["absent"] = field.absent
    for name, target in ((OURS, 700), (PUBLISHED, None)):
        if name in answers:
            peak = answers[name][-1]["peak_mb"]
            result["figures"].append(figure(f"{name}: peak resident set", peak, target, "MB"))
    return result


def evaluation(setup: Setup) -> dict[str, Any]:
    """Encoding of 10,000 images and decoding of 10,000 codes, arrays in and arrays out."""
    n_warm, n = (2, 7) if setup.quick else (3, 15)
    result: dict[str, Any] = {"figures": []}
    with setup.field(OURS, evaluate=False, n_epochs=1) as field:
        for rows in (1000, 10000):  # in batches like ours, or at once: the faster counts
            one = setup.field(TORCH, rows=rows)
            for contestant in one.present:
                contestant.name = f"{TORCH}, {rows} at a time"
            field.present += one.present
            field.absent |= one.absent
        for command in ("encode", "decode"):
            table = compare(rounds(field, command, n_warm, n), n_warm)
            result[command] = table
            result["figures"].append(figure(f"{OURS}: {command} 10,000", 1000 * table[OURS]["seconds"], unit="ms"))
            peers = [row["ratio"] for name, row in table.items() if name != OURS]
            if peers:
                result["figures"].append(figure(f"{command}: ours over {TORCH}", max(peers), 1.0))
        result["absent"] = field.absent
    return result


def conv(setup: Setup) -> dict[str, Any]:
    """Training of the convolutional model, 6000 images an epoch, against the same in PyTorch: digits, then colour."""
    n_warm, n = (1, 3) if setup.quick else (2, 5)
    result: dict[str, Any] = {"contestants": {}, "absent": {}, "checks": {}, "figures": []}
    for model, what in (("conv", ""), ("colour", ", 32 x 32 x 3")):
        own = {"n_epochs": n_warm + n, "evaluate": False, "model": model, "first": 6000}
        with setup.field(OURS, TORCH, TORCH_FUSED, **own) as field:
            checks = field.ask("check")
            answers = rounds(field, "epoch", n_warm, n)
            table = compare(answers, n_warm)
            result["absent"] |= {name + what: reason for name, reason in field.absent.items()}
        for name, row in table.items():
            row["target"] = None if name == OURS else CONV_TARGET
            row["train_loss"] = answers[name][-1]["train_loss"]
            result["contestants"][name + what] = row
        result["checks"] |= {name + what: check for name, check in checks.items()}
        for row in agreement(checks, [row["train_loss"] for row in table.values()], EARLY_TOLERANCE):
            result["figures"].append(row | {"what": row["what"] + what})
    return result


def threads(setup: Setup) -> dict[str, Any]:
    """Every model and what is done with it, with one thread and with all."""
    n_warm, n = (1, 3) if setup.quick else (2, 9)
    one, all_ = "one thread", "all threads"
    field = Field()
    for name, own in ((one, {"threads": 1}), (all_, {})):
        field.enter(name, lambda: sys.executable, "threads.py", **setup.options | own)
    tasks: dict[str, dict[str, float]] = {}
    with field:
        for task in field.ask("tasks")[one]["tasks"]:
            answers = rounds(field, task, n_warm, n)
            seconds = [[answer["seconds"] for answer in answers[name][n_warm:]] for name in (one, all_)]
            ratios = [many / alone for alone, many in zip(*seconds)]
            low, middle, high = quantiles(ratios, n=4)
            tasks[task] = {"one": median(seconds[0]), "all": median(seconds[1]), "ratio": middle}
            tasks[task] |= {"low": low, "high": high}
    return {"tasks": tasks, "figures": []}


PARTS = {part.__name__: part for part in (speed, quality, growth, memory, evaluation, conv, threads)}
