"""``.npy`` and ``.npz`` files: what they may hold and be called, and those that are not as they say."""

import io
import os
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from conftest import refused
from hypothesis import given
from hypothesis import strategies as st

from gluon_vae import array_files, load_images, machine

RNG = np.random.default_rng(0)
X_TRAIN, X_TEST = (RNG.integers(0, 256, (n, 4, 6, 3)).astype(np.uint8) for n in (12, 6))
Y_TRAIN, Y_TEST = np.array(["b", "a", "c"] * 4), np.array(["c", "b"] * 3)


def flat(x):
    return np.moveaxis(x, -1, 1).reshape(len(x), -1).astype(np.float32) / np.float32(255)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("X_train", "y_train", "X_test", "y_test"),
    ],
)
def test_an_archive_with_a_test_part(names, save, tmp_path):
    save(tmp_path / "a.npz", **dict(zip(names, (X_TRAIN, Y_TRAIN, X_TEST, Y_TEST))))
    images = load_images(tmp_path / "a.npz")
    np.testing.assert_array_equal(images.x_train, flat(X_TRAIN))
    np.testing.assert_array_equal(images.x_test, flat(X_TEST))
    assert images.y_train.tolist() == [1, 0, 2] * 4
    assert images.y_test.tolist() == [2, 1] * 3
    assert images[4:] == ((3, 4, 6), ("a", "b", "c"), False)
    with refused("test_share", "a.npz"):
        load_images(tmp_path / "a.npz", test_share=0.5)


@pytest.mark.parametrize("names", [("x", "y"), ("images", "labels"), ("data", "target"), ("arr_0", "arr_1")])
def test_an_archive_of_one_array_is_split(names, tmp_path):
    np.savez(tmp_path / "a.npz", **dict(zip(names, (X_TRAIN, Y_TRAIN))))
    images = load_images(tmp_path / "a.npz", test_share=0.25)
    assert (len(images.x_train), len(images.x_test)) == (9, 3)
    assert sorted(images.y_test) == [0, 1, 2]
    rows = {row.tobytes(): "abc".index(label) for row, label in zip(flat(X_TRAIN), Y_TRAIN)}
    assert [rows[row.tobytes()] for row in images.x_train] == images.y_train.tolist()


def test_names_of_classes_that_come_along(tmp_path):
    y = np.array([2, 0, 0, 2])
    np.savez(tmp_path / "a.npz", x=X_TRAIN[:4], y=y, class_names=["ape", "bee", "cow"])
    images = load_images(tmp_path / "a.npz", test_share=0.5)
    assert images.class_names == ("ape", "bee", "cow")
    assert sorted(images.y_train) == sorted(images.y_test) == [0, 2]
    np.savez(tmp_path / "a.npz", x=X_TRAIN[:4], y=y, class_names=["ape", "bee"])
    with refused("2 names of classes", "from 0 to 2", "a.npz"):
        load_images(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", x=X_TRAIN[:4], y=y.astype(str), class_names=["ape", "bee", "cow"])
    with refused("integers", "a.npz"):
        load_images(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", x=X_TRAIN[:4], y=y, class_names=[1, 2, 3])
    with refused("class_names", "int64"):
        load_images(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x_train": X_TRAIN, "val_images": X_TEST}, ("'val_images.npy'", "understood", "x_train")),
        ({"x_train": X_TRAIN, "X_train": X_TRAIN}, ("both x_train.npy and X_train.npy",)),
        ({"x": X_TRAIN, "x_test": X_TEST}, ("has x, x_test",)),
        ({"x_test": X_TEST}, ("has x_test",)),
        ({"y": Y_TRAIN}, ("has y",)),
        ({"x_train": X_TRAIN, "x_test": X_TEST, "y_train": Y_TRAIN}, ("labels are missing",)),
        ({"x_train": X_TRAIN, "y": Y_TRAIN}, ("has x_train, y",)),
        ({"x": X_TRAIN, "y": Y_TEST}, ("6 labels", "12 images")),
        ({"x_train": X_TRAIN, "x_test": X_TEST[:, 1:]}, ("x_test of", "(3, 3, 6)", "(3, 4, 6)")),
        (
            {"x_train": X_TRAIN, "x_test": X_TEST, "y_train": Y_TRAIN, "y_test": np.zeros(6, int)},
            ("both be integers",),
        ),
        ({"x": np.array([{}, []], dtype=object)}, ("x.npy of", "Python objects")),
        ({"x": X_TRAIN, "y": np.array(["a", None] * 6)}, ("y.npy of", "Python objects", "dtype=str")),
        ({"x": np.zeros((0, 4, 4))}, ("empty",)),
        ({"x": np.zeros(4, [("a", int), ("b", int)])}, ("x of", "shape (4,)")),
        ({"x": X_TRAIN, "class_names": np.array(["a"])}, ("class_names", "no labels")),
        ({}, ("has nothing",)),
    ],
)
def test_what_an_archive_may_not_hold_is_named(arrays, words, tmp_path):
    np.savez(tmp_path / "a.npz", **arrays)
    with refused("a.npz", *words):
        load_images(tmp_path / "a.npz")


@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    dtype=st.sampled_from(["u1", "<f4", ">f4", "<f2", "<f8", "<i8", ">u2", "?", "<U3", "S2"]),
    is_fortran=st.booleans(),
    version=st.sampled_from([(1, 0), (2, 0)]),
)
def test_every_array_of_numbers_or_text_is_read_as_it_was_saved(shape, dtype, is_fortran, version, tmp_path_factory):
    x = np.arange(np.prod(shape)).astype(dtype).reshape(shape, order="F" if is_fortran else "C")
    path = tmp_path_factory.mktemp("arrays") / "a.npy"
    with path.open("wb") as file:
        np.lib.format.write_array(file, x, version, allow_pickle=False)
    read = array_files.read(path)
    assert read.dtype == x.dtype
    np.testing.assert_array_equal(read, x)
    assert read.flags.writeable


def test_an_array_file_needs_a_shape_only_where_it_has_none(tmp_path):
    path = tmp_path / "a.NPY"
    with path.open("wb") as file:
        np.save(file, flat(X_TRAIN))
    with refused("72", "image_shape"):
        load_images(path)
    images = load_images(path, image_shape=(3, 4, 6), seed=3)
    assert images.image_shape == (3, 4, 6)
    rows = {row.tobytes() for row in flat(X_TRAIN)}
    assert rows == {row.tobytes() for row in np.concatenate([images.x_train, images.x_test])}


def npy(header, rest=b"", version=b"\1\0"):
    size = 2 if version[:1] == b"\1" else 4
    return b"\x93NUMPY" + version + len(header).to_bytes(size, "little") + header + rest


def saved(x):
    file = io.BytesIO()
    np.save(file, x)
    return file.getvalue()


CONTENT = saved(X_TEST)
HEADER = b"{'descr': '|u1', 'fortran_order': False, 'shape': (%s), }\n"
DAMAGES = {
    "empty": (b"", "does not begin"),
    "text": (b"<html>403</html>", "does not begin"),
    "another version": (npy(HEADER % b"1,", b"\0", b"\3\0"), "does not begin"),
    "half": (CONTENT[: len(CONTENT) // 2], "not as long"),
    "half a header": (CONTENT[:40], "header"),
    "a byte too many": (CONTENT + b"\0", "not as long"),
    "an absurd shape": (npy(HEADER % b"1000000, 1000, 1000"), "not as long"),
    "a shape beyond 64 bits": (npy(HEADER % b"9999999999999999999, 9", b"\0"), "not as long"),
    "a negative shape": (npy(HEADER % b"-2, -2", bytes(4)), "not as long"),
    "an absurd header": (npy(b" " * 20000, b"", b"\2\0"), "header of 20000 bytes"),
    "no header": (npy(b"__import__('os').abort()"), "header cannot be read"),
    "deep brackets": (npy(b"[" * 9000), "header cannot be read"),
    "text of no length": (npy(b"{'descr': '<U0', 'fortran_order': False, 'shape': (9, 9), }\n"), "not as long"),
    "a pickle": (
        saved(np.array([{}], dtype=object))
        if False
        else npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n", b"\x80\4N."),
        "Python objects",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_array_files_are_named(damage, tmp_path):
    content, word = DAMAGES[damage]
    for name in ("a.npy", "a.npz"):
        path = tmp_path / name
        if name == "a.npy":
            path.write_bytes(content)
        else:
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("x.npy", content)
        with refused(str(path), word):
            load_images(path)


def test_a_damaged_archive_is_named_and_never_another_error(tmp_path):
    path, rng, n_harmless, said = tmp_path / "a.npz", np.random.default_rng(0), 0, []
    np.savez_compressed(path, x=X_TEST, y=Y_TEST)
    good = path.read_bytes()
    expected = load_images(path)
    for content in (b"", b"PK", good[:-1], good[: len(good) // 2], good[9:]):
        path.write_bytes(content)
        with refused(str(path)):
            load_images(path)
    for _ in range(100):
        damaged = bytearray(good)
        damaged[rng.integers(len(good))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            np.testing.assert_array_equal(load_images(path).x_train, expected.x_train)
            n_harmless += 1
        except ValueError as error:
            said.append(str(error))
    assert all(str(path) in sentence for sentence in said)
    assert n_harmless < 50


def test_an_entry_that_promises_more_than_its_bytes_can_hold_is_not_read(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", saved(np.zeros((10, 8, 8), np.uint8)))
    content = bytearray(path.read_bytes())
    place = content.index(b"PK\1\2") + 24  # the size in the table of contents
    content[place : place + 4] = struct.pack("<I", 2**32 - 2)
    path.write_bytes(content)
    with refused("x.npy of", str(path), "promises 4294967294 bytes"):
        load_images(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("x.npy", CONTENT)
    with refused("x.npy of", "compressed or encrypted"):
        load_images(path)


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_what_would_not_fit_into_memory_is_refused_before_it_is_taken(name, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "memory", lambda: 5_000_000)
    x, path = np.zeros((1000, 32, 32), np.uint8), tmp_path / name
    (np.save if name == "a.npy" else np.savez_compressed)(path, x)
    tracemalloc.start()
    with refused("(1000, 32, 32)", "of memory"):
        load_images(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 500_000


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_special_files_are_refused_at_once(name, tmp_path):
    os.mkfifo(tmp_path / name)
    with pytest.raises(OSError, match="Not a regular file"):
        load_images(tmp_path / name)
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    with refused("has no pictures"):
        load_images(tmp_path / name)


def test_a_mapped_array_stays_on_the_disk_in_its_order(tmp_path):
    x = RNG.random((50, 3, 4, 5), dtype=np.float32)
    np.save(tmp_path / "a.npy", x)
    images = load_images(tmp_path / "a.npy", in_memory=False, test_share=0.3)
    for part, expected in ((images.x_train, x[:35]), (images.x_test, x[35:])):
        assert isinstance(part, np.memmap)
        assert not part.flags.writeable
        np.testing.assert_array_equal(part, expected.reshape(len(expected), -1))
    assert images.image_shape == (3, 4, 5)
    assert images.y_train is images.class_names is None


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((5, 4, 4)), ("float32", "float64", "into memory")),
        (np.zeros((5, 4, 4), np.uint8), ("float32", "uint8")),
        (np.asfortranarray(np.zeros((5, 4, 4), np.float32)), ("Fortran",)),
        (np.zeros((5, 4, 4, 3), np.float32), ("channels before",)),
        (np.full((5, 4, 4), 2, np.float32), ("[0, 1]",)),
        (np.zeros((1, 4, 4), np.float32), ("two images",)),
    ],
)
def test_what_cannot_stay_on_the_disk_is_refused(x, words, tmp_path):
    np.save(tmp_path / "a.npy", x)
    with refused(*words):
        load_images(tmp_path / "a.npy", in_memory=False)
    with refused(".npy"):
        load_images(tmp_path, in_memory=False)


def test_a_mapped_array_takes_no_memory(tmp_path):
    np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.float32, (20_000, 28, 28)).flush()  # 63 MB, a sparse file
    tracemalloc.start()
    images = load_images(tmp_path / "a.npy", in_memory=False)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(images.x_train) == 16_000
    assert most < 1_000_000
