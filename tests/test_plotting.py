"""Pictures: pixels where they belong, labels on every axis, bad input refused."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import refused
from hypothesis import given
from hypothesis import strategies as st

from gluon_vae import latent_grid, plotting


@pytest.fixture
def ax():
    fig, ax = plt.subplots()
    yield ax
    fig.canvas.draw()
    plt.close(fig)


@given(
    n=st.integers(1, 12),
    n_columns=st.integers(1, 5),
    pad=st.integers(0, 3),
    height=st.integers(1, 4),
    width=st.integers(1, 4),
)
def test_image_grid_places_every_pixel(n, n_columns, pad, height, width):
    images = np.arange(n * height * width, dtype=float).reshape(n, height, width)
    sheet = plotting.image_grid(images, n_columns, pad=pad, pad_value=-1)
    n_rows = -(-n // n_columns)
    assert sheet.shape == (n_rows * (height + pad) - pad, n_columns * (width + pad) - pad)
    for i in range(n):
        top, left = i // n_columns * (height + pad), i % n_columns * (width + pad)
        np.testing.assert_array_equal(sheet[top : top + height, left : left + width], images[i])
    assert (sheet == -1).sum() == sheet.size - images.size


def test_image_grid_takes_flat_and_channelled_images():
    images = np.random.default_rng(0).random((6, 4, 4))
    sheet = plotting.image_grid(images)
    np.testing.assert_array_equal(plotting.image_grid(images.reshape(6, 16)), sheet)
    np.testing.assert_array_equal(plotting.image_grid(images[:, None]), sheet)
    assert sheet.shape == (9, 14)  # two rows of three


def test_a_sheet_of_colour_is_three_sheets():
    images = np.random.default_rng(0).random((6, 3, 4, 5))
    options = {"n_columns": 4, "pad_value": 0.5, "row_gaps": [1]}
    sheet = plotting.image_grid(images, **options)
    for i in range(3):
        np.testing.assert_array_equal(sheet[..., i], plotting.image_grid(images[:, i], **options))
    flat = plotting.image_grid(images.reshape(6, -1), image_shape=(3, 4, 5), **options)
    np.testing.assert_array_equal(flat, sheet)


@pytest.mark.parametrize(("channels", "ink", "white"), [(1, True, 0), (1, False, 1), (3, True, 1), (3, False, 1)])
def test_gutters_are_white_and_pixels_are_what_they_say(ax, channels, ink, white):
    images = np.full((4, channels, 6, 4), 0.2)
    flat, shape = images.reshape(4, -1), (channels, 6, 4)
    plotting.plot_images(flat, ax, title="", image_shape=shape, ink=ink)
    plotting.plot_reconstructions(flat[:2], flat[2:], ax, image_shape=shape, ink=ink)
    for drawn in ax.images:
        sheet = np.asarray(drawn.get_array())
        assert sheet.shape == (14, 10) if channels == 1 else (14, 10, 3)
        assert (sheet[6:8] == white).all()
        colors = drawn.to_rgba(sheet)
        np.testing.assert_allclose(colors[7, 0], 1, atol=0.01)
        # Each of 256 levels of a colour map is drawn as the middle of its reach.
        np.testing.assert_allclose(colors[0, 0, :3], 0.8 if ink and channels == 1 else 0.2, atol=0.01)


def test_colour_beyond_its_range_is_drawn_as_the_nearer_end(ax):
    images = np.array([-1, 0.5, 2, np.nan]).repeat(3).reshape(4, 3, 1, 1)
    plotting.show_sheet(plotting.image_grid(images, 4, pad=0), ax)
    np.testing.assert_array_equal(ax.images[0].get_array()[0], [[0] * 3, [0.5] * 3, [1] * 3, [1] * 3])


@pytest.mark.parametrize(
    ("shape", "said", "came"),
    [
        ((0, 4), "non-empty", "(0, "),
        ((4,), "non-empty", "(4,)"),
        ((3, 5), "image_shape", "5"),
        ((2, 4, 4, 4), "alpha channel", "(2, 4, 4, 4)"),
        ((2, 4, 4, 3), "transpose", "(2, 4, 4, 3)"),
        ((), "non-empty", "()"),
    ],
)
def test_image_grid_refuses_other_shapes(shape, said, came):
    with refused("images", said, f"got {came}"):
        plotting.image_grid(np.zeros(shape))


def test_gutters_stand_where_they_are_asked_for_and_move_no_pixel():
    images = np.arange(6 * 9 * 6, dtype=float).reshape(6, 9, 6) + 1
    plain = plotting.image_grid(images, 3, pad=1, pad_value=0)
    sheet = plotting.image_grid(images, 3, pad=1, pad_value=0, row_gaps=[1], column_gaps=(1, 2))
    assert sheet.shape == (plain.shape[0] + 3, plain.shape[1] + 2 * 2)
    np.testing.assert_array_equal(np.delete(np.delete(sheet, [10, 11, 12], axis=0), [7, 8, 16, 17], axis=1), plain)
    assert not sheet[9:13].any()
    assert not sheet[:, 6:9].any()


@pytest.mark.parametrize(
    ("gaps", "words"),
    [
        ({"row_gaps": [2]}, ["row_gaps", "1 to 1", "2"]),
        ({"column_gaps": [0]}, ["column_gaps", "0"]),
        ({"column_gaps": (1, 3)}, ["column_gaps", "1 to 2", "3"]),
    ],
)
def test_gutters_outside_of_a_sheet_are_refused(gaps, words):
    with refused(*words):
        plotting.image_grid(np.zeros((6, 4)), 3, **gaps)


def test_labels_and_frames_stand_at_their_images(ax):
    images = np.zeros((6, 8, 10))
    images[4] = 1
    names = {"row_labels": ["real", "drawn"], "column_labels": [0, 1, 2]}
    plotting.plot_images(images, ax, title="", n_columns=3, row_gaps=[1], column_gaps=[1], framed=[4], **names)
    ax.figure.canvas.draw()
    rows, columns = np.nonzero(np.asarray(ax.images[0].get_array()))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["real", "drawn"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "1", "2"]
    assert ax.get_yticks()[1] == rows.mean()
    assert ax.get_xticks()[1] == columns.mean()
    (frame,) = ax.patches
    assert frame.get_x() < columns.min() < columns.max() < frame.get_x() + frame.get_width()
    assert frame.get_y() < rows.min() < rows.max() < frame.get_y() + frame.get_height()
    # The frame stays within the pad of two pixels.
    assert frame.get_width() <= 10 + 2
    assert frame.get_height() <= 8 + 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"row_labels": ["one"]}, ["row_labels", "2", "1"]),
        ({"column_labels": "abcd"}, ["column_labels", "3", "4"]),
        ({"framed": [6]}, ["framed", "0 to 5", "6"]),
        ({"framed": [-1]}, ["framed", "0 to 5", "-1"]),
    ],
)
def test_labels_of_another_number_and_frames_elsewhere_are_refused(ax, arguments, words):
    with refused(*words):
        plotting.plot_images(np.zeros((6, 4)), ax, title="", n_columns=3, **arguments)


HISTORY = {"epoch": [1, 2], "train_loss": [5.0, 4.0], "test_loss": [6.0, 5.0], "train_kl": [1.0, 2.0]}


def test_plot_history_draws_the_elbo_as_minus_the_loss(ax):
    assert plotting.plot_history(HISTORY, ax) is ax
    assert [line.get_ydata().tolist() for line in ax.lines] == [[-5, -4], [-6, -5]]
    assert ax.get_ylabel() == "ELBO (nats per image)"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["train", "test"]


def test_plot_history_draws_terms_and_leaves_out_what_is_missing(ax):
    plotting.plot_history(HISTORY, ax, term="kl")
    assert [line.get_ydata().tolist() for line in ax.lines] == [[1, 2]]
    with refused("term", "'accuracy'"):
        plotting.plot_history(HISTORY, ax, term="accuracy")


@pytest.mark.parametrize("uniform", [False, True])
def test_plot_latent_shows_every_digit(ax, uniform):
    mu = np.random.default_rng(0).normal(size=(200, 2))
    labels = np.arange(200) % 10
    assert plotting.plot_latent(mu, labels, ax, uniform=uniform) is ax
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list("0123456789")
    points = np.concatenate([c.get_offsets() for c in ax.collections])
    assert len(points) == 200
    assert ax.get_aspect() == 1
    if uniform:
        assert 0 <= points.min() <= points.max() <= 1


@pytest.mark.parametrize("uniform", [False, True])
@pytest.mark.parametrize("spread", [1.0, 1e-3])
def test_plot_latent_sets_the_names_of_digits_apart_and_inside(ax, uniform, spread):
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 10
    mu = np.where((labels == 1)[:, None], [-5, 0], spread * rng.normal(size=(300, 2)))
    mu[labels == 0] = 3 * rng.normal(size=(30, 2))
    plotting.plot_latent(mu, labels, ax, uniform=uniform, legend=False)
    assert ax.get_legend() is None
    places = np.array([text.xy for text in ax.texts])
    assert [text.get_text() for text in ax.texts] == list("0123456789")
    ax.figure.canvas.draw()
    assert ((places > [ax.get_xlim()[0], ax.get_ylim()[0]]) & (places < [ax.get_xlim()[1], ax.get_ylim()[1]])).all()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_planes_of_different_codes_are_equally_high():
    fig, axes = plt.subplots(1, 2, figsize=(8, 4), layout="constrained")
    labels = np.arange(100) % 10
    for ax, stretch in zip(axes, ([3, 1], [0.5, 2])):
        plotting.plot_latent(np.random.default_rng(0).normal(size=(100, 2)) * stretch, labels, ax, legend=False)
    fig.canvas.draw()
    boxes = [ax.get_window_extent() for ax in axes]
    assert boxes[0].height == pytest.approx(boxes[1].height)
    for ax in axes:
        points = ax.collections[0].get_offsets()
        assert np.diff(ax.get_xlim()) == pytest.approx(np.diff(ax.get_ylim()))
        assert ax.get_xlim()[0] < points[:, 0].min() < points[:, 0].max() < ax.get_xlim()[1]
        assert ax.get_ylim()[0] < points[:, 1].min() < points[:, 1].max() < ax.get_ylim()[1]
    plt.close(fig)


@pytest.mark.parametrize("digits", [[0, 0], [1e-9, 0], [-4, 0], [3, 3]])
def test_plot_latent_names_digits_that_lie_on_one_place(digits, ax):
    mu = np.concatenate([np.tile(np.array(digits, float), (40, 1)), [[1, digits[1]], [2, digits[1]]]])
    plotting.plot_latent(mu, np.arange(42) % 10, ax)
    places = np.array([text.xy for text in ax.texts])
    assert np.isfinite(places).all()
    assert len(np.unique(places, axis=0)) == 10


def test_plot_latent_keeps_many_points_as_pixels(ax):
    for n in (500, 510):
        plotting.plot_latent(np.random.default_rng(0).normal(size=(n, 2)), np.arange(n) % 10, ax)
        assert ax.collections[-1].get_rasterized() == (n > 500)


@pytest.mark.parametrize(
    ("mu", "labels", "words"),
    [
        (np.zeros((4, 3)), np.zeros(4, int), ["mu", "2-D", "(4, 3)"]),
        (np.zeros((4, 2)), np.zeros(3, int), ["labels", "4"]),
        (np.zeros((4, 2)), np.full(4, -1), ["labels"]),
        (np.zeros((4, 2)), np.full(4, 10**9), ["labels", "999"]),
        (np.zeros((4, 2)), np.zeros(4), ["labels"]),
        (np.full((4, 2), np.nan), np.zeros(4, int), ["mu"]),
    ],
)
def test_plot_latent_refuses_what_it_cannot_draw(ax, mu, labels, words):
    with refused(*words):
        plotting.plot_latent(mu, labels, ax)


@pytest.mark.parametrize("n", [3, 10, 26, 47, 100])
def test_plot_latent_draws_any_number_of_classes(ax, n):
    labels = np.arange(4 * n) % n
    plotting.plot_latent(np.random.default_rng(0).normal(size=(4 * n, 2)), labels, ax)
    names = [str(i) for i in range(n)]
    assert [text.get_text() for text in ax.texts] == names
    assert [text.get_text() for text in ax.get_legend().get_texts()] == names
    assert ax.get_legend().get_title().get_text() == ("digit" if n <= 10 else "class")
    looks = set()
    for drawn in ax.collections:
        marker = drawn.get_paths()[0].vertices.tobytes()
        looks |= {(marker, *color) for color in drawn.get_facecolors()}
    assert len(looks) == n  # no two classes alike
    assert sum(len(drawn.get_offsets()) for drawn in ax.collections) == 4 * n
    ax.figure.canvas.draw()
    places = np.array([text.xy for text in ax.texts])
    assert ((places > [ax.get_xlim()[0], ax.get_ylim()[0]]) & (places < [ax.get_xlim()[1], ax.get_ylim()[1]])).all()


def test_plot_latent_calls_classes_by_their_names(ax):
    mu, labels = np.random.default_rng(0).normal(size=(30, 2)), np.arange(30) % 3
    plotting.plot_latent(mu, labels, ax, class_names=["cat", "ox", "dog"])
    assert [text.get_text() for text in ax.texts] == ["cat", "ox", "dog"]
    plotting.plot_latent(mu, 2 * (labels > 0), ax, class_names=("setosa", "none", "a flower of long name"))
    assert [text.get_text() for text in ax.texts[3:]] == ["0", "2"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["0  setosa", "2  a flower of l…"]
    for names, words in ((["a", "b"], ["labels", "0 to 1"]), ("abc", ["class_names", "'abc'"]), ([1, 2, 3], ["str"])):
        with refused(*words):
            plotting.plot_latent(mu, labels, ax, class_names=names)


def test_plot_latent_without_labels_draws_all_alike(ax):
    plotting.plot_latent(np.random.default_rng(0).normal(size=(30, 2)), None, ax)
    (drawn,) = ax.collections
    assert len(drawn.get_facecolors()) == 1
    assert len(drawn.get_offsets()) == 30
    assert not ax.texts
    assert ax.get_legend() is None


def test_plot_latent_grid_puts_a_node_at_its_coordinates(ax):
    z, ticks = latent_grid(5)
    images = np.zeros((25, 16))
    bright = 7  # second row from the top, third column
    images[bright] = 1
    plotting.plot_latent_grid(images, ticks, ax)
    sheet, (left, right, bottom, top) = ax.images[0].get_array(), ax.images[0].get_extent()
    rows, columns = np.nonzero(np.asarray(sheet))
    column = left + (columns.mean() + 0.5) / sheet.shape[1] * (right - left)
    row = top - (rows.mean() + 0.5) / sheet.shape[0] * (top - bottom)
    np.testing.assert_allclose([ticks[round(column)], ticks[round(row)]], z[bright], rtol=1e-6)
    for place, name in zip(ax.get_xticks(), ax.get_xticklabels()):
        assert np.interp(place, np.arange(5), ticks) == pytest.approx(float(name.get_text()))


@pytest.mark.parametrize(
    ("ticks", "names"),
    [
        (latent_grid(20)[1], ["-1.5", "-1", "-0.5", "0", "0.5", "1", "1.5"]),
        (latent_grid(20, n_sigma=3)[1], ["-3", "-1", "-0.5", "0", "0.5", "1", "3"]),
        (np.linspace(-40, 40, 9), ["-40", "-30", "-20", "-10", "0", "10", "20", "30", "40"]),
        (np.arange(5.0), ["0", "1", "2", "3", "4"]),
        (np.array([0.31, 0.33]), ["0.31", "0.33"]),
        (np.array([1.0, -1.0]), ["1", "-1"]),
        (np.array([-0.0]), ["0"]),
    ],
)
def test_a_latent_grid_is_labelled_at_round_coordinates(ax, ticks, names):
    plotting.plot_latent_grid(np.zeros((len(ticks) ** 2, 4)), ticks, ax)
    for axis in (ax.xaxis, ax.yaxis):
        assert [label.get_text() for label in axis.get_ticklabels()] == names


@pytest.mark.parametrize("shape", [(3, 2, 4), (1, 6, 3)])
def test_a_latent_grid_of_pictures_that_are_not_square_leaves_them_their_sides(ax, shape):
    images, (_, height, width) = np.random.default_rng(0).random((9, *shape)), shape
    plotting.plot_latent_grid(images.reshape(9, -1), np.arange(3.0), ax, image_shape=shape, ink=False)
    assert ax.images[0].get_array().shape[:2] == (3 * height, 3 * width)
    assert tuple(ax.images[0].get_extent()) == (-0.5, 2.5, -0.5, 2.5)
    assert ax.get_aspect() == height / width


def test_plot_latent_grid_refuses_another_number_of_images(ax):
    with refused("images", "25", "24"):
        plotting.plot_latent_grid(np.zeros((24, 16)), np.arange(5.0), ax)


def test_plot_reconstructions_sets_each_below_its_original(ax):
    x, output = np.zeros((3, 16)), np.ones((3, 16))
    plotting.plot_reconstructions(x, output, ax)
    sheet = np.asarray(ax.images[0].get_array())
    assert sheet[:4].max() == 0
    assert sheet[-4:, :4].min() == 1
    with pytest.raises(ValueError, match="output"):
        plotting.plot_reconstructions(x, output[:2], ax)


def test_the_style_of_the_course_is_asked_for_and_found():
    with plt.rc_context():
        plotting.use_course_style()
        assert plt.rcParams["svg.hashsalt"] == "gluon-vae"
        assert not plt.rcParams["axes.spines.top"]
    assert plt.rcParams["axes.spines.top"]


def test_every_score_is_in_a_bar_and_every_group_has_the_area_of_one(ax):
    rng = np.random.default_rng(0)
    groups = {"held out": rng.normal(100, 5, 400), "scored": np.array([1e6, 90.0, -1e6])}
    assert plotting.plot_scores(groups, ax, threshold=108.5) is ax
    heights = [[bar.get_height() for bar in container] for container in ax.containers]
    assert [sum(bars) for bars in heights] == pytest.approx([1, 1])
    assert [heights[1][0], heights[1][-1]] == pytest.approx([1 / 3, 1 / 3])  # what is far outside, at the ends
    assert "beyond" in ax.get_xlabel()
    assert 40 < ax.get_xlim()[0] < ax.get_xlim()[1] < 170
    said = {text.get_text() for text in ax.get_legend().get_texts()}
    assert said == {"threshold, 108.5", "held out", "scored"}


@pytest.mark.parametrize("values", [[3.0], [3.0, 3.0], [-2.0, 5.0]])
def test_few_or_equal_scores_are_drawn(values, ax):
    plotting.plot_scores({"held out": np.array(values)}, ax)
    assert sum(bar.get_height() for bar in ax.containers[0]) == pytest.approx(1)
    assert "beyond" not in ax.get_xlabel()
    with refused("held out must be finite"):
        plotting.plot_scores({"held out": np.array([np.nan])}, ax)
    with refused("scores must have a group"):
        plotting.plot_scores({}, ax)
