"""Where the contestants run: an environment for each peer, beside the project's own, and two cores."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from gluon_vae.machine import one_of_each_core

HERE = Path(__file__).parent
# NumPy is how images reach a peer; what else each needs comes with it.
PEERS = {
    "torch": ("torch==2.13.0", "numpy"),
    "jax": ("jax>=0.10,<0.11", "optax", "numpy"),
}


class Absent(Exception):
    """A contestant that cannot take part, and what would help."""


def python_of(peer: str, given: str | None = None) -> str:
    """Return the interpreter of a peer, after making its environment if it is not there.

    Parameters
    ----------
    peer : {'torch', 'jax'}
        Whose environment.
    given : str, optional
        An interpreter that has the packages already.

    Raises
    ------
    Absent
        If the packages cannot be imported or installed.
    """
    environment = HERE / f".venv-{peer}"
    python = given or str(environment / "bin" / "python")
    imports = "import numpy, torch" if peer == "torch" else "import numpy, jax, optax"
    wanted = " ".join(f"'{requirement}'" for requirement in PEERS[peer])
    if given is None and not _succeeds(python, "-c", imports):
        print(f"creating {environment} with {wanted}", file=sys.stderr)
        if not _succeeds(sys.executable, "-m", "venv", "--clear", str(environment)) or not _succeeds(
            python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PEERS[peer]
        ):
            raise Absent(f"could not be installed; try: {python} -m pip install {wanted}")
    if not _succeeds(python, "-c", imports):
        raise Absent(f"cannot be imported; try: {python} -m pip install {wanted}")
    return python


def _succeeds(*command: str) -> bool:
    try:
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


def confine(n_threads: int) -> list[int]:
    """Keep this process and those it starts on ``n_threads`` physical cores, with as many threads.

    A pool that is as large as the machine, like XLA's, then has the size of the others.
    """
    for name in ("OMP", "MKL", "OPENBLAS"):
        os.environ[f"{name}_NUM_THREADS"] = str(n_threads)
    if not hasattr(os, "sched_setaffinity"):  # macOS
        return []
    chosen = one_of_each_core()[:n_threads]
    if len(chosen) < n_threads:
        print(f"{n_threads} threads asked for, but there are {len(chosen)} physical cores", file=sys.stderr)
    os.sched_setaffinity(0, chosen)
    return chosen


def machine(cores: list[int]) -> dict[str, object]:
    """Describe the machine and what is installed, for the record."""
    name = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        models = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    installed = {package: version(package) for package in ("mxnet", "numpy")}
    return {
        "cpu": name,
        "cores": cores,
        "system": platform.platform(),
        "python": platform.python_version(),
    } | installed
