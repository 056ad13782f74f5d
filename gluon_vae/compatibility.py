"""MXNet 1.9.1 on a current Python: imported here first, with what it misses supplied for that time.

MXNet was released for NumPy 1.23 and Python 3.11. Its import asks NumPy for names that are gone since
(``np.bool`` since 1.24, more since 2.0), and Python for ``distutils`` (gone since 3.12). Everything
that is supplied is taken away again, except ``numpy.bool``, which MXNet also asks for later.

What it need not have at once is kept from it, which takes a third off the time until the package is there: into
``LATER`` a few functions of MXNet look when they are called, and of scikit-learn it takes no more than a base class
for ``mx.model.FeedForward``, which does without.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from packaging.version import Version

from . import openmp, roles


def _gone(*args: object, **kwargs: object) -> None:
    raise NotImplementedError("NumPy has had no financial functions since version 1.20: see numpy-financial")


DROPPED = {
    "bool": bool,
    "alltrue": np.all,
    "in1d": lambda a, b, **kwargs: np.isin(np.ravel(a), b, **kwargs),
    "msort": lambda a: np.sort(a, axis=0),
    "product": np.prod,
    "round_": np.round,
    "sometrue": np.any,
    "trapz": lambda *args, **kwargs: np.trapezoid(*args, **kwargs),
    **dict.fromkeys(["NAN", "NaN"], np.nan),
    **dict.fromkeys(["Inf", "PINF"], np.inf),
    "NINF": -np.inf,
    "PZERO": 0.0,
    "NZERO": -0.0,
    **dict.fromkeys(["mirr", "npv", "pmt", "ppmt", "pv", "rate"], _gone),
}
LATER = ("scipy.stats", "onnx")
INSTALL = Path(__file__).with_name("install_mxnet.py")


def import_mxnet() -> None:
    """Import MXNet; do nothing where that has been done.

    An import that failed before this one, for want of what is supplied here, does no harm.

    Raises
    ------
    ImportError
        If MXNet is not installed, one of the libraries that it loads is missing, or the environment would have it
        compute wrong numbers (``openmp``) or wait for ever (``roles``); says what to do.
    """
    if "mxnet" in sys.modules:
        return
    openmp.prepare()
    if os.environ.get(roles.ROLE) != "worker":  # all others serve from inside the import
        try:
            roles.check()
        except ValueError as error:
            raise ImportError(str(error)) from None
    try:
        with _names_that_numpy_dropped(), _distutils(), _without("sklearn"), _later():
            import mxnet  # noqa: F401
        openmp.check(sys.modules["mxnet.base"]._LIB)
    except ModuleNotFoundError as error:
        if error.name != "mxnet":
            raise
        raise ImportError(f"MXNet 1.9.1 is not installed: run {sys.executable} {INSTALL}", name="mxnet") from None
    except OSError as error:
        if os.uname().machine == "aarch64":
            advice = f"run {sys.executable} {INSTALL}"
        else:
            advice = "on Debian and Ubuntu: apt-get install libgomp1 libquadmath0"
        raise ImportError(f"MXNet is installed, but a library that it loads is not ({error}); {advice}") from None


@contextmanager
def _names_that_numpy_dropped() -> Iterator[None]:
    # vars, not hasattr: asking NumPy for a name that it dropped warns.
    missing = {name: value for name, value in DROPPED.items() if name not in vars(np)}
    vars(np).update(missing)
    try:
        yield
    finally:
        for name in missing.keys() - {"bool"}:
            del vars(np)[name]


@contextmanager
def _distutils() -> Iterator[None]:
    """Let ``distutils.version`` be the comparison of versions that MXNet wants from it, and nothing else."""
    stand_in, version = ModuleType("distutils"), ModuleType("distutils.version")
    version.LooseVersion = version.StrictVersion = Version
    stand_in.version = version
    names = {"distutils": stand_in, "distutils.version": version}
    before = {name: sys.modules[name] for name in names if name in sys.modules}
    sys.modules.update(names)
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]
        sys.modules.update(before)


@contextmanager
def _without(package: str) -> Iterator[None]:
    """Let a package that has not been imported yet seem not to be installed."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]  # by which Python says that it is not there
    try:
        yield
    finally:
        del sys.modules[package]


class _Later(ModuleType):
    """What stands for a module until something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what the import system asks of any module
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


@contextmanager
def _later() -> Iterator[None]:
    """Put off the import of what is installed and has not been imported yet."""
    stand_ins = {name: _Later(name) for name in LATER if name not in sys.modules and find_spec(name)}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, stand_in in stand_ins.items():
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]
