"""The parent's side of the protocol: contestants that run one at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from environments import HERE, Absent

# Idle threads of OpenMP spin for a while before they sleep: they get the time to.
PAUSE = 0.3


class Contestant:
    """A program that trains an epoch, encodes, or does whatever else it is told, when it is told.

    Parameters
    ----------
    name : str
        As it stands in the tables.
    python : str
        The interpreter.
    script : str
        The file in this folder.
    threads : int
        OpenMP's, for MXNet and PyTorch.
    options
        What else the script is told once.
    """

    def __init__(self, name: str, python: str, script: str, *, threads: int, **options: Any) -> None:
        self.name = name
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by stop)
        path = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [python, str(HERE / script), json.dumps(options | {"threads": threads})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": str(threads)},
        )
        try:
            self._processor = self._read()["processor"]  # the answer that says it is ready
        except Absent:
            self.stop()
            raise

    def ask(self, command: str) -> dict[str, Any]:
        """Have a command done; return the answer with the ``seconds`` and ``processor_seconds`` that it took."""
        time.sleep(PAUSE)
        started = time.perf_counter()
        with suppress(BrokenPipeError):  # it has died; reading says so
            print(command, file=self._process.stdin, flush=True)
        answer = self._read()
        used, self._processor = answer["processor"] - self._processor, answer["processor"]
        return answer | {"seconds": time.perf_counter() - started, "processor_seconds": used}

    def _read(self) -> dict[str, Any]:
        for line in self._process.stdout:
            if line.startswith("{"):  # libraries print other things
                return json.loads(line)
        self._process.wait()
        self._log.seek(0)
        lines = self._log.read().strip().splitlines()
        raise Absent(
            f"{self.name} ended with code {self._process.returncode}: {lines[-1] if lines else 'no message'}"
        )

    def stop(self) -> None:
        """End the program."""
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()


class Field:
    """Those who take part in a measurement, and those who could not.

    A contestant that fails, at the start or later, becomes absent; the others go on.
    """

    def __init__(self) -> None:
        self.present: list[Contestant] = []
        self.absent: dict[str, str] = {}

    def enter(self, name: str, python: Callable[[], str], script: str, **options: Any) -> None:
        """Start a contestant; ``python`` is called for its interpreter."""
        try:
            self.present.append(Contestant(name, python(), script, **options))
        except Absent as reason:
            self._note(name, reason)

    def ask(self, command: str, names: Iterable[str] | None = None) -> dict[str, dict[str, Any]]:
        """Have everyone do the same, or those who are named, one after the other."""
        answers = {}
        for contestant in list(self.present):
            if names is not None and contestant.name not in names:
                continue
            try:
                answers[contestant.name] = contestant.ask(command)
            except Absent as reason:
                contestant.stop()
                self.present.remove(contestant)
                self._note(contestant.name, reason)
        return answers

    def _note(self, name: str, reason: Absent) -> None:
        self.absent[name] = str(reason)
        print(f"absent: {name}: {reason}", file=sys.stderr)

    def __enter__(self) -> Field:
        return self

    def __exit__(self, *exception: object) -> None:
        for contestant in self.present:
            contestant.stop()
