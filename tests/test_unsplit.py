"""All images of a source, in its order and by their names."""

import gzip
import struct

import numpy as np
from conftest import refused
from PIL import Image

import gluon_vae
from gluon_vae.unsplit import load_unsplit

X = np.random.default_rng(0).integers(0, 256, (6, 5, 4), dtype=np.uint8)
FLAT = (X / np.float32(255)).reshape(6, -1)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def test_pictures_are_called_by_their_files(tmp_path):
    names = ["b/two.png", "a/one.png", "b/one.png", "c.d/x.png"]
    for name, array in zip(names, X):
        save(tmp_path / "pictures" / name, array)
    found = load_unsplit(tmp_path / "pictures")
    assert found.names == ("a/one.png", "b/one.png", "b/two.png", "c.d/x.png")
    np.testing.assert_array_equal(found.x, FLAT[[1, 2, 0, 3]])
    assert (found.image_shape, found.ink) == ((1, 5, 4), False)


def test_both_parts_are_there_with_the_training_part_first(tmp_path):
    for name, array in zip(["test/a.png", "train/b.png", "train/c.png"], X):
        save(tmp_path / "pictures" / name, array)
    np.savez(tmp_path / "x of all.npz", x_test=X[:2], x_train=X[2:])
    found = load_unsplit(tmp_path / "pictures")
    assert found.names == ("train/b.png", "train/c.png", "test/a.png")
    np.testing.assert_array_equal(found.x, FLAT[[1, 2, 0]])
    found = load_unsplit(tmp_path / "x of all.npz")
    assert found.names == ("train[0]", "train[1]", "train[2]", "train[3]", "test[0]", "test[1]")
    np.testing.assert_array_equal(found.x, FLAT[[2, 3, 4, 5, 0, 1]])


def test_one_picture_is_a_source(tmp_path):
    save(tmp_path / "one.PNG", np.stack([X[0]] * 3, axis=2))
    found = load_unsplit(str(tmp_path / "one.PNG"))
    assert (found.names, found.image_shape) == (("one.PNG",), (3, 5, 4))
    np.testing.assert_array_equal(found.x, np.tile(FLAT[:1], 3))
    assert load_unsplit(tmp_path / "one.PNG", image_shape=(1, 8, 8)).x.shape == (1, 64)
    (tmp_path / "two.png").write_bytes(b"no picture")
    with refused("two.png cannot be read"):
        load_unsplit(tmp_path / "two.png")


def test_an_array_is_called_by_its_places_and_idx_files_have_ink(tmp_path):
    np.save(tmp_path / "x.npy", X)
    found = load_unsplit(tmp_path / "x.npy")
    assert found.names == ("0", "1", "2", "3", "4", "5")
    np.testing.assert_array_equal(found.x, FLAT)
    content = struct.pack(">4B3i", 0, 0, 8, 3, *X.shape) + X.tobytes()
    (tmp_path / "images-idx3-ubyte.gz").write_bytes(gzip.compress(content))
    found = load_unsplit(tmp_path / "images-idx3-ubyte.gz")
    assert found.ink
    np.testing.assert_array_equal(found.x, FLAT)


def test_what_load_images_refuses_is_refused(tmp_path):
    with refused("does not exist"):
        load_unsplit(tmp_path / "nowhere")
    np.save(tmp_path / "x.npy", X.astype(int))
    with refused("uint8"):
        load_unsplit(tmp_path / "x.npy")
    assert load_unsplit("sample").x.shape == (5000, 784)
    assert len(gluon_vae.load_images("sample").x_train) == 4000
