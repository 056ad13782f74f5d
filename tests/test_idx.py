"""IDX files by any name and of any content, and those that are not as their headers say."""

import gzip
import os
import struct
import tracemalloc

import numpy as np
import pytest
from conftest import refused

from gluon_vae import idx, load_images, machine
from gluon_vae.images import describe

RNG = np.random.default_rng(0)
X_TRAIN, X_TEST = (RNG.integers(0, 256, (n, 5, 7)).astype(np.uint8) for n in (12, 6))
Y_TRAIN, Y_TEST = np.arange(12) % 3 + 1, np.arange(6) % 3 + 1


def encoded(array, code=8):
    return struct.pack(f">2xBB{array.ndim}i", code, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write(folder, names, suffix="", arrays=(X_TRAIN, Y_TRAIN, X_TEST, Y_TEST)):
    folder.mkdir(exist_ok=True)
    for name, array in zip(names, arrays):
        content = encoded(array)
        (folder / (name + suffix)).write_bytes(gzip.compress(content) if suffix else content)
    return folder


MNIST = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
LETTERS = tuple(f"emnist-letters-{name.replace('t10k', 'test')}" for name in MNIST)


def check(images):
    np.testing.assert_array_equal(images.x_train, X_TRAIN.reshape(12, -1).astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(images.x_test, X_TEST.reshape(6, -1).astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(images.y_train, Y_TRAIN - 1)
    np.testing.assert_array_equal(images.y_test, Y_TEST - 1)
    assert images[4:] == ((1, 5, 7), ("1", "2", "3"), True)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("names", [MNIST, LETTERS, tuple(name.replace("-idx", ".idx") for name in MNIST)])
def test_a_folder_of_any_content(names, suffix, tmp_path):
    images = load_images(write(tmp_path, names, suffix))
    check(images)
    assert describe(images) == "12 training and 6 test pictures, 1 x 5 x 7, 3 classes: 1, 2, 3"


def test_of_a_file_that_is_there_twice_the_compressed_one_counts_and_others_are_of_no_concern(tmp_path):
    write(tmp_path, MNIST, ".gz")
    (tmp_path / MNIST[0]).write_bytes(b"not looked at")
    (tmp_path / "README.md").write_text("of no concern")
    check(load_images(tmp_path))
    (tmp_path / (MNIST[0] + ".gz")).unlink()
    (tmp_path / (MNIST[0] + ".gz")).mkdir()
    (tmp_path / MNIST[0]).write_bytes(encoded(X_TRAIN))
    check(load_images(tmp_path))


def test_of_several_sets_one_is_named_by_a_file(tmp_path):
    write(tmp_path, LETTERS, ".gz")
    write(tmp_path, MNIST, ".gz", (X_TEST, Y_TEST, X_TRAIN, Y_TRAIN))
    with refused("several sets", "emnist-letters-", "t10k-images"):
        load_images(tmp_path)
    check(load_images(tmp_path / (LETTERS[0] + ".gz")))
    check(load_images(tmp_path / (LETTERS[3] + ".gz")))


def test_a_pair_without_a_part_is_split_and_labels_may_be_absent(tmp_path):
    write(tmp_path, ("my-images-idx3-ubyte", "my-labels-idx1-ubyte"))
    images = load_images(tmp_path, test_share=0.5)
    assert (len(images.x_train), len(images.x_test)) == (6, 6)
    (tmp_path / "my-labels-idx1-ubyte").unlink()
    assert load_images(tmp_path).class_names is None


def test_colour_is_four_axes(tmp_path):
    x = RNG.integers(0, 256, (10, 3, 4, 5)).astype(np.uint8)
    write(tmp_path / "first", ["my-images-idx4-ubyte"], "", [x])
    write(tmp_path / "last", ["my-images-idx4-ubyte"], "", [np.ascontiguousarray(np.moveaxis(x, 1, -1))])
    first, last = (load_images(tmp_path / name) for name in ("first", "last"))
    assert first.image_shape == last.image_shape == (3, 4, 5)
    np.testing.assert_array_equal(first.x_train, last.x_train)


@pytest.mark.parametrize(
    ("removed", "words"),
    [
        ([0], ("train-labels-idx1-ubyte has no file of images",)),
        ([1], ("train-images-idx3-ubyte has no file of labels",)),
        ([3], ("t10k-images-idx3-ubyte has no file of labels",)),
        ([2], ("t10k-labels-idx1-ubyte has no file of images",)),
        ([0, 1], ("a part to train with", "t10k-images-idx3-ubyte")),
    ],
)
def test_missing_files_are_named(removed, words, tmp_path):
    write(tmp_path, MNIST)
    for place in removed:
        (tmp_path / MNIST[place]).unlink()
    with refused(*words):
        load_images(tmp_path)


def test_counts_that_differ_are_named(tmp_path):
    write(tmp_path, MNIST, arrays=(X_TRAIN, Y_TRAIN[1:], X_TEST, Y_TEST))
    with refused("train-labels-idx1-ubyte has 11 labels", "train-images-idx3-ubyte has 12 images"):
        load_images(tmp_path)
    write(tmp_path, MNIST, arrays=(X_TRAIN, Y_TRAIN, X_TEST[:, 1:], Y_TEST))
    with refused("t10k-images-idx3-ubyte", "(1, 4, 7)", "(1, 5, 7)"):
        load_images(tmp_path)


CONTENT = encoded(X_TEST)
ABSURD = struct.pack(">2xBB3i", 8, 3, 1 << 30, 1 << 10, 1 << 10)
DAMAGES = {
    "empty": (b"", "does not begin"),
    "text": (b"<html>403</html>", "does not begin"),
    "no axes": (b"\0\0\x08\0", "does not begin"),
    "half": (CONTENT[: len(CONTENT) // 2], "cannot hold"),
    "half a header": (CONTENT[:9], "shape"),
    "a byte too many": (CONTENT + b"\0", "longer"),
    "float32": (b"\0\0\x0d\3" + CONTENT[4:], "0x0d"),
    "other axes": (encoded(Y_TEST), "1 axes"),
    "an absurd header": (ABSURD + bytes(100), "cannot hold"),
    "negative": (struct.pack(">2xBB3i", 8, 3, -1, 5, 7), "cannot hold"),
}


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_named(damage, suffix, tmp_path):
    write(tmp_path, MNIST, suffix)
    content, word = DAMAGES[damage]
    path = tmp_path / (MNIST[2] + suffix)
    path.write_bytes(gzip.compress(content) if suffix else content)
    if suffix and damage == "half":
        word = "shorter"
    with refused(str(path), word):
        load_images(tmp_path)


def test_damaged_compression_is_named_and_never_another_error(tmp_path):
    write(tmp_path, MNIST, ".gz")
    path = tmp_path / (MNIST[2] + ".gz")
    good, rng, n_harmless, said = path.read_bytes(), np.random.default_rng(0), 0, []
    for content in (good[:-1], good[: len(good) // 2], good[:2], good + b"text"):
        path.write_bytes(content)
        with refused(str(path)):
            load_images(tmp_path)
    for _ in range(150):
        damaged = bytearray(good)
        damaged[rng.integers(len(good))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            np.testing.assert_array_equal(idx.read(path), X_TEST)  # it hit the header's time, say
            n_harmless += 1
        except ValueError as error:
            said.append(str(error))
    assert all(str(path) in sentence for sentence in said)
    assert 0 < n_harmless < 75


def test_what_would_not_fit_into_memory_is_refused_before_it_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "memory", lambda: 5_000_000)
    x = np.zeros((1000, 32, 32), np.uint8)
    write(tmp_path, ["my-images-idx3-ubyte"], ".gz", [x])
    tracemalloc.start()
    with refused("(1000, 32, 32)", "0.0 GB"):
        load_images(tmp_path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 500_000


def test_special_files_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / MNIST[0])
    with pytest.raises(OSError, match="Not a regular file"):
        load_images(tmp_path)
