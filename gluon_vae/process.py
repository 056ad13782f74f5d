"""The process of ``python -m gluon_vae``: how it begins, and how an interrupt ends it.

Only the standard library is used here: what comes first is there before the seconds of importing begin.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType

PROGRAM = "python -m gluon_vae"
INTERRUPTED = 130  # the exit code of what Ctrl-C ended


def begin() -> None:
    """Prepare the process if it runs the command line; the package calls this before it imports anything else."""
    if not _runs_the_command_line():
        return
    _occupy_closed_descriptors()
    from . import openmp

    openmp.choose(sys.argv[1:])
    # Pictures go to files: no window, and no way of drawing that the environment names and nobody installed.
    os.environ["MPLBACKEND"] = "agg"
    sys.excepthook = _explain
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # under nohup it is ignored, and stays so
        signal.signal(signal.SIGINT, _end_at_once)


def run(main: Callable[[], None]) -> None:
    """Run the command line to the end of its process: the first interrupt is raised, a second one does not wait."""
    if signal.getsignal(signal.SIGINT) in (signal.default_int_handler, _end_at_once):
        signal.signal(signal.SIGINT, _raise_once)
        sys.unraisablehook = _send_again
    try:
        main()
    except KeyboardInterrupt:
        _end_at_once()
    except SystemExit as end:
        if end.code:  # the sentence is said: what was cut short need not complain while it is cleared away
            sys.unraisablehook = lambda _: None
        raise
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done and said: Python may end in peace


def _runs_the_command_line() -> bool:
    # This is what Python makes of the arguments while it looks for the module that -m names.
    module = "".join(sys.orig_argv[-len(sys.argv) :][:1])
    return sys.argv[:1] == ["-m"] and bool(re.fullmatch(rf"(-\w*m)?{__package__}", module))


def _occupy_closed_descriptors() -> None:
    # The next file to be opened would get the number of a closed stream, and what a library prints would end in it.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _explain(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Say in one sentence what importing the package needs and does not have."""
    if kind not in (ImportError, MemoryError):
        sys.__excepthook__(kind, error, traceback)
        return
    if sys.stderr is not None:
        sys.stderr.write(f"{PROGRAM}: error: {error or 'there is not enough memory'}\n")
        sys.stderr.flush()
    os._exit(1)  # what MXNet does at the end may need what is missing


def _end_at_once(*_: object) -> None:
    with suppress(OSError):
        os.write(2, b"\nInterrupted\n")
    os._exit(INTERRUPTED)


def _raise_once(signum: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, _end_at_once)
    raise KeyboardInterrupt


def _send_again(lost: sys.UnraisableHookArgs) -> None:
    """Repeat an interrupt that came where Python drops exceptions, such as the deletion of an array."""
    if not issubclass(lost.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(lost)
        return
    signal.signal(signal.SIGINT, _raise_once)
    main = threading.main_thread().ident
    threading.Timer(0.01, signal.pthread_kill, (main, signal.SIGINT)).start()
