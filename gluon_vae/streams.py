"""Standard output and error that cannot end what is being computed: not by a character, not by a reader that left."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any, TextIO

from tqdm import tqdm


class Stream:
    """A stream that takes all text, and passes on what can be passed on.

    A character that the stream's encoding lacks is spelled out in ASCII. Once a write fails, the rest is dropped.

    Parameters
    ----------
    stream : file, optional
        Any object with ``write``; None, as Python has it for a closed descriptor, drops everything.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.error: Exception | None = None  # why a write failed

    def write(self, text: str) -> int:
        """Pass text on; with the end of a line all of it, so that a reader sees it now."""
        if self._stream is not None and self.error is None:
            try:
                try:
                    self._stream.write(text)
                except UnicodeEncodeError as error:
                    self._stream.write(_spelled_out(text, error.encoding))
                if "\n" in text:
                    self.flush()
            except (OSError, ValueError) as error:  # the latter of a file that was closed
                self._drop_the_rest(error)
        return len(text)

    def flush(self) -> None:
        """Have everything written that can be."""
        try:
            getattr(self._stream, "flush", lambda: None)()
        except (OSError, ValueError) as error:
            self._drop_the_rest(error)

    def isatty(self) -> bool:
        """Tell whether this is a terminal."""
        return in_terminal(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _drop_the_rest(self, error: Exception) -> None:
        # An error holds on to all that the functions had that it came through, a run and its connections included.
        error.__context__, self.error = None, error.with_traceback(None)
        # What is left in a buffer would fail again when Python ends, with a traceback and an exit code of its own.
        with suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)


@contextmanager
def steady() -> Iterator[tuple[Stream, Stream]]:
    """Make standard output and error such streams."""
    with redirect_stdout(Stream(sys.stdout)) as out, redirect_stderr(Stream(sys.stderr)) as err:
        yield out, err


def in_terminal(stream: Any) -> bool:
    """Tell whether a stream is a terminal; what has no way of telling is none."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False


def bar(*, shown: bool = True, **options: Any) -> tqdm:
    """Return a progress bar on standard error, if that is there.

    The finished bar stays in a terminal; in a notebook it would be output that differs at every run.
    """
    return tqdm(disable=not shown or sys.stderr is None, leave=in_terminal(sys.stderr), **options)


def _spelled_out(text: str, encoding: str) -> str:
    return text.replace("±", "+/-").encode(encoding, "backslashreplace").decode(encoding)
