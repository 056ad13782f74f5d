"""Checkpoints that somebody forged: a valid file, taken apart, changed, and given the checksum that fits.

Every forger takes a generator of random numbers and the parts of a valid checkpoint, and returns the content of a
file. ``forgery(seed)`` draws one of them.
"""

import contextlib
import copy
import functools
import hashlib
import io
import json
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

import gluon_vae
from gluon_vae import checkpoint, fit

import mxnet as mx
from mxnet import nd

MAGIC = b"gluon-vae checkpoint 1\n"
N_OUTPUT = 16
N_EPOCHS = 3
X = np.random.default_rng(0).random((11, N_OUTPUT), dtype=np.float32)
Y = np.arange(11) % 3
SIZES = {"n_hidden": 4, "n_latent": 2, "n_output": N_OUTPUT}
MODELS = {
    "VAE": lambda: gluon_vae.VAE(**SIZES, likelihood="gaussian", n_samples=2),
    "ConditionalVAE": lambda: gluon_vae.ConditionalVAE(**SIZES, n_classes=3),
    "SemiSupervisedVAE": lambda: gluon_vae.SemiSupervisedVAE(**SIZES, n_classes=3, label_weight=5),
    "ConvVAE": lambda: gluon_vae.ConvVAE((2, 3), 2, N_OUTPUT),
    "SparseAutoencoder": lambda: gluon_vae.SparseAutoencoder(**SIZES),
    "patient": lambda: gluon_vae.VAE(**SIZES),
}


class Parts(NamedTuple):
    """What a checkpoint is made of: the JSON and, by name, the arrays."""

    meta: dict
    arrays: dict


def signed(payload):
    return MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def zipped(entries, compression=zipfile.ZIP_STORED):
    """Write entries, names and contents, to a zip as NumPy does."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a name is there twice is meant
        for name, content in entries:
            with archive.open(zipfile.ZipInfo(name) if compression == 0 else name, "w", force_zip64=True) as file:
                file.write(content)
    return buffer.getvalue()


def content(parts, text=None):
    """Return the file of the parts, with another JSON text if one is given."""
    text = json.dumps(parts.meta).encode() if text is None else text
    arrays = {"meta": np.frombuffer(text, np.uint8)} | parts.arrays
    return signed(zipped([(f"{name}.npy", npy(array)) for name, array in arrays.items()]))


def taken_apart(content):
    with np.load(io.BytesIO(content.split(b"\n", 2)[2])) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return Parts(json.loads(arrays.pop("meta").tobytes()), arrays)


def settings():
    return {"n_epochs": N_EPOCHS, "batch_size": 4, "seed": 1, "progress": False}


def data(model):
    """Return what is trained on, and settings of the model's own."""
    labels = {"y_train": Y, "y_test": Y[:3]} if model in ("ConditionalVAE", "SemiSupervisedVAE") else {}
    # The best epoch of this one is the first.
    options = {"patience": N_EPOCHS, "learning_rate": 0.1} if model == "patient" else {}
    return {"x_train": X, "x_test": X[:3]} | labels | options


@functools.cache
def valid(model, done=1):
    """Return the checkpoint of a run of a model that was stopped after some epochs."""

    def stop(history):
        if len(history["epoch"]) == done:
            raise KeyboardInterrupt

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint"
        with contextlib.suppress(KeyboardInterrupt):
            fit(MODELS[model](), **data(model), **settings(), checkpoint=path, on_epoch=stop)
        return path.read_bytes()


ODD = [
    *(None, True, False, 0, 1, -1, 2, 3, 7, 2**31, 10**9, 10**30, -(10**30), 0.5, 1e-320, 1e308, 1e-30, -0.5, 3.0),
    *("", "VAE", "relu", "x" * 10_000, "\ud800", "a\nb\x1b[31m", "\0", "learned", "per-pixel", "nan"),
    *([], [1], [1, "a"], [[]], [None], [10**9], [2] * 1000, [1.5, 2], {}, {"a": 1}, {"": []}),
    *(float("nan"), float("inf"), -float("inf")),
]
KEYS = ["prefix", "params", "check_input", "batch_size", "encoder", "__class__", "n_classes", "variance", "channels"]
DTYPES = [">f4", "<f2", "<f8", "<c8", "|u1", "<i4", "<i8", "|b1", "<U3", "|S2", "|O", ">i8", "<M8[s]"]
NUMBERS = [np.nan, np.inf, -np.inf, -1.0, 0.0, 1e-40, 1e38, -1e38]


def places(value, found=()):
    """Yield the place of every value in a JSON document."""
    yield found
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*found, key))


def pick(rng, things):
    return copy.deepcopy(things[int(rng.integers(len(things)))])


def with_odd_json(rng, parts):
    meta = json.loads(json.dumps(parts.meta))
    for _ in range(rng.integers(1, 4)):
        *above, last = pick(rng, [place for place in places(meta) if place])
        holder = functools.reduce(lambda holder, key: holder[key], above, meta)
        action = rng.integers(5)
        if action == 0:
            del holder[last]
        elif action == 1 and isinstance(holder, dict):
            holder[pick(rng, [*KEYS, "", "a\nb", "x" * 300])] = pick(rng, ODD)
        elif action == 1 or (action == 2 and isinstance(holder, list)):
            holder += [pick(rng, [*ODD, 0.5])]
        else:
            holder[last] = pick(rng, ODD)
        if not meta:
            break
    if rng.integers(4) and isinstance(meta.get("run"), dict):  # no lie is found out by another
        meta["run"] |= {"model": meta.get("model"), "config": meta.get("config")}
    return content(parts._replace(meta=meta))


def with_odd_text(rng, parts):
    text = json.dumps(parts.meta).encode()
    history = json.dumps(parts.meta["history"]).encode()
    depth = int(rng.integers(10, 200_000))
    change = pick(
        rng,
        [
            lambda: b"",
            lambda: b"[]",
            lambda: b"null",
            lambda: b"[" * depth + b"]" * depth,
            lambda: text.replace(history, b'{"a":' * depth + b"1" + b"}" * depth),
            lambda: text.replace(history, b"[" + b"[]," * depth + b"[]]"),
            lambda: text.replace(b"1", b"1" * 5000, 1),
            lambda: text.replace(b"1", b"1e999", 1),
            lambda: text.replace(b'"n_steps"', b'"n_steps": 1, "n_steps"'),
            lambda: text[:-1],
            lambda: text + text,
            lambda: text.replace(b"seconds", b"\xff\xfe"),
            lambda: text.decode().encode("utf-16"),
            lambda: b"\xef\xbb\xbf" + text,
            lambda: text + b" " * (40 << 20),
            lambda: npy(np.array([parts.meta], dtype=object)),
            lambda: bytes(rng.integers(0, 256, len(text), dtype=np.uint8)),
        ],
    )
    return content(parts, change())


def with_odd_arrays(rng, parts):
    arrays = dict(parts.arrays)
    for _ in range(rng.integers(1, 3)):
        name = pick(rng, list(arrays))
        array = arrays.pop(name).copy()
        action = rng.integers(7)
        if action == 0:
            continue
        if action == 1:
            array = pick(rng, [array[..., None], array.ravel(), array[:0], array[:-1], np.append(array, 1), array.T])
        elif action == 2:
            dtype = pick(rng, DTYPES)
            array = array.astype("i8").astype(dtype) if dtype == "<M8[s]" else array.astype(dtype)
        elif action == 3:
            name = pick(rng, [*arrays, f"{name}x", f"parameters/{name}", "parameters/", "moments/", "meta", "a\nb"])
        elif action == 4:
            array = rng.random(array.shape, dtype=np.float32) * 2 - 1
        elif array.size and array.dtype == np.float32:
            array.flat[rng.integers(array.size)] = pick(rng, NUMBERS)
        arrays[name] = array
    return content(parts._replace(arrays=arrays))


def with_odd_header(rng, parts):
    """Change the text before an array's values, or how much of them there is."""
    entries = [(f"{name}.npy", npy(array)) for name, array in {"meta": meta_array(parts), **parts.arrays}.items()]
    i = int(rng.integers(len(entries)))
    name, one = entries[i]
    text = one[10 : 10 + one[8]]
    change = pick(
        rng,
        [
            lambda: one.replace(b"<f4", b"|O8"),
            lambda: one.replace(b"(", b"(-", 1),
            lambda: one.replace(b"(", b"(0, ", 1),
            lambda: one.replace(b"False", b"True ", 1),
            lambda: one.replace(b"'<f4'", b"[('a', '<f4')]", 1),
            lambda: one.replace(b"(", b"(" * 5000, 1),
            lambda: one.replace(b"\x01\x00", bytes([rng.integers(4), 0]), 1),
            lambda: one.replace(text, b"{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999999,), }\n"),
            lambda: one.replace(text, b"{'descr': '<f4', 'fortran_order': False, 'shape': (4L, 2L), }\n"),
            lambda: one.replace(text, b"__import__('os').getpid()\n"),
            lambda: one[:8] + b"\xff\xff" + one[10:],
            lambda: one[: int(rng.integers(len(one)))],
            lambda: one + bytes(int(rng.integers(1, 9))),
            lambda: b"",
            lambda: npy(np.array([print], dtype=object)),
        ],
    )
    entries[i] = name, change()
    return signed(zipped(entries))


def meta_array(parts):
    return np.frombuffer(json.dumps(parts.meta).encode(), np.uint8)


def with_odd_zip(rng, parts):
    entries = [(f"{name}.npy", npy(array)) for name, array in {"meta": meta_array(parts), **parts.arrays}.items()]
    plain = zipped(entries)
    names = [name for name, _ in entries]
    flags, methods, sizes = ([at + i for at in headers(plain)] for i in (6, 8, 18))
    change = pick(
        rng,
        [
            lambda: zipped(entries, zipfile.ZIP_DEFLATED),
            lambda: zipped(entries, zipfile.ZIP_LZMA),
            lambda: zipped([*entries, pick(rng, entries)]),
            lambda: zipped([*entries, ("parameters/../../etc/x.npy", entries[0][1])]),
            lambda: zipped([*entries, ("/etc/gluon-vae-was-here", b"x")]),
            lambda: zipped([*entries, (pick(rng, ["meta", "meta.npy/", "parameters", "\x85.npy", "x"]), b"x")]),
            lambda: zipped([]),
            lambda: zipped(entries[1:]),
            lambda: zipped([*entries, *((f"moments/{i}.npy", b"") for i in range(5000))]),
            lambda: with_bytes(plain, pick(rng, flags), bytes([pick(rng, [1, 8, 64, 255])])),
            lambda: with_bytes(plain, pick(rng, methods), bytes([pick(rng, [8, 12, 14, 99, 255])])),
            lambda: with_bytes(plain, pick(rng, sizes), rng.bytes(8)),
            lambda: with_bytes(plain, pick(rng, headers(plain)) + 26, rng.bytes(4)),
            lambda: plain.replace(pick(rng, names).encode(), b"\xff" * len(pick(rng, names)), 1),
            lambda: plain.replace(b"meta", b"m\0ta"),
            lambda: plain[: int(rng.integers(len(plain)))],
            lambda: plain.replace(b"PK\1\2", b"PK\1\3"),
            lambda: with_bytes(plain, len(plain) - 22 + int(rng.integers(4, 20)), rng.bytes(2)),
            lambda: b"garbage" + plain,
            lambda: plain + plain,
            lambda: zipped([("checkpoint.zip", plain)]),
        ],
    )
    return signed(change())


def headers(payload):
    """Return where the local headers of a zip begin."""
    with zipfile.ZipFile(io.BytesIO(payload)) as archive:
        return [info.header_offset for info in archive.infolist()]


def with_bytes(payload, at, new):
    return payload[:at] + new + payload[at + len(new) :]


def with_odd_bytes(rng, parts):
    payload = bytearray(content(parts).split(b"\n", 2)[2])
    for _ in range(rng.integers(1, 5)):
        at, n = int(rng.integers(len(payload))), int(rng.integers(1, 9))
        action = rng.integers(4)
        if action == 0:
            payload[at] ^= 1 << int(rng.integers(8))
        elif action == 1:
            payload[at : at + n] = rng.bytes(n)
        elif action == 2:
            del payload[at : at + n]
        else:
            payload[at:at] = rng.bytes(n)
    return signed(bytes(payload))


def with_two_faults(rng, parts):
    """Change bytes of a file that is no longer valid."""
    forged = pick(rng, [with_odd_json, with_odd_arrays])(rng, parts)
    payload = bytearray(forged.split(b"\n", 2)[2])
    payload[int(rng.integers(len(payload)))] ^= 1 << int(rng.integers(8))
    return signed(bytes(payload))


FORGERS = [
    *[with_odd_json] * 4,
    *[with_odd_arrays] * 3,
    *(with_odd_text, with_odd_header, with_odd_zip, with_odd_bytes, with_two_faults),
]


def forgery(seed):
    """Return a model's name, whether its run is over, what was done to its checkpoint, and the file's content."""
    rng = np.random.default_rng(seed)
    model, done = pick(rng, list(MODELS)), pick(rng, [1, N_EPOCHS])
    forger = pick(rng, FORGERS)
    return model, done, forger.__name__, forger(rng, taken_apart(valid(model, done)))


def bits(net):
    """Return all that a network holds, None for a parameter without values."""
    return {
        name: None if p._data is None else p.data().asnumpy().tobytes()
        for name, p in net._collect_params_with_prefix().items()
    }


def names_given():
    """Return how many names of each kind MXNet has given to blocks."""
    return dict(mx.name.NameManager._current.value._counter)


def refusal_of(use, path, net=None, *, draws=False):
    """Return the one line with which something is refused that leaves all as it was; None if it is not refused.

    ``fit`` draws, and leaves MXNet's generator moved on however it ends.
    """
    before, names = net and bits(net), names_given()
    mx.random.seed(5)
    expected = nd.random.uniform(shape=3).asnumpy()
    mx.random.seed(5)
    refused = None
    try:
        use()
    except ValueError as error:
        refused = error
    if refused is None:
        return None
    message = str(refused)
    assert type(refused) is ValueError
    assert message.startswith(f"{path} "), message
    assert message.isprintable(), message
    assert len(message) < 1000, message
    assert (net and bits(net)) == before
    assert names_given() == names
    if not draws:
        np.testing.assert_array_equal(nd.random.uniform(shape=3).asnumpy(), expected)
    return message


def check_finite(net, model):
    """Check that parameters are finite and, where they are of an ordinary size, all that a call gives."""
    parameters = [p.data().asnumpy() for p in net.collect_params().values()]
    assert all(np.isfinite(values).all() for values in parameters)
    if max(abs(values).max() for values in parameters) < 2:
        net(nd.array(X), *([nd.array(Y)] if model in ("ConditionalVAE", "SemiSupervisedVAE") else []))
        assert all(np.isfinite(getattr(net, name).asnumpy()).all() for name in ("mu", "output"))
        return True
    return False


def check_forgery(seed, path):
    """Load a forged file and resume from it: each refuses it with one line, or gives a network in order.

    Return what happened, by names that can be counted.
    """
    model, _, forger, content = forgery(seed)
    path.write_bytes(content)
    happened = [forger]
    loaded = []
    if refusal_of(lambda: loaded.append(gluon_vae.load(path)), path):
        happened.append("load refused")
    else:
        happened.append("loaded" if check_finite(loaded[0], model) else "loaded, large")
    into, on = MODELS[model](), MODELS[model]()
    if seed % 2:
        into.initialize()
        on.initialize()
    if refusal_of(lambda: gluon_vae.load(path, into), path, into):
        happened.append("load into refused")
    else:
        check_finite(into, model)
    try:
        resume = {**data(model), **settings(), "checkpoint": path, "resume": True}
        refused = refusal_of(lambda: fit(on, **resume), path, on, draws=True)
    except FloatingPointError:  # a finite number with which training overflows
        assert happened[1] == "loaded, large"
        return [*happened, "resumed and diverged"]
    if refused:
        return [*happened, "resume refused"]
    check_finite(on, model)
    saved = checkpoint.read(path)  # the file that the run has written
    assert {len(column) for column in saved.meta["history"].values()} == {N_EPOCHS}
    assert {name: values.tobytes() for name, values in (saved.best or saved.parameters).items()} == bits(on)
    return [*happened, "resumed"]
