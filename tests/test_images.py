"""Images of one's own: what arrays mean, how labels are numbered, how the test part is chosen."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import refused
from hypothesis import given
from hypothesis import strategies as st

import gluon_vae
from gluon_vae import data, load_images, pixels
from gluon_vae.images import describe

RNG = np.random.default_rng(0)


def numbered_pictures(n, channels, height, width):
    """Return bytes (n, channels, height, width), the first number of each telling which it is."""
    x = RNG.integers(0, 256, (n, channels, height, width)).astype(np.uint8)
    x[:, 0, 0, 0] = np.arange(n)
    return x


def together(images):
    """Return all images of both parts in the order of their first numbers."""
    x = np.concatenate([images.x_train, images.x_test])
    return x[np.argsort(x[:, 0], kind="stable")]


sides = st.integers(1, 9)
dtypes = st.sampled_from(["uint8", "float16", ">f4", "float32", "float64", "bool"])


@given(n=st.integers(2, 12), channels=st.sampled_from([1, 3]), sides=st.tuples(sides, sides), dtype=dtypes)
def test_every_layout_of_the_same_pictures_is_the_same_images(n, channels, sides, dtype):
    shape = (channels, *sides)
    x = np.random.default_rng(n).integers(0, 256, (n, *shape)).astype(np.uint8)
    x = x if dtype == "uint8" else (x > 128) if dtype == "bool" else (x / 255).astype(dtype)
    expected = (x.astype("float64") / (255 if dtype == "uint8" else 1)).astype("float32").reshape(n, -1)
    layouts = [x.reshape(n, -1)] + ([x[:, 0]] if channels == 1 else [])
    if shape != (3, 3, 3):  # which no word can settle
        layouts.append(x)
        if (1, *sides) != (1, 1, 1) or channels == 3:
            layouts.append(np.moveaxis(x, 1, -1))
    for layout in layouts:
        flat, found = pixels.flat("x", np.ascontiguousarray(layout), shape)
        assert found == shape
        floats = pixels.as_floats("x", flat)
        assert floats.dtype == np.float32
        np.testing.assert_array_equal(floats, expected)


@pytest.mark.parametrize(
    ("shape", "found", "width"),
    [
        ((5, 8, 9), (1, 8, 9), 72),
        ((5, 1, 8, 9), (1, 8, 9), 72),
        ((5, 8, 9, 1), (1, 8, 9), 72),
        ((5, 3, 8, 9), (3, 8, 9), 216),
        ((5, 8, 9, 3), (3, 8, 9), 216),
        ((5, 64), (1, 8, 8), 64),
    ],
)
def test_what_a_shape_can_mean_only_one_way_needs_no_word(shape, found, width):
    flat, image_shape = pixels.flat("x", np.zeros(shape), None)
    assert image_shape == found
    assert flat.shape == (5, width)


@pytest.mark.parametrize(
    ("shape", "given", "words"),
    [
        ((5, 3, 8, 3), None, ("image_shape=(3, 3, 8) or image_shape=(3, 8, 3)",)),
        ((5, 1, 8, 3), None, ("image_shape=(1, 8, 3) or image_shape=(3, 1, 8)",)),
        ((5, 3, 3, 3), None, ("reshape(n, -1)", "image_shape=(3, 3, 3)")),
        ((5, 3, 3, 3), (3, 3, 3), ("reshape(n, -1)",)),
        ((5, 8, 3), None, ("could be a picture", "image_shape=(1, 8, 3)")),
        ((5, 48), None, ("width of source", "48", "image_shape=(channels, height, width)")),
        ((5, 48), (3, 4, 5), ("width of source", "48", "of 60")),
        ((5, 8, 9), (3, 8, 9), ("(1, 8, 9)", "image_shape=(3, 8, 9)")),
        ((5, 8, 9, 3), (3, 9, 8), ("(3, 8, 9)", "image_shape=(3, 9, 8)")),
        ((5, 8, 9, 4), None, ("1 or 3 channels", "alpha")),
        ((5, 2, 8, 9), None, ("1 or 3 channels",)),
        ((5,), None, ("non-empty",)),
        ((0, 8, 9), None, ("non-empty", "(0, 8, 9)")),
        ((5, 1, 2, 3, 4), None, ("(n, height, width)",)),
        ((5, 8, 9), (8, 9, 1), ("(1, 8, 9)", "channels come first")),
        ((5, 8, 9), "1,8,9", ("image_shape",)),
    ],
)
def test_what_a_shape_cannot_mean_or_means_twice_is_refused(shape, given, words):
    with refused(*words):
        load_images(np.zeros(shape), image_shape=given)


def test_an_ambiguous_shape_is_settled_by_image_shape():
    x = numbered_pictures(5, 3, 8, 3)
    first, _ = pixels.flat("x", x, (3, 8, 3))
    last, _ = pixels.flat("x", x, (3, 3, 8))
    np.testing.assert_array_equal(first, x.reshape(5, -1))
    np.testing.assert_array_equal(last, x.transpose(0, 3, 1, 2).reshape(5, -1))
    assert pixels.flat("x", np.zeros((5, 8, 3)), (1, 8, 3))[1] == (1, 8, 3)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.full((4, 2, 2), 2.0), ("[0, 1]", "scale it")),
        (np.full((4, 2, 2), -0.1), ("[0, 1]", "scale it")),
        (np.full((4, 2, 2), np.nan), ("finite",)),
        (np.zeros((4, 2, 2), np.uint16), ("uint16", "convert")),
        (np.zeros((4, 2, 2), int), ("int64", "convert")),
        (np.zeros((4, 2, 2), complex), ("complex128",)),
        (np.full((4, 2, 2), "a"), ("<U1",)),
        (np.ma.masked_less(np.zeros((4, 2, 2)), 1), ("masked",)),
    ],
)
def test_numbers_whose_black_and_white_are_not_known_are_refused(x, words):
    with refused("source", *words):
        load_images(x)


def test_bytes_become_the_floats_that_mnist_has():
    x = load_images(np.arange(256, dtype=np.uint8).reshape(256, 1, 1, 1)).x_train
    assert set(x.ravel()) <= set((np.arange(256) / 255).astype(np.float32))


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([7, -2, 7, -2, 300, 300], ("-2", "7", "300")),  # in the order of numbers, not of text
        (np.array([7, 5, 7, 5, 6, 6], np.uint64), ("5", "6", "7")),
        (["dog", "cat", "dog", "cat", "ape", "ape"], ("ape", "cat", "dog")),
        ([b"dog", b"cat", b"dog", b"cat", b"\xc3\xa4pe", b"\xc3\xa4pe"], ("cat", "dog", "äpe")),
        ([[1], [0], [1], [0], [2], [2]], ("0", "1", "2")),
    ],
)
def test_labels_of_any_kind_are_numbered_and_keep_their_names(labels, names):
    images = load_images(numbered_pictures(6, 1, 2, 2), labels=labels)
    assert images.class_names == names
    y = np.concatenate([images.y_train, images.y_test])
    assert y.dtype == np.int64
    given = [label.decode() if isinstance(label, bytes) else str(label) for label in np.ravel(labels).tolist()]
    which = np.rint(np.concatenate([images.x_train, images.x_test])[:, 0] * 255).astype(int)
    assert [given[place] for place in which] == [names[number] for number in y]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0, 1, 0, 1, 2, 0], ("one image of class '2'",)),
        ([0, 1, 0, 1], ("4 labels", "6 images")),
        (np.eye(6), ("one-hot", "argmax")),
        (np.eye(6, dtype=int), ("one-hot", "argmax")),
        ([0.0, 1, 0, 1, 0, 1], ("float64", "astype(int)")),
        ([True] * 6, ("bool", "astype(int)")),
        ([None] * 6, ("dtype=str",)),
        (np.full(6, 2**63, np.uint64), ("beyond 64 bits",)),
        (3, ("labels, (n,)", "shape ()")),
    ],
)
def test_labels_that_are_none_are_refused(labels, words):
    with refused(*words):
        load_images(numbered_pictures(6, 1, 2, 2), labels=labels)


@given(
    counts=st.lists(st.integers(2, 40), min_size=1, max_size=6),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 3),
)
def test_a_split_has_every_image_once_and_its_share_of_every_class(counts, share, seed):
    y = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    x = np.arange(len(y), dtype=np.float64)[:, None] / 300
    images, again = (load_images(x, labels=y, test_share=share, seed=seed) for _ in range(2))
    parts = [np.rint(part[:, 0] * 300).astype(int) for part in (images.x_train, images.x_test)]
    assert sorted(np.concatenate(parts)) == list(range(len(y)))
    np.testing.assert_array_equal(y[parts[0]], images.y_train)
    np.testing.assert_array_equal(y[parts[1]], images.y_test)
    for number, count in enumerate(counts):
        n_test = (images.y_test == number).sum()
        assert 1 <= n_test < count
        assert abs(n_test - share * count) <= 1
    np.testing.assert_array_equal(images.x_test, again.x_test)


def test_a_split_is_shuffled_and_follows_its_seed_alone():
    x = np.arange(200)[:, None] / 200
    np.random.seed(1)
    images = load_images(x)
    np.random.seed(2)
    assert images.y_train is images.y_test is images.class_names is None
    assert len(images.x_test) == 40
    assert (np.diff(images.x_test[:, 0]) < 0).any()
    assert (np.diff(images.x_train[:, 0]) < 0).any()
    np.testing.assert_array_equal(load_images(x).x_test, images.x_test)
    assert set(load_images(x, seed=1).x_test[:, 0]) != set(images.x_test[:, 0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"test_share": 0}, ("test_share",)),
        ({"test_share": 1.0}, ("test_share",)),
        ({"seed": -1}, ("seed",)),
        ({"background": "red"}, ("background", "black, white")),
        ({"in_memory": "no"}, ("in_memory",)),
        ({"in_memory": False}, ("array", "ndarray")),
    ],
)
def test_wrong_options_are_named(options, words):
    with refused(*words):
        load_images(np.zeros((5, 2, 2)), **options)


@pytest.mark.parametrize("source", [None, 3, b"sample", ["sample"]])
def test_a_source_of_another_type_is_named(source):
    with refused("source must be", type(source).__name__):
        load_images(source)


def test_a_source_that_is_not_there_or_of_no_known_kind_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    for source in ("", tmp_path / "nowhere", tmp_path / "notes.txt", "/dev/null"):
        with refused("source must be", str(source)):
            load_images(source)
    with refused("labels"):
        load_images(tmp_path, labels=[1])


def test_one_image_alone_cannot_be_split():
    with refused("one image", "two are needed"):
        load_images(np.zeros((1, 2, 2)))


def test_what_is_asked_for_by_name_is_load_mnist_s(sample):
    images = load_images("sample")
    assert all(map(np.array_equal, images[:4], sample))
    assert (
        images[4:] == (sample.image_shape, sample.class_names, sample.ink) == ((1, 28, 28), tuple("0123456789"), True)
    )
    assert isinstance(sample._replace(x_test=sample.x_train), data.Mnist)
    for options, word in (({"test_share": 0.3}, "test_share"), ({"image_shape": (3, 32, 32)}, "784")):
        with refused(word):
            load_images("sample", **options)


def test_what_was_found_is_a_line(sample):
    assert describe(sample) == "4000 training and 1000 test digits, grey"
    x, y = np.zeros((40, 3, 4, 5)), np.arange(40) % 20
    assert describe(load_images(x)) == "32 training and 8 test pictures, 3 x 4 x 5, no labels"
    few = describe(load_images(x, labels=np.array(["a", "b"])[y % 2]))
    assert few == "32 training and 8 test pictures, 3 x 4 x 5, 2 classes: a, b"
    many = describe(load_images(x, labels=y))
    assert many.endswith("20 classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ...")
    long = describe(load_images(x, labels=np.array([f"{'long name ' * 7}\n{number:2}" for number in y])))
    assert "\n" not in long
    assert len(long) < 200


def test_mnist_is_known_by_the_checksums_of_every_part(sample, monkeypatch):
    few = sample._replace(x_train=sample.x_train[:50], y_train=sample.y_train[:50])
    images = gluon_vae.Images(*few, few.image_shape, few.class_names, few.ink)
    files = {key: data._File("", data._checksum(array)) for key, array in few._asdict().items()}
    monkeypatch.setattr(data, "_FILES", files)
    assert describe(images).startswith("MNIST: 50 training and 1000 test pictures, 1 x 28 x 28, 10 classes")
    for key, place in itertools.product(("x_train", "x_test", "y_train", "y_test"), (0, -1)):
        other = getattr(images, key).copy()
        other[place] = other[place] == 0
        assert not describe(images._replace(**{key: other})).startswith("MNIST")
    assert not data.is_mnist(SimpleNamespace(image_shape=(1, 28, 28), y_train=None))
