"""What is exported computes the same without MXNet, whatever the batch, and says what it is."""

import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import FAMILY, N_LATENT, N_OUTPUT, OPTIONS, VAES, every_model, labels, make
from scipy.special import expit

import gluon_vae
from gluon_vae.export import export_onnx

from mxnet import nd
from mxnet.gluon import HybridBlock, nn

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


def sessions(net, folder, **options):
    return [onnxruntime.InferenceSession(path) for path in export_onnx(net, folder, **options)]


@every_model
def test_the_files_compute_what_the_model_does_for_every_batch(kind, options, tmp_path):
    net = make(kind, **options)
    encoder, decoder = sessions(net, tmp_path)
    rng = np.random.default_rng(0)
    for n in (1, 3, 100):
        x, z = rng.random((n, N_OUTPUT), np.float32), rng.standard_normal((n, N_LATENT), np.float32)
        y = labels(net, n)
        label = {"y": y[0].astype(np.int64)} if y else {}
        codes = encoder.run(None, {"x": x} | label)
        assert len(codes) == (2 if kind in VAES else 1)
        expected = net.encoder(nd.array(x), *map(nd.array, y)).asnumpy()
        np.testing.assert_allclose(np.hstack(codes), expected, atol=1e-5)
        (output,) = decoder.run(["output"], {"z": z} | label)
        np.testing.assert_allclose(output, net.decoder(nd.array(z), *map(nd.array, y)).asnumpy(), atol=1e-5)


@pytest.mark.parametrize("kind", FAMILY)
def test_the_files_are_valid_and_say_what_they_are(kind, tmp_path):
    net = make(kind)
    for path in export_onnx(net, tmp_path, metadata={"data": "grey", "ELBO": "-157.2"}):
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        assert model.opset_import[0].version == 13
        given = [value.name for value in model.graph.input]
        assert given == [{"encoder": "x", "decoder": "z"}[path.stem], *["y"] * (net.n_classes is not None)]
        sizes = [value.type.tensor_type.shape.dim[0].dim_param for value in (*model.graph.input, *model.graph.output)]
        assert set(sizes) == {"batch"}
        said = {entry.key: entry.value for entry in model.metadata_props}
        assert (said["model"], said["data"], said["ELBO"]) == (type(net).__name__, "grey", "-157.2")
        assert json.loads(said["arguments"]).keys() == net.config.keys()
        assert ("log_var" in said["latent"]) == (kind in VAES)


def test_a_digit_is_drawn_without_mxnet(tmp_path):
    net = make("vae")
    path = export_onnx(net, tmp_path)[1]
    code = (
        "import sys, numpy as np, onnxruntime\n"
        "z = np.ones((2, 3), np.float32)\n"
        f"print(onnxruntime.InferenceSession({str(path)!r}).run(None, {{'z': z}})[0].mean())\n"
        "assert not {'mxnet', 'gluon_vae'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    expected = gluon_vae.generate(net, np.ones((2, 3), np.float32)).mean()
    assert float(done.stdout) == pytest.approx(expected, rel=1e-5)


class Odd(HybridBlock):
    def hybrid_forward(self, F, x):
        return F.cumsum(x, axis=1)


def unusual(layer, n_output=N_OUTPUT):
    network = nn.HybridSequential()
    network.add(layer, nn.Dense(n_output, in_units=N_LATENT))
    encoder = nn.Dense(2 * N_LATENT, in_units=n_output)
    net = gluon_vae.ComposedVAE(encoder, network, N_LATENT, n_output)
    net.initialize()
    return net


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (Odd(), "operator _np_cumsum|operator cumsum"),
        (nn.GELU(), "LeakyReLU with gelu"),
        (nn.HybridLambda(lambda F, x: F.reshape(x, shape=(0, -1, 1)).reshape((-3, 0))), "Reshape with shape"),
    ],
)
def test_what_has_no_translation_is_refused_by_name_and_nothing_is_written(layer, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        export_onnx(unusual(layer), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_network_of_ones_own_is_exported(tmp_path):
    net = unusual(nn.Dropout(0.5))
    x = np.random.default_rng(0).random((4, N_OUTPUT), np.float32)
    z = np.zeros((4, N_LATENT), np.float32)
    encoder, decoder = sessions(net, tmp_path)
    np.testing.assert_allclose(encoder.run(["mu"], {"x": x})[0], gluon_vae.encode(net, x), atol=1e-6)
    np.testing.assert_allclose(
        decoder.run(None, {"z": z})[0], expit(net.decoder.logits(nd.array(z)).asnumpy()), atol=1e-6
    )


@pytest.mark.parametrize("metadata", [{"ELBO": -157.2}, ["ELBO"], {1: "a"}])
def test_metadata_that_is_no_text_is_refused(metadata, tmp_path):
    with pytest.raises(ValueError, match="metadata must map str to str"):
        export_onnx(make("vae"), tmp_path, metadata=metadata)


def test_a_model_without_parameters_is_refused(tmp_path):
    with pytest.raises(ValueError, match="net must have parameters"):
        export_onnx(make("vae", initialize=False), tmp_path)


def test_without_onnx_the_way_to_get_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'gluon-vae\[export\]'"):
        export_onnx(make("vae"), tmp_path)


def test_an_export_over_another_replaces_it_whole(tmp_path):
    first, second = make("vae"), make("vae", likelihood="gaussian")
    export_onnx(first, tmp_path)
    paths = export_onnx(second, tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert {entry.value for entry in onnx.load(paths[0]).metadata_props} >= {"gaussian"}
    assert OPTIONS
