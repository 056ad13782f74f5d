"""Folders of pictures: which files, which classes, and what becomes of every kind of pixel."""

import io
import os
import shutil
import struct
import zlib

import numpy as np
import pytest
from conftest import refused
from PIL import Image, ImageOps

from gluon_vae import load_images, machine, picture_files
from gluon_vae.images import describe

RNG = np.random.default_rng(0)
HEIGHT, WIDTH = 4, 6
COLOUR = RNG.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
GREY = COLOUR[..., 0]


def save(path, array, mode=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options) if mode is None else array.save(path, **options)


def folder_of(folder, picture, n=3, name="{}.png", **options):
    """Write the same picture several times."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(n):
        picture.save(folder / name.format(number), **options)
    return folder


def read(folder, **options):
    """Return the one picture of which a folder has several copies, (channels, height, width)."""
    images = load_images(folder, **options)
    assert (images.x_train == images.x_test[0]).all()
    return images.x_test[0].reshape(images.image_shape)


def planes(array):
    """Return bytes (height, width) or (height, width, 3) as they are to be read."""
    x = array.astype(np.float32) / np.float32(255)
    return x[None] if x.ndim == 2 else np.moveaxis(x, -1, 0)


def test_sub_folders_are_classes_and_train_and_test_are_parts(tmp_path):
    values = {"cats": 10, "dogs": 20, "äpfel": 30}
    for part, n in (("train", 4), ("test", 2)):
        for name, value in values.items():
            for number in range(n):
                save(tmp_path / part / name / f"{number}.png", np.full((3, 2), value + number, np.uint8))
    (tmp_path / "train" / "cats" / ".DS_Store").write_bytes(b"of a file manager")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    images = load_images(tmp_path)
    assert describe(images) == "12 training and 6 test pictures, 1 x 3 x 2, 3 classes: cats, dogs, äpfel"
    for x, y, n in ((images.x_train, images.y_train, 4), (images.x_test, images.y_test, 2)):
        assert np.rint(x[:, 0] * 255).tolist() == [value + i for value in values.values() for i in range(n)]
        assert y.tolist() == np.repeat([0, 1, 2], n).tolist()
    assert images.ink is False
    one = load_images(tmp_path / "train", test_share=0.5)
    assert np.bincount(one.y_test).tolist() == [2, 2, 2]
    assert load_images(tmp_path / "train" / "cats").class_names is None


KINDS = {
    "black and white.png": (Image.fromarray(GREY > 128), planes((GREY > 128) * np.uint8(255))),
    "grey.png": (Image.fromarray(GREY), planes(GREY)),
    "grey.pgm": (Image.fromarray(GREY), planes(GREY)),
    "grey.bmp": (Image.fromarray(GREY), planes(GREY)),
    "16 bits.png": (Image.fromarray(GREY * np.uint16(256) + np.uint16(7)), None),
    "16 bits.tif": (Image.fromarray(GREY * np.uint16(256) + np.uint16(7)), None),
    "16 bits.pgm": (Image.fromarray(GREY * np.uint16(256) + np.uint16(7)), None),
    "colour.png": (Image.fromarray(COLOUR), planes(COLOUR)),
    "colour.TIFF": (Image.fromarray(COLOUR), planes(COLOUR)),
    "colour.ppm": (Image.fromarray(COLOUR), planes(COLOUR)),
    "opaque.png": (Image.fromarray(np.dstack([COLOUR, np.full_like(GREY, 255)])), planes(COLOUR)),
    "opaque grey.png": (Image.fromarray(GREY).convert("LA"), planes(GREY)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_pixel_is_read_to_the_last_bit(kind, tmp_path):
    picture, expected = KINDS[kind]
    suffix = os.path.splitext(kind)[1]
    if expected is None:
        expected = ((GREY.astype(np.float32) * 256 + 7) / np.float32(65535))[None]
    np.testing.assert_array_equal(read(folder_of(tmp_path, picture, name="{}" + suffix)), expected)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".gif"])
def test_pictures_of_lossy_formats_and_palettes_are_read_as_pillow_reads_them(suffix, tmp_path):
    folder_of(tmp_path, Image.fromarray(COLOUR), name="{}" + suffix)
    with Image.open(tmp_path / f"0{suffix}") as opened:
        expected = np.asarray(opened.convert("RGB"))
    np.testing.assert_array_equal(read(tmp_path), planes(expected))
    palette = Image.fromarray(COLOUR).quantize(8)
    folder_of(tmp_path / "palette", palette)
    np.testing.assert_array_equal(read(tmp_path / "palette"), planes(np.asarray(palette.convert("RGB"))))


def test_in_a_set_with_colour_grey_has_three_equal_channels(tmp_path):
    save(tmp_path / "colour" / "0.png", COLOUR)
    save(tmp_path / "colour" / "1.png", COLOUR)
    save(tmp_path / "grey" / "0.png", GREY)
    save(tmp_path / "grey" / "1.png", GREY)
    images = load_images(tmp_path)
    assert images.image_shape == (3, HEIGHT, WIDTH)
    of_class = dict(zip(images.y_train, images.x_train))
    np.testing.assert_array_equal(of_class[0].reshape(3, HEIGHT, WIDTH), planes(COLOUR))
    np.testing.assert_array_equal(of_class[1].reshape(3, HEIGHT, WIDTH), np.repeat(planes(GREY), 3, axis=0))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["colour.png", "16 bits.png"])
def test_a_picture_is_turned_as_its_camera_was_held(orientation, kind, tmp_path):
    turn = {
        1: lambda x: x,
        2: lambda x: x[:, ::-1],
        3: lambda x: x[::-1, ::-1],
        4: lambda x: x[::-1],
        5: lambda x: x.swapaxes(0, 1),
        6: lambda x: x.swapaxes(0, 1)[:, ::-1],
        7: lambda x: x.swapaxes(0, 1)[::-1, ::-1],
        8: lambda x: x.swapaxes(0, 1)[::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture, expected = KINDS[kind]
    folder_of(tmp_path, picture, exif=exif)
    if expected is None:
        expected = ((turn(GREY).astype(np.float32) * 256 + 7) / np.float32(65535))[None]
    else:
        expected = planes(turn(COLOUR))
    np.testing.assert_array_equal(read(tmp_path), expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_are_refused_or_laid_over_what_is_asked_for(mode, tmp_path):
    alpha = np.linspace(0, 255, GREY.size).round().astype(np.uint8).reshape(GREY.shape)
    if mode == "P":
        picture = Image.fromarray(COLOUR).quantize(8)
        folder_of(tmp_path, picture, transparency=0)
        colour, alpha = np.asarray(picture.convert("RGB")), np.where(np.asarray(picture) == 0, 0, 255)
    else:
        colour = COLOUR if mode == "RGBA" else GREY
        folder_of(tmp_path, Image.fromarray(np.dstack([colour, alpha])))
    with refused("0.png", "transparent", "background"):
        load_images(tmp_path)
    share = (alpha / 255)[..., None] if colour.ndim == 3 else alpha / 255
    for background, value in (("white", 255), ("black", 0)):
        expected = planes(share * colour + (1 - share) * value)
        np.testing.assert_allclose(read(tmp_path, background=background), expected, atol=1.01 / 255)


def test_another_size_is_scaled_until_it_covers_the_shape_and_cut_to_the_middle(tmp_path):
    wide = np.zeros((8, 24), np.uint8)
    wide[:, 8:16] = 200  # the square in the middle, of which the edges are blurred
    middle = read(folder_of(tmp_path / "wide", Image.fromarray(wide)), image_shape=(1, 4, 4))
    np.testing.assert_allclose(middle, 200 / 255, atol=12 / 255)
    ramp = np.tile(np.linspace(0, 240, 24).round().astype(np.uint8), (24, 1))
    small = read(folder_of(tmp_path / "ramp", Image.fromarray(ramp)), image_shape=(1, 6, 6))
    means = (ramp / 255).reshape(6, 4, 6, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(small[0, :, 1:-1], means[:, 1:-1], atol=1.5 / 255)
    deep = read(folder_of(tmp_path / "deep", Image.fromarray(ramp * np.uint16(257))), image_shape=(1, 6, 6))
    np.testing.assert_allclose(deep, small, atol=1 / 255)
    assert 0 <= deep.min() <= deep.max() <= 1


def test_a_picture_of_the_size_is_untouched_and_colour_becomes_luminance_only_when_asked(tmp_path):
    folder_of(tmp_path, Image.fromarray(COLOUR))
    np.testing.assert_array_equal(read(tmp_path, image_shape=(3, HEIGHT, WIDTH)), planes(COLOUR))
    luminance = read(tmp_path, image_shape=(1, HEIGHT, WIDTH))
    np.testing.assert_allclose(luminance[0], COLOUR @ [0.299, 0.587, 0.114] / 255, atol=0.51 / 255)
    edges = np.zeros((12, 12), np.uint16)
    edges[:, 6:] = 65535
    sharp = read(folder_of(tmp_path / "edges", Image.fromarray(edges)), image_shape=(1, 5, 5))
    assert 0 <= sharp.min() <= sharp.max() <= 1  # the filter overshoots


def test_sizes_that_differ_are_named_unless_one_is_asked_for(tmp_path):
    save(tmp_path / "a.png", GREY)
    save(tmp_path / "b.png", GREY[1:])
    with refused(f"{tmp_path / 'a.png'} has 4 x 6", f"{tmp_path / 'b.png'} has 3 x 6", "image_shape="):
        load_images(tmp_path)
    assert load_images(tmp_path, image_shape=(3, 2, 2)).x_train.shape == (1, 12)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([], ("has no pictures",)),
        (["Thumbs.db"], ("has no pictures",)),
        (["a/0.png", "b/"], ("b has no pictures", "class")),
        (["a/0.png", "notes.txt"], ("beside them notes.txt",)),
        (["a/0.png", "a/b/0.png"], ("b cannot be read: it is a folder",)),
        (["0.png", "notes.txt"], ("notes.txt cannot be read: its name does not end",)),
        (["0.png", ".hidden"], (".hidden cannot be read",)),
        (["0.png", "x_train.npy"], ("x_train.npy cannot be read",)),
        (["train/0.png", "test/a/0.png"], ("classes in one of train and test",)),
        (["train/0.png", "test/"], ("test has no pictures",)),
    ],
)
def test_what_a_folder_may_not_hold_is_named(files, words, tmp_path):
    for name in files:
        if name.endswith("/"):
            (tmp_path / name).mkdir(parents=True)
        else:
            save(tmp_path / name, GREY, format="PNG")
    with refused(str(tmp_path), *words):
        load_images(tmp_path)


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width, height, content=b""):
    header = struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def encoded(picture, kind="PNG", **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


GOOD = encoded(Image.fromarray(COLOUR))
BAD = {
    "empty": (b"", "damaged or none of"),
    "text": (b"<html>403</html>", "damaged or none of"),
    "half": (GOOD[: len(GOOD) // 2], ""),
    "half a JPEG": (encoded(Image.fromarray(COLOUR), "JPEG")[:-30], "truncated"),
    "a bomb of 40000 x 40000": (png(40000, 40000, zlib.compress(bytes(1000))), "more pixels than"),
    "a bomb of 12000 x 8000": (png(12000, 8000, zlib.compress(bytes(1000))), "12000 x 8000 pixels"),
    "fewer pixels than promised": (png(WIDTH, HEIGHT, zlib.compress(bytes(9))), ""),
    "another format": (encoded(Image.fromarray(COLOUR), "ICO"), "none of PNG"),
    "two frames": (
        encoded(
            Image.new("L", (WIDTH, HEIGHT)), "GIF", save_all=True, append_images=[Image.new("L", (WIDTH, HEIGHT), 9)]
        ),
        "more than one picture",
    ),
    "CMYK": (encoded(Image.new("CMYK", (WIDTH, HEIGHT)), "JPEG"), "CMYK"),
    "32 bits": (encoded(Image.new("F", (WIDTH, HEIGHT)), "TIFF"), "kind F"),
    "32-bit integers": (encoded(Image.new("I", (WIDTH, HEIGHT)), "TIFF"), "kind I"),
}


@pytest.mark.parametrize("damage", BAD)
def test_bad_pictures_are_named_with_the_reason(damage, tmp_path):
    content, word = BAD[damage]
    save(tmp_path / "a.png", COLOUR)
    for name in "bcdef":
        (tmp_path / f"{name}.png").write_bytes(content)
    with refused("b.png cannot be read", "d.png cannot be read", "and 2 more", word) as refusal:
        load_images(tmp_path)
    assert "a.png" not in str(refusal.value)
    assert "e.png" not in str(refusal.value)


def test_random_damage_is_never_anything_but_a_value_error(tmp_path):
    picture = Image.fromarray(np.tile(COLOUR, (4, 4, 1)))
    rng, n_harmless = np.random.default_rng(0), 0
    save(tmp_path / "a.png", picture, "")
    for kind, suffix in (("PNG", "png"), ("JPEG", "jpg"), ("TIFF", "tif"), ("GIF", "gif"), ("WEBP", "webp")):
        good, path, said = encoded(picture, kind), tmp_path / f"b.{suffix}", []
        for _ in range(25):
            damaged = bytearray(good)
            for place in rng.integers(min(len(good), 300), size=2):
                damaged[place] ^= 1 << rng.integers(8)
            path.write_bytes(damaged)
            try:
                load_images(tmp_path)
                n_harmless += 1
            except ValueError as error:
                said.append(str(error))
        assert all(str(path) in sentence for sentence in said)
        path.unlink()
    assert 0 < n_harmless < 125


def test_special_files_and_links(tmp_path):
    save(tmp_path / "pictures" / "a.png", COLOUR)
    shutil.copy(tmp_path / "pictures" / "a.png", tmp_path / "elsewhere.png")
    (tmp_path / "pictures" / "b.png").symlink_to(tmp_path / "elsewhere.png")
    assert len(load_images(tmp_path / "pictures").x_train) == 1
    os.mkfifo(tmp_path / "pictures" / "c.png")
    (tmp_path / "pictures" / "d.png").symlink_to("d.png")
    (tmp_path / "pictures" / "e.png").symlink_to("nowhere.png")
    with refused("c.png cannot be read: Not a regular file", "d.png cannot be read", "e.png cannot be read"):
        load_images(tmp_path / "pictures")


def test_what_would_not_fit_into_memory_is_refused_before_a_picture_is_decoded(tmp_path, monkeypatch):
    folder_of(tmp_path, Image.fromarray(COLOUR))
    monkeypatch.setattr(machine, "memory", lambda: 500)
    monkeypatch.setattr(picture_files, "_values", None)
    with refused(str(tmp_path), "(3, 3, 4, 6)", "of memory"):
        load_images(tmp_path)


def test_pillow_s_own_way_of_fitting_is_what_is_described(tmp_path):
    picture = Image.fromarray(np.tile(COLOUR, (3, 5, 1)))
    expected = ImageOps.fit(picture, (5, 7), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(
        read(folder_of(tmp_path, picture), image_shape=(3, 7, 5)), planes(np.asarray(expected))
    )
