"""A record of runs: each is kept as soon as it ends, in one small file that says where its numbers come from."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from gluon_vae.storage import replacing

import mxnet as mx

FOLDER = Path(__file__).parent / "results"
LIST = re.compile(r"\[([^][{}]*)\]")  # the innermost: one line each
NUMBER = re.compile(r"\d+")


class Record:
    """The runs of one experiment, by model or setting and by seed, in ``results/NAME.json``.

    Parameters
    ----------
    name : str
        Of the file, and of the command that writes it, ``experiments/NAME.py``.
    **made : object
        Where the numbers come from: data, model, units, ... What they were computed with is added. It is written
        with the first run, and compared with that of every later one.
    """

    def __init__(self, name: str, **made: object) -> None:
        self.path = FOLDER / f"{name}.json"
        self._said = {"command": f"python experiments/{name}.py", **made}

    def read(self) -> dict[str, Any]:
        """Return the record: ``made``, and ``runs`` by setting and seed; without a run, if there is no file."""
        if self.path.exists():
            return json.loads(self.path.read_text(encoding="utf-8"))
        return {"made": self._said | _computed_with(), "runs": {}}

    def has(self, setting: object, seed: int) -> bool:
        """Return whether this run is recorded."""
        return str(seed) in self.read()["runs"].get(str(setting), {})

    def missing(self, settings: Iterable[Any], seeds: Iterable[int]) -> Iterator[tuple[Any, int]]:
        """Yield the runs that are not recorded when their turn comes, all settings of a seed before the next seed."""
        for seed, setting in product(seeds, settings):
            if not self.has(setting, seed):
                yield setting, seed

    def add(self, setting: object, seed: int, result: dict[str, Any]) -> None:
        """Record a run; a file whose other runs were made in another way is refused."""
        record = self.read()
        if differs := [key for key, value in self._said.items() if record["made"].get(key) != value]:
            raise ValueError(f"{self.path} records runs made in another way ({', '.join(differs)}): remove it first")
        record["runs"].setdefault(str(setting), {})[str(seed)] = result
        record["runs"] = {key: dict(_sorted(runs)) for key, runs in _sorted(record["runs"])}
        text = LIST.sub(lambda m: f"[{' '.join(m[1].split())}]", json.dumps(record, indent=1, allow_nan=False))
        self.path.parent.mkdir(exist_ok=True)
        with replacing(self.path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")


def _computed_with() -> dict[str, Any]:
    return {
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "machine": platform.machine(),
        "versions": {"python": platform.python_version(), "mxnet": mx.__version__, "numpy": np.__version__},
    }


def _sorted(runs: dict[str, Any]) -> list[tuple[str, Any]]:
    return sorted(runs.items(), key=lambda item: [int(number) for number in NUMBER.findall(item[0])])
