"""How the process of the command line begins, and how an interrupt ends it."""

import os
import subprocess
import sys
import textwrap

import pytest

from gluon_vae import process

RUN = """
import atexit, os, runpy, signal, sys, time

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)

class Array:
    def __del__(self):
        interrupt()

def main():
    try:
{body}
    except KeyboardInterrupt:
        print("raised")
        sys.exit(3)

atexit.register(interrupt)
runpy.run_path({file!r})["run"](main)
"""


@pytest.mark.parametrize(
    ("body", "code", "out", "err"),
    [
        ("print('done')", 0, "done\n", ""),  # the interrupt at the end changes nothing
        ("interrupt()", 3, "raised\n", ""),
        ("Array()\ntime.sleep(5)", 3, "raised\n", ""),  # where Python drops what is raised
        ("try: interrupt()\nexcept KeyboardInterrupt: interrupt()", 130, "", "\nInterrupted\n"),
        ("signal.signal(signal.SIGINT, signal.SIG_IGN)\nsys.exit('failed')", 1, "", "failed\n"),
    ],
    ids=["afterwards", "once", "in a deletion", "twice", "failed"],
)
def test_an_interrupt_is_raised_once_and_a_second_one_does_not_wait(body, code, out, err):
    script = RUN.format(body=textwrap.indent(body, " " * 8), file=process.__file__)
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (code, out, err)


def test_an_interrupt_that_is_ignored_from_the_start_stays_so():
    script = "import runpy, signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + RUN
    script = script.format(body=" " * 8 + "interrupt()", file=process.__file__)
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("given", "seen", "is_ours"),
    [
        (["python", "-m", "gluon_vae", "--seed", "1"], ["-m", "--seed", "1"], True),
        (["python", "-W", "error", "-Imgluon_vae"], ["-m"], True),
        (["python", "-m", "pytest", "-m", "gluon_vae"], ["-m", "-m", "gluon_vae"], False),
        (["python", "-m", "my_gluon_vae"], ["-m"], False),
        (["python", "-c", "import gluon_vae"], ["-c"], False),
        (["python", "script.py", "-m", "gluon_vae"], ["script.py", "-m", "gluon_vae"], False),
        ([], ["-m"], False),
        ([], [], False),
    ],
)
def test_only_the_command_line_has_its_process_prepared(given, seen, is_ours, monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", given)
    monkeypatch.setattr(sys, "argv", seen)
    assert process._runs_the_command_line() == is_ours


def test_what_is_opened_next_does_not_get_the_number_of_a_closed_stream():
    script = f"""
import os, runpy
os.closerange(0, 3)
runpy.run_path({process.__file__!r})["_occupy_closed_descriptors"]()
os._exit(os.open(os.devnull, os.O_RDONLY))
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 3


def test_what_importing_needs_and_does_not_have_is_one_sentence():
    command = [sys.executable, "-m", "gluon_vae", "--help"]
    environment = os.environ | {"OMP_NUM_THREADS": "none"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert result.returncode == 1
    (sentence,) = result.stderr.splitlines()
    assert sentence.startswith("python -m gluon_vae: error: MXNet needs OMP_NUM_THREADS")
