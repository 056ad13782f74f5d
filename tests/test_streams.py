"""Standard output and error, whatever they are."""

import gc
import io
import os
import sys
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from tqdm import tqdm

import gluon_vae
from gluon_vae import streams

X = np.random.default_rng(0).random((9, 12), dtype=np.float32)


@pytest.mark.parametrize(
    ("encoding", "text", "written"),
    [
        ("utf-8", "157.2 ± 1.8", "157.2 ± 1.8"),
        ("latin-1", "157.2 ± 1.8", "157.2 ± 1.8"),
        ("ascii", "157.2 ± 1.8", "157.2 +/- 1.8"),
        ("utf-8", "größer\udcff", r"größer\udcff"),  # a byte that is no text, in the name of a file
        ("ascii", "größer\udcff", r"gr\xf6\xdfer\udcff"),
    ],
)
def test_a_character_that_an_encoding_lacks_is_spelled_out(encoding, text, written):
    buffer = io.BytesIO()
    stream = streams.Stream(io.TextIOWrapper(buffer, encoding))
    print(text, file=stream)
    assert buffer.getvalue().decode(encoding) == written + "\n"
    assert stream.error is None
    assert stream.encoding == encoding


def test_after_the_first_failure_the_rest_is_dropped():
    closed = io.StringIO()
    closed.close()
    stream = streams.Stream(closed)
    assert not stream.isatty()
    print("lost", file=stream)
    assert isinstance(stream.error, ValueError)
    stream.flush()


def test_no_stream_is_no_error():
    stream = streams.Stream(None)
    print("lost", file=stream, flush=True)
    assert stream.error is None
    assert not stream.isatty()


def test_a_pipe_without_a_reader_is_led_nowhere_so_that_closing_it_works():
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as pipe:
        stream = streams.Stream(pipe)
        print("lost", file=stream)
        assert isinstance(stream.error, BrokenPipeError)


def test_a_failed_write_keeps_nothing_alive_of_what_wrote():
    def run(stream):
        held = set()
        try:
            raise ValueError(held)
        except ValueError:
            print("±", file=stream)
        return weakref.ref(held)

    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", encoding="ascii") as pipe:
        stream = streams.Stream(pipe)
        held = run(stream)
    assert isinstance(stream.error, BrokenPipeError)
    gc.collect()
    assert held() is None


def test_steady_streams_are_there_for_a_while(capsys):
    before = sys.stdout, sys.stderr
    with streams.steady() as (out, err):
        assert (sys.stdout, sys.stderr) == (out, err)
        print("out")
        print("err", file=sys.stderr)
    assert (sys.stdout, sys.stderr) == before
    assert tuple(capsys.readouterr()) == ("out\n", "err\n")


@pytest.mark.parametrize("stream", [None, SimpleNamespace(write=lambda text: len(text))], ids=["none", "bare"])
def test_bars_need_no_terminal(stream, monkeypatch):
    net = gluon_vae.VAE(n_hidden=4, n_output=12)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        history = gluon_vae.fit(net, X, n_epochs=2)
        estimate = gluon_vae.log_likelihood(net, X, n_samples=2)
    assert history["epoch"] == [1, 2]
    assert np.isfinite(estimate.mean)


def test_a_finished_bar_stays_in_a_terminal_only(monkeypatch):
    for is_terminal in (False, True):
        monkeypatch.setattr(sys.stderr, "isatty", lambda is_terminal=is_terminal: is_terminal)
        with streams.bar(total=1) as bar:
            assert isinstance(bar, tqdm)
            assert bar.leave == is_terminal
    with streams.bar(shown=False, total=1) as bar:
        assert bar.disable
