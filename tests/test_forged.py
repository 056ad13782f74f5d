"""Checkpoints from strangers: whoever wrote a file, it is refused with one line, or it is a checkpoint."""

import hashlib
import io
import json
import struct
import time
import tracemalloc
import zipfile
from collections import Counter

import forged
import numpy as np
import pytest
from forged import N_OUTPUT, X, Y, npy, signed, taken_apart, valid, zipped

import gluon_vae
from gluon_vae import archive, checkpoint, fit, metadata

from mxnet import nd


@pytest.mark.parametrize("part", range(6))
def test_hundreds_of_forged_files_are_refused_with_one_line_or_in_order(part, tmp_path):
    """``make soak`` has thousands."""
    happened = Counter()
    for seed in range(40 * part, 40 * part + 40):
        happened.update(forged.check_forgery(seed, tmp_path / "c"))
    assert happened["load refused"] > 10
    assert happened["loaded"] > 0
    assert happened["resumed"] > 0


def refused(path, model="VAE", net=None):
    """Return the line with which both ways of reading a file refuse it, in no time and little memory."""
    net = forged.MODELS[model]() if net is None else net
    started = time.perf_counter()
    tracemalloc.start()
    message = forged.refusal_of(lambda: gluon_vae.load(path), path)
    _, memory = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert message
    assert memory < (2 << 20) + 10 * path.stat().st_size
    assert time.perf_counter() - started < 10
    resume = {**forged.data(model), **forged.settings(), "checkpoint": path, "resume": True}
    assert forged.refusal_of(lambda: fit(net, **resume), path, net, draws=True)
    return message


def write(path, content):
    path.write_bytes(content)
    return path


def entries_of(parts):
    return [(f"{name}.npy", npy(array)) for name, array in {"meta": forged.meta_array(parts), **parts.arrays}.items()]


def changed(**changes):
    """Return a file whose JSON is another: ``config__n_layers=3`` sets ``meta["config"]["n_layers"]``."""
    parts = taken_apart(valid("VAE"))
    for place, value in changes.items():
        *above, last = place.split("__")
        holder = parts.meta
        for key in above:
            holder = holder[key]
        holder[last] = value
    if not any(place.startswith("run") for place in changes):
        parts.meta["run"] |= {"model": parts.meta["model"], "config": parts.meta["config"]}
    return forged.content(parts)


def with_text(text):
    return forged.content(taken_apart(valid("VAE")), text)


NAN = float("nan")
BAD_JSON = {
    "a list": lambda: with_text(b"[]"),
    "no text": lambda: with_text(b"\xff\x93"),
    "nested": lambda: with_text(b"[" * 100_000 + b"]" * 100_000),
    "nested below the interpreter's limit": lambda: changed(run__seed=json.loads("[" * 60 + "]" * 60)),
    "long": lambda: with_text(b" " * (metadata.MAX_BYTES + 1)),
    "many lists": lambda: with_text(b"[" + b"[]," * 20_000 + b"[]]"),
    "a key too many": lambda: changed(more=1),
    "model a number": lambda: changed(model=3),
    "model unknown": lambda: changed(model="GAN\x1bc\n"),
    "config a list": lambda: changed(config=[1]),
    "config with a key of the constructor that is no setting": lambda: changed(config__prefix="x"),
    "config with an unknown key": lambda: changed(config__dropout=0.5),
    "a billion layers": lambda: changed(config__n_layers=10**9),
    "a billion units": lambda: changed(config__n_hidden=10**9),
    "a billion draws": lambda: changed(config__n_samples=10**9),
    "a billion pixels": lambda: changed(config__n_output=10**9),
    "sizes beyond MXNet's own": lambda: changed(config__n_latent=2**31),
    "layers a float": lambda: changed(config__n_layers=1.5),
    "a setting that is an object": lambda: changed(config__beta={}),
    "a setting that is a long list": lambda: changed(config__channels=[2] * 1000),
    "a picture of other pixels": lambda: changed(config__image_shape=[3, 2, 2]),
    "a picture of four channels": lambda: changed(config__image_shape=[4, 14, 14]),
    "a picture a number": lambda: changed(config__image_shape=28),
    "a picture of a billion pixels": lambda: changed(config__n_output=784, config__image_shape=[1, 10**9, 10**9]),
    "run a list": lambda: changed(run=[]),
    "the run's config a number": lambda: changed(run__config=3),
    "the run's config another": lambda: changed(run__config__n_layers=2),
    "the run's model another": lambda: changed(run__model="ConvVAE"),
    "n_steps negative": lambda: changed(n_steps=-1),
    "n_steps a float": lambda: changed(n_steps=3.0),
    "n_steps true": lambda: changed(n_steps=True),
    "n_steps huge": lambda: changed(n_steps=10**400),
    "n_steps fewer than epochs": lambda: changed(n_steps=0),
    "history a list": lambda: changed(history=[]),
    "history empty": lambda: changed(history={}),
    "history of no epochs": lambda: changed(history__epoch=[]),
    "history ragged": lambda: changed(history__train_loss=[1.0, 2.0]),
    "a column no list": lambda: changed(history__seconds=1.0),
    "a column of text": lambda: changed(history__test_kl=["1"]),
    "a column with NaN": lambda: changed(history__train_loss=[NAN]),
    "a column with infinity": lambda: with_text(
        json.dumps(taken_apart(valid("VAE")).meta).replace('"seconds": [', '"seconds": [1e999, ').encode()
    ),
    "epochs from 2": lambda: changed(history__epoch=[2]),
    "epochs that are floats": lambda: changed(history__epoch=[1.0]),
}


@pytest.mark.parametrize("case", BAD_JSON)
def test_json_that_training_did_not_write(case, tmp_path):
    message = refused(write(tmp_path / "c", BAD_JSON[case]()))
    assert "is malformed" in message or "another architecture" in message or "GAN" in message


def with_array(name, change):
    parts = taken_apart(valid("VAE"))
    parts.arrays[name] = change(parts.arrays[name].copy())
    return forged.content(parts)


def set_first(value):
    def change(array):
        array.flat[0] = value
        return array

    return change


WEIGHT = "parameters/encoder.0.weight"
MEAN, SQUARE = "moments/encoder.0.weight/mean", "moments/encoder.0.weight/square"
BAD_ARRAYS = {
    "a parameter NaN": lambda: with_array(WEIGHT, set_first(np.nan)),
    "a parameter infinite": lambda: with_array(WEIGHT, set_first(-np.inf)),
    "a moment NaN": lambda: with_array(MEAN, set_first(np.nan)),
    "a square infinite": lambda: with_array(SQUARE, set_first(np.inf)),
    "a square negative": lambda: with_array(SQUARE, set_first(-1e-9)),
    "a mean beyond its square": lambda: with_array(MEAN, set_first(1e30)),
    "another shape": lambda: with_array(WEIGHT, np.ravel),
    "no numbers": lambda: with_array(WEIGHT, lambda array: array[:0]),
    "a moment of another shape": lambda: with_array(MEAN, np.ravel),
    **{
        f"dtype {dtype}": lambda dtype=dtype: with_array(WEIGHT, lambda array: array.astype(dtype))
        for dtype in ("<f2", "<f8", ">f4", "<c8", "<i4", "|b1", "<U8", "|S4", "|O")
    },
    "moments in double precision": lambda: with_array(MEAN, lambda array: array.astype("<f8")),
    "no parameter": lambda: forged.content(taken_apart(valid("VAE"))._replace(arrays={})),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_arrays_that_training_did_not_write(case, tmp_path):
    refused(write(tmp_path / "c", BAD_ARRAYS[case]()))


def missing(name):
    parts = taken_apart(valid("VAE"))
    del parts.arrays[name]
    return forged.content(parts)


@pytest.mark.parametrize(
    "change",
    [
        lambda: missing(SQUARE),
        lambda: with_array(SQUARE, lambda array: array[:-1]),
    ],
)
def test_moments_come_in_pairs_like_their_parameter(change, tmp_path):
    assert "encoder.0.weight/square" in refused(write(tmp_path / "c", change()))


def test_a_run_that_trained_other_parameters_is_not_resumed(tmp_path):
    path, net = tmp_path / "c", forged.MODELS["VAE"]()
    net.encoder[0].collect_params().setattr("grad_req", "null")
    options = {**forged.data("VAE"), **forged.settings(), "checkpoint": path}
    fit(net, **options)
    other = forged.MODELS["VAE"]()
    message = forged.refusal_of(lambda: fit(other, **options, resume=True), path, other, draws=True)
    assert "trained other parameters: not encoder.0.bias, encoder.0.weight" in message
    assert forged.bits(gluon_vae.load(path, other)) == forged.bits(net)


def test_what_was_frozen_during_a_run_is_frozen_where_it_goes_on(tmp_path):
    def freeze(net):
        net.encoder[0].collect_params().setattr("grad_req", "null")
        return net

    def freeze_and_stop(net, last):
        def act(history):
            freeze(net)
            if len(history["epoch"]) == last:
                raise KeyboardInterrupt

        return act

    path, whole, part = tmp_path / "c", forged.MODELS["VAE"](), forged.MODELS["VAE"]()
    options = {**forged.data("VAE"), **forged.settings()}
    fit(whole, **options, on_epoch=freeze_and_stop(whole, 99))
    with pytest.raises(KeyboardInterrupt):
        fit(part, **options, checkpoint=path, on_epoch=freeze_and_stop(part, 2))
    again = freeze(forged.MODELS["VAE"]())
    fit(again, **options, checkpoint=path, resume=True)
    assert forged.bits(again) == forged.bits(whole)


def archived(entries, **kwargs):
    return signed(zipped(entries, **kwargs))


def patched(offset, layout, *values):
    """Return a file with other numbers in the first local header."""
    payload = zipped(entries_of(taken_apart(valid("VAE"))))
    return signed(forged.with_bytes(payload, offset, struct.pack(layout, *values)))


def header(text):
    """Return a file with another text before the values of its first parameter."""
    entries = entries_of(taken_apart(valid("VAE")))
    name, content = entries[1]
    size = content[8]
    text = text.ljust(size - 1).encode() + b"\n"
    entries[1] = name, content[:8] + struct.pack("<H", len(text)) + text + content[10 + size :]
    return archived(entries)


def more(*entries):
    return archived([*entries_of(taken_apart(valid("VAE"))), *entries])


BAD_ZIPS = {
    "no zip": lambda: signed(b"text"),
    "nothing": lambda: signed(b""),
    "no entries": lambda: archived([]),
    "no JSON": lambda: archived(entries_of(taken_apart(valid("VAE")))[1:]),
    "400 MB that are 400 KB": lambda: archived(
        [*entries_of(taken_apart(valid("VAE"))), ("parameters/x.npy", npy(np.zeros(100_000_000, np.float32)))],
        compression=zipfile.ZIP_DEFLATED,
    ),
    "LZMA": lambda: archived(entries_of(taken_apart(valid("VAE"))), compression=zipfile.ZIP_LZMA),
    "an entry twice": lambda: signed(
        zipped(entries_of(taken_apart(valid("VAE")))).replace(b"encoder.1.bias.npy", b"encoder.0.bias.npy")
    ),
    "an absolute name": lambda: more(("/etc/x.npy", npy(np.zeros(1)))),
    "a name that climbs": lambda: more(("../../x.npy", npy(np.zeros(1)))),
    "a name of no group": lambda: more(("gradients/x.npy", npy(np.zeros(1)))),
    "no array": lambda: more(("moments/x", b"text")),
    "encrypted": lambda: patched(6, "<H", 1),
    "with a data descriptor": lambda: patched(6, "<H", 8),
    "larger than the file": lambda: patched(18, "<2I", 2**31, 2**31),
    "smaller than it is": lambda: patched(18, "<2I", 5, 5),
    "a pickle": lambda: header("{'descr': '|O', 'fortran_order': False, 'shape': (4, 16), }"),
    "in Fortran's order": lambda: header("{'descr': '<f4', 'fortran_order': True, 'shape': (4, 16), }"),
    "negative": lambda: header("{'descr': '<f4', 'fortran_order': False, 'shape': (-4, 16), }"),
    "of Python 2": lambda: header("{'descr': '<f4', 'fortran_order': False, 'shape': (4L, 16L), }"),
    "larger than memory": lambda: header("{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999, ), }"),
    "of nothing times infinity": lambda: header(
        f"{{'descr': '<f4', 'fortran_order': False, 'shape': (0, {2**62}, 9), }}"
    ),
    "code": lambda: header("__import__('os').abort()"),
    "nested": lambda: header("(" * 5000),
}


@pytest.mark.parametrize("case", BAD_ZIPS)
def test_archives_that_training_did_not_write(case, tmp_path):
    assert "is malformed" in refused(write(tmp_path / "c", BAD_ZIPS[case]()))


def test_entries_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_ENTRIES", 20)
    path = write(tmp_path / "c", valid("VAE"))
    assert "more than 20 entries" in forged.refusal_of(lambda: gluon_vae.load(path), path)
    with pytest.raises(ValueError, match="more than 20 entries"):
        fit(forged.MODELS["VAE"](), X, checkpoint=path)


def test_what_says_so_in_the_end_of_the_zip_is_not_read(tmp_path):
    """The table of contents may be huge, or lie: what counts is in front of each entry."""
    payload = valid("VAE").split(b"\n", 2)[2]
    at = payload.index(b"PK\1\2")
    path = write(tmp_path / "c", signed(payload[:at] + b"PK\1\2" * 1_000_000))
    loaded, expected = gluon_vae.load(path), gluon_vae.load(write(tmp_path / "d", valid("VAE")))
    assert forged.bits(loaded) == forged.bits(expected)


def test_a_layer_costs_the_file_more_than_it_costs_the_loader(tmp_path):
    """Making the model is bounded by the parameters that the file has."""
    parts = taken_apart(valid("VAE"))
    parts.meta["config"]["n_layers"] = parts.meta["run"]["config"]["n_layers"] = 500
    parts.arrays.update({f"parameters/{i}": np.zeros(1, np.float32) for i in range(2000)})
    assert "another architecture" in refused(write(tmp_path / "c", forged.content(parts)))


def test_shared_parameters_are_one(tmp_path):
    def make():
        net = gluon_vae.VAE(**forged.SIZES)
        net.again = net.encoder
        return net

    path, net = tmp_path / "c", make()
    fit(net, X, **forged.settings(), checkpoint=path)
    assert forged.bits(gluon_vae.load(path, make())) == forged.bits(net)
    parts = taken_apart(path.read_bytes())
    parts.arrays["parameters/again.0.weight"] = parts.arrays["parameters/again.0.weight"] + 1
    write(path, forged.content(parts))
    other = make()
    assert "which are one, differ" in forged.refusal_of(lambda: gluon_vae.load(path, other), path, other)


def test_messages_show_what_a_file_says_without_its_control_characters(tmp_path):
    message = refused(write(tmp_path / "c", changed(model="GAN\x1bc\n" * 1000)))
    assert "GAN\\x1bc\\n" in message
    assert len(message) < 500


# How the version before wrote its JSON, and releases of Python before 3.11.4 the sizes of entries.
SETTINGS_THEN = {"likelihood": "bernoulli", "variance": None, "min_std": 0.05}
FACTS_SINCE = ("model", "config", "test images", "test labels")


def older(content, **config):
    parts = taken_apart(content)
    parts.meta["config"] = SETTINGS_THEN | parts.meta["config"] | config
    parts.meta["run"] = {name: fact for name, fact in parts.meta["run"].items() if name not in FACTS_SINCE}
    return forged.content(parts)


def with_plain_sizes(content, *, extra):
    entries = entries_of(taken_apart(content))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, entry in entries:
            info = zipfile.ZipInfo(name)
            if extra:
                info.extra = struct.pack("<2H2Q", 1, 16, len(entry), len(entry))
            file.writestr(info, entry)
    return signed(buffer.getvalue())


@pytest.mark.parametrize("model", forged.MODELS)
@pytest.mark.parametrize(
    "form",
    [
        older,
        lambda content: with_plain_sizes(content, extra=True),
        lambda content: with_plain_sizes(content, extra=False),
    ],
    ids=["older JSON", "older Python", "plain zip"],
)
def test_files_from_before_keep_loading(model, form, tmp_path):
    now = gluon_vae.load(write(tmp_path / "now", valid(model)))
    then = gluon_vae.load(write(tmp_path / "then", form(valid(model))))
    assert type(then) is type(now)
    assert then.config == now.config
    assert forged.bits(then) == forged.bits(now)


def test_a_checkpoint_is_what_numpy_writes_and_reads(tmp_path):
    magic, digest, payload = valid("VAE").split(b"\n", 2)
    assert magic == b"gluon-vae checkpoint 1"
    assert digest.decode() == hashlib.sha256(payload).hexdigest()
    saved = checkpoint.read(write(tmp_path / "c", valid("VAE")))
    with np.load(io.BytesIO(payload)) as arrays:
        assert len(arrays.files) == 1 + len(saved.parameters) + len(saved.moments)
        for name, value in saved.parameters.items():
            np.testing.assert_array_equal(arrays[f"parameters/{name}"], value)
        assert json.loads(arrays["meta"].tobytes()) == saved.meta


def test_loading_draws_no_random_numbers(tmp_path):
    path = write(tmp_path / "c", valid("VAE"))
    draws = []
    for load in (lambda: None, lambda: gluon_vae.load(path)):
        forged.mx.random.seed(3)
        load()
        draws.append(nd.random.uniform(shape=4).asnumpy())
    np.testing.assert_array_equal(*draws)


def test_double_precision_comes_back(tmp_path):
    net, path = gluon_vae.ConditionalVAE(**forged.SIZES, n_classes=3), tmp_path / "c"
    net.cast("float64")
    fit(net, X, y_train=Y, **forged.settings(), checkpoint=path)
    loaded = gluon_vae.load(path)
    assert forged.bits(loaded) == forged.bits(net)
    assert loaded.decoder(nd.zeros((2, 2), dtype="float64"), nd.zeros(2)).dtype == np.float64
    single = gluon_vae.ConditionalVAE(**forged.SIZES, n_classes=3)
    assert "float64 in the file and float32" in forged.refusal_of(lambda: gluon_vae.load(path, single), path, single)


def test_parameters_whose_shape_a_first_call_would_tell(tmp_path):
    from mxnet.gluon import nn

    def make():
        return gluon_vae.ComposedVAE(nn.Dense(4), nn.Dense(N_OUTPUT), 2, N_OUTPUT)

    net, path = make(), tmp_path / "c"
    net.initialize()
    net(nd.array(X))
    fit(net, X, **forged.settings(), checkpoint=path)
    for initialize in (False, True):
        loaded = make()
        if initialize:
            loaded.initialize()
        gluon_vae.load(path, loaded)
        eps = nd.zeros((len(X), 2))
        np.testing.assert_array_equal(loaded(nd.array(X), eps).asnumpy(), net(nd.array(X), eps).asnumpy())
        assert forged.bits(loaded) == forged.bits(net)
