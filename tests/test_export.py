"""What is exported computes the same without MXNet, whatever the batch, and says what it is."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import FAMILY, N_LATENT, N_OUTPUT, VAES, every_model, labels, make, refused
from PIL import Image

import gluon_vae
from gluon_vae import export_onnx
from gluon_vae.export import file_names

from mxnet import nd
from mxnet.gluon import HybridBlock, nn

README = Path(__file__).parent.parent / "README.md"


def sessions(net, folder, **options):
    return [onnxruntime.InferenceSession(path) for path in export_onnx(net, folder, **options)]


def assert_same(session, network, first, y=()):
    """Assert that a file computes what a network does; return its outputs by name."""
    names = [value.name for value in session.get_inputs()]
    given = [first, *(label.astype(np.int64) for label in y)][: len(names)]
    outputs = session.run(None, dict(zip(names, given, strict=True)))
    expected = network(*map(nd.array, given)).asnumpy()
    np.testing.assert_allclose(np.hstack(outputs), expected, atol=1e-5)
    return dict(zip([value.name for value in session.get_outputs()], outputs, strict=True))


@every_model
def test_the_files_compute_what_the_model_does_for_every_batch(kind, options, tmp_path):
    net = make(kind, **options)
    encoder, decoder, *classifier = sessions(net, tmp_path)
    rng = np.random.default_rng(0)
    for n in (1, 3, 100):
        x, z = rng.random((n, N_OUTPUT), np.float32), 2 * rng.standard_normal((n, N_LATENT), np.float32)
        y = labels(net, n)
        code = assert_same(encoder, net.encoder, x, y)
        assert list(code) == ["mu", "log_var"][: 2 if kind in VAES else 1]
        np.testing.assert_allclose(code["mu"], gluon_vae.encode(net, x, *y), atol=1e-5)
        assert list(assert_same(decoder, net.decoder, z, y)) == ["output"]
        if kind == "semi-supervised":
            (probabilities,) = classifier[0].run(["probabilities"], {"x": x})
            np.testing.assert_allclose(probabilities, gluon_vae.label_probabilities(net, x), atol=1e-6)
        else:
            assert not classifier


@pytest.mark.parametrize("options", [{"act_type": name} for name in ("leaky", "sigmoid", "softrelu", "softsign")])
@pytest.mark.parametrize("n_output", [25, 49, 784])
def test_convolutions_of_odd_sides_and_every_activation(n_output, options, tmp_path):
    net = gluon_vae.ConvVAE((4, 6), N_LATENT, n_output, **options)
    net.initialize()
    rng = np.random.default_rng(0)
    encoder, decoder = sessions(net, tmp_path)
    assert_same(encoder, net.encoder, rng.random((3, n_output), np.float32))
    assert_same(decoder, net.decoder, rng.standard_normal((3, N_LATENT), np.float32))


@pytest.mark.parametrize("options", [{}, {"likelihood": "gaussian", "variance": "per-pixel"}])
@pytest.mark.parametrize("shape", [(3, 9, 14), (1, 12, 17)])
def test_convolutions_of_pictures_that_are_not_square_in_colour_too(shape, options, tmp_path):
    net = gluon_vae.ConvVAE((4, 6), N_LATENT, image_shape=shape, **options)
    net.initialize()
    rng = np.random.default_rng(0)
    encoder, decoder = sessions(net, tmp_path)
    assert_same(encoder, net.encoder, rng.random((3, net.n_output), np.float32))
    output = assert_same(decoder, net.decoder, rng.standard_normal((3, N_LATENT), np.float32))["output"]
    assert output.shape == (3, shape[0] * shape[1] * shape[2])
    said = {entry.key: entry.value for entry in onnx.load(tmp_path / "decoder.onnx").metadata_props}
    assert json.loads(said["arguments"])["image_shape"] == list(shape)


@pytest.mark.parametrize("kind", FAMILY)
def test_the_files_are_valid_and_say_what_they_are(kind, tmp_path):
    net = make(kind)
    paths = export_onnx(net, tmp_path, metadata={"data": "grey", "ELBO": "-157.2"})
    assert [path.name for path in paths] == file_names(net)
    for path in paths:
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        assert (model.opset_import[0].version, model.graph.name) == (13, path.stem)
        has_label = net.n_classes is not None and path.stem != "classifier"
        given = [value.name for value in model.graph.input]
        assert given == ["z" if path.stem == "decoder" else "x", *["y"] * has_label]
        ends = [value.type.tensor_type.shape.dim for value in (*model.graph.input, *model.graph.output)]
        assert {dim[0].dim_param for dim in ends} == {"batch"}
        assert all(dim[1].dim_value for dim in ends if len(dim) > 1)
        said = {entry.key: entry.value for entry in model.metadata_props}
        assert (said["model"], said["data"], said["ELBO"]) == (type(net).__name__, "grey", "-157.2")
        assert (said["likelihood"], said["version"]) == ("bernoulli", f"gluon-vae {gluon_vae_version()}")
        assert json.loads(said["arguments"]).keys() == net.config.keys()
        assert ("log_var" in said["latent"]) == (kind in VAES)


def gluon_vae_version():
    pyproject = (README.parent / "pyproject.toml").read_text()
    return re.search(r'^version = "(.+)"$', pyproject, re.MULTILINE)[1]


def test_what_is_exported_is_the_model_as_it_is_now_whatever_it_computes_in(tmp_path):
    net = make("conditional")
    net.hybridize(static_alloc=True, static_shape=True)
    net(np.zeros((2, N_OUTPUT), np.float32), np.array([0, 1]))
    before = [path.read_bytes() for path in export_onnx(net, tmp_path)]
    for parameter in net.decoder.collect_params(".*bias").values():
        parameter.set_data(parameter.data() + 1)
    net.cast("float64")
    encoder, decoder = export_onnx(net, tmp_path)
    assert encoder.read_bytes() == before[0]
    assert decoder.read_bytes() != before[1]
    z = np.ones((2, N_LATENT))
    (output,) = onnxruntime.InferenceSession(decoder).run(
        None, {"z": z.astype(np.float32), "y": np.array([3, 4], np.int64)}
    )
    np.testing.assert_allclose(output, gluon_vae.generate(net, z, np.array([3, 4])), atol=1e-6)


def test_the_readmes_lines_draw_a_digit_without_mxnet(tmp_path):
    section = README.read_text().split("## Train here, serve anywhere\n")[1].split("\n## ")[0]
    train, serve = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    net = gluon_vae.VAE(n_hidden=8)
    net.initialize()
    (line,) = [line for line in train.splitlines() if "export_onnx" in line]
    options = {"data": gluon_vae.load_mnist(), "gluon_vae": gluon_vae, "net": net}
    assert serve.count("\n") <= 8
    check = "import sys; assert not {'mxnet', 'gluon_vae'} & set(sys.modules)"
    (tmp_path / "serve.py").write_text(f"{serve}\n{check}\n")
    code = line.replace('"onnx"', repr(str(tmp_path / "onnx")))
    assert code != line
    exec(code, options)
    subprocess.run([sys.executable, "serve.py"], cwd=tmp_path, check=True, env={"MPLBACKEND": "Agg"})
    assert np.asarray(Image.open(tmp_path / "digit.png")).std() > 1  # not blank


class Ignoring(HybridBlock):
    """A network that is given a label and does not use it."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def hybrid_forward(self, F, x, y):
        return self.network(x)


def test_a_network_may_leave_the_label_to_the_other(tmp_path):
    encoder = Ignoring(nn.Dense(2 * N_LATENT, in_units=N_OUTPUT))
    net = gluon_vae.ComposedVAE(encoder, Ignoring(nn.Dense(N_OUTPUT)), N_LATENT, N_OUTPUT, n_classes=10)
    net.initialize()
    assert list(assert_same(sessions(net, tmp_path)[0], net.encoder, np.eye(N_OUTPUT, dtype="f")[:3], [np.arange(3)]))


def own(*layers):
    """Return a VAE with layers of one's own in its decoder."""
    network = nn.HybridSequential()
    network.add(*layers, nn.Dense(N_OUTPUT))
    net = gluon_vae.ComposedVAE(nn.Dense(2 * N_LATENT), network, N_LATENT, N_OUTPUT)
    net.initialize()
    return net


def reshaped(*shape):
    return nn.HybridLambda(lambda F, x: F.reshape(x, shape=shape))


@pytest.mark.parametrize(
    "layers",
    [
        lambda: (nn.Dropout(0.5),),
        lambda: (nn.Dense(8, use_bias=False), nn.Flatten(), nn.LeakyReLU(0.2)),
        lambda: (reshaped(0, 1, -1), nn.Dense(4, flatten=False), nn.Dense(2, flatten=False, use_bias=False)),
        lambda: (nn.HybridLambda(lambda F, x: F.slice_axis(F.softmax(x), axis=-1, begin=-2, end=None)),),
        lambda: (nn.Dense(32), reshaped(-1, 2, 16), nn.Conv1D(4, 3, 2, 1, dilation=2, groups=2, in_channels=2)),
        lambda: (nn.Dense(32), reshaped(-1, 2, 16), nn.Conv1DTranspose(4, 3, 2, groups=2, in_channels=2)),
    ],
)
def test_networks_of_ones_own_are_exported_before_their_first_call(layers, tmp_path):
    net = own(*layers())
    encoder, decoder = sessions(net, tmp_path)
    assert_same(encoder, net.encoder, np.random.default_rng(0).random((4, N_OUTPUT), np.float32))
    assert_same(decoder, net.decoder, np.random.default_rng(0).standard_normal((4, N_LATENT), np.float32))


class Looking(HybridBlock):
    """A network that looks at its input, which a trace has not."""

    def forward(self, x):
        return x if x.asnumpy().sum() else -x


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (lambda: nn.HybridLambda(lambda F, x: F.cumsum(x, axis=2)), ["operator _np_cumsum"]),
        (nn.GELU, ["gelu0", "LeakyReLU with act_type gelu"]),
        (lambda: reshaped(-3, 0), ["Reshape with shape (-3, 0)"]),
        (lambda: nn.HybridLambda(lambda F, x: F.softmax(x, temperature=2.0)), ["softmax with temperature"]),
        (nn.BatchNorm, ["operator BatchNorm"]),
        (Looking, ["net.decoder", "hybridized"]),
    ],
)
def test_what_has_no_translation_is_refused_by_name_and_nothing_is_written(layer, said, tmp_path):
    net = own(reshaped(0, 1, -1), layer())
    with refused("net", *said):
        export_onnx(net, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"metadata": {"ELBO": -157.2}}, "metadata must map str to str"),
        ({"metadata": ["ELBO"]}, "metadata must map str to str"),
        ({"metadata": {1: "a"}}, "metadata must map str to str"),
        ({"metadata": {"model": "mine"}}, "metadata must leave model"),
        ({"folder": 3}, "folder must be str or PathLike"),
        ({"folder": __file__}, "is a file"),
    ],
)
def test_bad_input_is_named(options, said, tmp_path):
    with refused(said):
        export_onnx(make(), **{"folder": tmp_path} | options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("net", "said"), [(make(initialize=False), "parameters"), (nn.Flatten(), "n_latent"), (FAMILY, "Gluon block")]
)
def test_what_is_no_trained_model_is_refused(net, said, tmp_path):
    with refused("net must", said):
        export_onnx(net, tmp_path)


def test_a_folder_in_the_place_of_a_file_is_found_before_anything_is_written(tmp_path):
    (tmp_path / "decoder.onnx").mkdir()
    with refused("decoder.onnx is not a file"):
        export_onnx(make(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["decoder.onnx"]


def test_without_onnx_the_way_to_get_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    net = make()
    with refused("need the package onnx", "'.[export]'", error=ImportError):
        export_onnx(net, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_package_needs_no_onnx():
    code = "import sys; sys.modules['onnx'] = None; import gluon_vae, gluon_vae.__main__"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_export_over_another_replaces_it(tmp_path):
    export_onnx(make(), tmp_path)
    paths = export_onnx(make(likelihood="gaussian"), tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert "gaussian" in {entry.value for entry in onnx.load(paths[0]).metadata_props}
