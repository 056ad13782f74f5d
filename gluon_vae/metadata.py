"""What a checkpoint says of itself in JSON: the model, its run, how far it came, and its history.

Whoever wrote a file may have written anything. What is returned here has the types, the bounds and the lengths that
training relies on; whether the arrays are those of the model is for ``reading`` to see.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from mxnet.gluon import HybridBlock

from .contract import TERMS
from .model import Setting
from .run import best_epochs

KEYS = {"model", "config", "run", "n_steps", "history"}
MAX_BYTES = 32 << 20  # of the JSON text, which parsed takes up to twenty times as much memory
BYTES_PER_EPOCH = 300  # more than an epoch's row of the history takes
MAX_CONTAINERS, MAX_DEPTH = 10_000, 50  # of lists and objects: a model and its history have about twenty, 4 deep
MAX_INTEGER = 2**53
MAX_SAMPLES = 10_000  # draws of z, by which a call multiplies its work: the one size that no parameter has
NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
COLUMN = re.compile(rf"epoch|best_epoch|learning_rate|seconds|(train|test)_({'|'.join(TERMS)})")
LIKELIHOOD = {"likelihood", "variance", "min_std"}


def encoded(meta: dict[str, Any]) -> bytes:
    """Return the JSON text of a description, once it is found to be readable.

    Raises
    ------
    ValueError
        If JSON cannot hold it, or ``decoded`` would refuse it.
    """
    try:
        text = json.dumps(meta, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"cannot hold the settings of the model or its run: {error}") from None
    decoded(text)
    return text


def decoded(text: bytes) -> dict[str, Any]:
    """Return the description that a text holds, checked; the history has the columns of ``fit`` and no others.

    Raises
    ------
    ValueError
        If it is not what training wrote; the message goes on after the file's name.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"is malformed: its JSON has more than {MAX_BYTES} bytes")
    brackets = text.translate(None, NO_BRACKETS)
    depths = accumulate(1 if bracket in b"[{" else -1 for bracket in brackets)
    if len(brackets) > 2 * MAX_CONTAINERS or max(depths, default=0) > MAX_DEPTH:
        raise ValueError(
            f"is malformed: its JSON has more than {MAX_CONTAINERS} lists and objects, or {MAX_DEPTH} deep"
        )
    try:
        meta = json.loads(text.decode("ascii"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is malformed: its JSON cannot be read ({shown(error)})") from None
    if not isinstance(meta, dict) or set(meta) != KEYS:
        raise ValueError(f"is malformed: its JSON is not an object with {', '.join(sorted(KEYS))}")
    model, config, run, n_steps, history = (meta[key] for key in ("model", "config", "run", "n_steps", "history"))
    if not isinstance(model, str) or not isinstance(config, dict | None) or not isinstance(run, dict):
        raise ValueError("is malformed: model, config and run are not a name, settings and settings")
    if repr((run.get("model", model), run.get("config", config))) != repr((model, config)):
        raise ValueError("is malformed: its run is of another model")
    n_epochs = _check_history(history)
    if type(n_steps) is not int or not n_epochs <= n_steps <= MAX_INTEGER:
        raise ValueError(f"is malformed: n_steps = {shown(n_steps)} after {n_epochs} epochs")
    best = history.get("best_epoch")
    if best is not None and repr(best) != repr(best_epochs(history.get("test_loss", ()))):
        raise ValueError("is malformed: the best_epoch of its history is not where test_loss was lowest")
    return meta | {"history": {name: column for name, column in history.items() if COLUMN.fullmatch(name)}}


def check_columns(
    history: dict[str, list[float]], terms: Sequence[str] | None, tested: bool, patient: bool = False
) -> None:
    """Raise a ``ValueError`` if a history does not have the columns that going on would add to.

    Parameters
    ----------
    history : dict
        Of a file.
    terms : sequence of str, optional
        The terms of the model's loss, where they are known before its first call.
    tested : bool
        Whether there are test images.
    patient : bool
        Whether the best epoch is kept.
    """
    has = {part: {name for name in TERMS if f"{part}_{name}" in history} for part in ("train", "test")}
    train = has["train"] if terms is None else {name for name in TERMS if name in terms}
    wanted = {"train": train | {"loss"}, "test": train | {"loss"} if tested else set()}
    others = {"learning_rate", "seconds"} | ({"best_epoch"} if patient else set())
    if has != wanted or not others <= set(history) or ("best_epoch" in history) > patient:
        raise ValueError(f"is malformed: its history has the columns {', '.join(history)}")


def check_config(model: type[HybridBlock], config: dict[str, Any], n_parameters: int) -> None:
    """Raise a ``ValueError`` unless making the model takes no more than reading a file with so many parameters.

    Making a model allocates no parameter, so that its other sizes may be compared afterwards, with the arrays'.
    """
    attributes = (attribute for cls in model.__mro__ for attribute in vars(cls).values())
    known = LIKELIHOOD | {setting.argument for setting in attributes if isinstance(setting, Setting)}
    n_layers = n_parameters // 4  # a weight and a bias on both sides
    for name, value in config.items():
        numbers = value if isinstance(value, list) else [value]
        most = {"n_layers": n_layers, "n_samples": MAX_SAMPLES}.get(name, MAX_INTEGER)
        if (
            name not in known
            or len(numbers) > max(3, n_layers)  # three are a picture's shape
            or not all(isinstance(n, str | int | float | None) for n in numbers)
            or any(isinstance(n, int) and abs(n) > most for n in numbers)
        ):
            raise ValueError(
                f"is malformed: {model.__name__} with {shown(name)} = {shown(value)} is no model of its size"
            )


def check_length(n_epochs: int, meta: dict[str, Any]) -> None:
    """Raise a ``ValueError`` if the history of so many epochs would make a description too long to be read."""
    most = (MAX_BYTES - len(json.dumps(meta))) // BYTES_PER_EPOCH
    if n_epochs > most:
        raise ValueError(f"holds a history of at most {most} epochs, not of n_epochs={n_epochs}")


def has_better(meta: dict[str, Any]) -> bool:
    """Tell whether an epoch before the last was the best of a run that keeps it."""
    best: list[int] | None = meta["history"].get("best_epoch")
    return best is not None and best[-1] < len(best)


def shown(value: Any) -> str:
    """Return what a file says, or an error about it, as a few printable characters."""
    text, most = ascii(str(value))[1:-1], 400 if isinstance(value, Exception) else 80
    return text if len(text) <= most else text[:most] + "..."


def _check_history(history: Any) -> int:
    """Return the number of epochs of a history, which has a number for each of them in every column."""
    if not isinstance(history, dict) or not isinstance(history.get("epoch"), list):
        raise ValueError("is malformed: it has no history of epochs")
    n_epochs = len(history["epoch"])
    for name in filter(COLUMN.fullmatch, history):
        column = history[name]
        if not isinstance(column, list) or len(column) != n_epochs:
            raise ValueError(f"is malformed: its history has not one {name} for each of {n_epochs} epochs")
        if not all(type(value) in (int, float) and abs(value) < math.inf for value in column):
            raise ValueError(f"is malformed: a {name} of its history is not a finite number")
    if n_epochs == 0 or repr(history["epoch"]) != repr(list(range(1, n_epochs + 1))):
        raise ValueError("is malformed: the epochs of its history are not counted from 1")
    return n_epochs


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not a number")
