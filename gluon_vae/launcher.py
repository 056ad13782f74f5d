"""The processes of a run on one machine: a scheduler, a server and the workers, started and ended together.

The scheduler brings them together, the server sums the workers' gradients, and the workers train; all of
them find each other by the environment variables that MXNet reads.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from .distributed import LAUNCHED
from .machine import cores
from .roles import ROLE

# MXNet serves from inside its own import when the role says so, so this is all that a server runs.
# Its input ends when the launcher does, however that ends.
SERVE = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
import gluon_vae
"""
GRACE = 5  # seconds for scheduler and server to end by themselves after the last worker


class ProcessError(ChildProcessError):
    """A process of a run ended with an error.

    Parameters
    ----------
    message : str
        Names the process and how it ended.
    code : int
        Its exit code, negative for a signal.
    said : str
        What it left to be said (``distributed.leave``); empty if it came to nothing of the kind.
    """

    def __init__(self, message: str, code: int, said: str) -> None:
        super().__init__(message)
        self.code, self.said = code, said


def launch(command: Sequence[str], n_workers: int) -> None:
    """Run a command in ``n_workers`` processes of this machine, with a scheduler and a server.

    Whatever ends it, no process is left: all are killed when one of them fails or when this one is
    interrupted, and end by themselves if this one is killed.

    Parameters
    ----------
    command : sequence of str
        What a worker runs; it finds the others with ``distributed.connect``.
    n_workers : int
        How many. The machine's cores are divided among them unless OMP_NUM_THREADS is set.

    Raises
    ------
    ProcessError
        If a process ends with an error; names it and its exit code.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    threads = str(max(1, cores() // n_workers))
    environment = {"OMP_NUM_THREADS": threads} | os.environ
    environment |= {
        "DMLC_PS_ROOT_URI": "127.0.0.1",
        "DMLC_NODE_HOST": "127.0.0.1",
        "DMLC_PS_ROOT_PORT": str(port),
        "DMLC_NUM_WORKER": str(n_workers),
        "DMLC_NUM_SERVER": "1",
        LAUNCHED: "1",
    }
    roles = [("scheduler", "scheduler"), ("server", "server")]
    roles += [("worker", f"worker {i + 1} of {n_workers}") for i in range(n_workers)]
    processes: dict[str, subprocess.Popen[bytes]] = {}
    lines: dict[str, socket.socket] = {}  # a process listens for our end, and may leave a message for its own
    # A polite end is an end too: without this, SIGTERM would skip the cleaning up.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with _undisturbed():
            for role, name in roles:
                lines[name], theirs = socket.socketpair()
                with theirs:
                    processes[name] = subprocess.Popen(
                        command if role == "worker" else [sys.executable, "-c", SERVE],
                        env=environment | {ROLE: role},
                        stdin=theirs.fileno(),
                        start_new_session=True,  # Ctrl-C reaches the launcher alone, which ends the others
                    )
        workers = [process for name, process in processes.items() if name.startswith("worker")]
        while any(worker.poll() is None for worker in workers):
            _raise_for_failed(processes, lines)
            time.sleep(0.05)
        _raise_for_failed(processes, lines)
        deadline = time.monotonic() + GRACE
        while any(p.poll() is None for p in processes.values()) and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
        for line in lines.values():
            line.close()
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Have an interrupt wait: of a process that was started, but not yet taken down, nobody would know."""
    came: list[int] = []
    handlers = {
        number: signal.signal(number, lambda n, _: came.append(n)) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def _raise_for_failed(processes: dict[str, subprocess.Popen[bytes]], lines: dict[str, socket.socket]) -> None:
    for name, process in processes.items():
        if code := process.poll():
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            message = f"the {name} {how}; all other processes of the run were ended"
            raise ProcessError(message, code, _left_on(lines[name]))


def _left_on(line: socket.socket) -> str:
    line.setblocking(False)
    with suppress(OSError):  # nothing was left
        return line.recv(1 << 16).decode("utf-8", "surrogateescape")
    return ""
