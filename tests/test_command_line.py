"""``python -m gluon_vae``: what it writes, what it refuses, and what it makes of the machine that it runs on."""

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
from PIL import Image

import gluon_vae
from gluon_vae import __main__ as command_line
from gluon_vae import checkpoint, figures, launcher, preflight
from gluon_vae.options import MODELS

import mxnet as mx
from mxnet import nd

QUICK = ("--epochs", "1", "--n-hidden", "8", "--n-layers", "1")
PICTURES = {"elbo.png", "reconstructions.png", "latent.png", "samples.png", "latent_grid.png"}
WRITTEN = PICTURES | {"checkpoint", "model.params", "history.json"}


def run(*arguments, **options):
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "gluon_vae", *map(os.fspath, map(str, arguments))]
    return subprocess.run(command, **{"capture_output": True, "text": True, "timeout": 600} | options)


@pytest.fixture
def main(monkeypatch, sample, capsys):
    """Return a function that runs the command line here, on few images, and returns exit code and last words."""
    few = [array[:count] for array, count in zip(sample, (200, 200, 60, 60))]
    monkeypatch.setattr(command_line, "load_mnist", lambda source: type(sample)(*few))

    def run_here(*arguments):
        code = 0
        try:
            command_line.main([*QUICK, *map(str, arguments)])
        except SystemExit as end:
            code = end.code
        except KeyboardInterrupt:
            pytest.fail("an interrupt got through, which would end all tests")
        out, err = capsys.readouterr()
        return code, next(reversed((err if code else out).replace("\r", "\n").strip().splitlines()), None)

    return run_here


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Run the command line as it is meant to be run: what it printed, and its folder."""
    out = tmp_path_factory.mktemp("plain") / "new" / "out"
    return SimpleNamespace(result=run(*QUICK, "--out", out, "--seed", 3), out=out)


def test_training_writes_parameters_history_and_five_pictures(plain, sample):
    result, out = plain.result, plain.out
    assert result.returncode == 0, result.stderr
    assert {path.name for path in out.iterdir()} == WRITTEN
    for name in PICTURES:
        assert np.asarray(Image.open(out / name).convert("L")).std() > 1  # not blank
    history = json.loads((out / "history.json").read_text())
    assert {len(column) for column in history.values()} == {1}
    net = gluon_vae.VAE(n_hidden=8, n_layers=1)
    net.load_parameters(str(out / "model.params"))
    assert f"Test ELBO: {gluon_vae.elbo(net, sample.x_test, seed=3)} nats" in result.stdout
    assert str(out) in result.stdout


def test_a_latent_that_is_not_two_dimensional_gets_the_pictures_that_it_has(tmp_path):
    result = run(*QUICK, "--n-latent", 5, "--out", tmp_path)
    assert result.returncode == 0, result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {
        *("checkpoint", "model.params", "history.json", "elbo.png", "reconstructions.png", "samples.png")
    }


@pytest.mark.parametrize(
    ("model", "options", "pictures"),
    [
        ("conditional", (), {"elbo.png", "samples.png", "latent.png"}),
        ("conv", ("--likelihood", "gaussian", "--variance", "0.1"), {"elbo.png", "samples.png"}),
        ("vae", ("--likelihood", "gaussian", "--variance", "per-pixel", "--beta", "2"), {"elbo.png", "samples.png"}),
        ("autoencoder", (), {"loss.png", "latent.png"}),
        ("sparse", (), {"loss.png", "latent.png"}),
        ("denoising", ("--likelihood", "gaussian"), {"loss.png"}),
    ],
)
def test_every_model_is_trained_by_name_rebuilt_from_its_checkpoint_and_the_same_again(
    model, options, pictures, tmp_path, monkeypatch, capsys, sample
):
    few = sample._replace(
        x_train=sample.x_train[:200],
        y_train=sample.y_train[:200],
        x_test=sample.x_test[:60],
        y_test=sample.y_test[:60],
    )
    monkeypatch.setattr(command_line, "load_mnist", lambda source: few)
    n_latent = 2 if "latent.png" in pictures else 3
    arguments = [*QUICK, "--model", model, "--n-latent", str(n_latent), *options]
    out, again = tmp_path / "out", tmp_path / "again"
    command_line.main([*arguments, "--out", str(out)])
    files = {"checkpoint", "model.params", "history.json", "reconstructions.png"}
    assert {path.name for path in out.iterdir()} == files | pictures
    net = gluon_vae.load(out / "checkpoint")
    assert type(net) is MODELS[model]
    assert net.n_latent == n_latent
    history = json.loads((out / "history.json").read_text())
    printed = capsys.readouterr().out
    assert type(net).__name__ in printed
    if "elbo.png" in pictures:
        labels = few.y_test if model == "conditional" else None
        assert f"Test ELBO: {gluon_vae.elbo(net, few.x_test, labels)} nats" in printed
    else:
        assert f"Test loss: {history['test_loss'][-1]:.1f} nats" in printed
        assert "ELBO" not in printed

    nd.random.uniform(shape=(5,))  # the state of MXNet's generator is of no consequence
    command_line.main([*arguments, "--out", str(again)])
    for name in {"model.params", "reconstructions.png"} | pictures:
        assert (again / name).read_bytes() == (out / name).read_bytes(), name


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Return a folder with six pictures of each of three classes, 3 x 8 x 10."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for number, name in enumerate(("moss", "sand", "sky")):
        (folder / name).mkdir()
        for i in range(6):
            x = rng.integers(0, 60, (8, 10, 3)).astype(np.uint8)
            x[..., number] += 150
            Image.fromarray(x).save(folder / name / f"{i}.png")
    return folder


@pytest.mark.parametrize(
    ("model", "options", "shape"),
    [
        ("conditional", (), (3, 8, 10)),
        ("conv", ("--image-shape", "3,12,9", "--test-share", "0.5"), (3, 12, 9)),
        ("vae", ("--image-shape", "1,8,8", "--likelihood", "gaussian", "--export", "onnx"), (1, 8, 8)),
    ],
)
def test_a_folder_of_pictures_is_trained_on_and_drawn(model, options, shape, pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["--data", str(pictures), "--model", model, "--batch-size", "5", *options]
    command_line.main([*QUICK, *arguments, "--seed", "3", "--out", "out"])
    n_test = 9 if "--test-share" in options else 3
    printed = capsys.readouterr().out
    found = f"{18 - n_test} training and {n_test} test pictures, {' x '.join(map(str, shape))}"
    assert printed.startswith(f"{found}, 3 classes: moss, sand, sky; ")
    assert "the test pictures)" in printed
    data = gluon_vae.load_images(pictures, image_shape=shape, test_share=n_test / 18)  # whatever --seed was
    net = gluon_vae.load("out/checkpoint")
    labels = data.y_test if model == "conditional" else None
    assert net.n_classes == (3 if model == "conditional" else None)
    assert net.n_output == np.prod(shape)
    assert net.image_shape == (None if shape == (1, 8, 8) else shape)
    assert f"Test ELBO: {gluon_vae.elbo(net, data.x_test, labels, seed=3)} nats" in printed
    for name in figures.names(net):
        assert Path("out", name).is_file()
    red, green, blue = np.moveaxis(np.asarray(Image.open("out/reconstructions.png").convert("RGB"), float), -1, 0)
    assert (max(abs(red - green).max(), abs(red - blue).max()) > 50) == (shape[0] == 3)
    if "--export" in options:
        facts = onnxruntime.InferenceSession("onnx/encoder.onnx").get_modelmeta().custom_metadata_map
        assert facts["data"] == f"{found}, 3 classes: moss, sand, sky"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--image-shape", "3,8"), "C,H,W"),
        (("--image-shape", "2,8,8"), "C,H,W"),
        (("--image-shape", "3,32,32"), "784"),
        (("--test-share", "0.3"), "test part"),
        (("--test-share", "1"), "--test-share"),
        (("--background", "red"), "--background"),
        (("--data", "PICTURES/moss", "--model", "conditional"), "needs labels"),
        (("--data", "PICTURES/moss/0.png"), "0.png"),
        (("--data", "BAD"), "notes.txt"),
        (("--data", "PICTURES", "--model", "conv", "--image-shape", "3,4,4"), "at least 8 pixels"),
    ],
)
def test_images_that_cannot_be_had_end_it_before_training(arguments, named, pictures, tmp_path, monkeypatch, main):
    monkeypatch.setattr(command_line, "fit", None)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "notes.txt").touch()
    places = {"PICTURES": str(pictures), "BAD": str(tmp_path / "bad")}
    for name, place in places.items():
        arguments = [argument.replace(name, place) for argument in arguments]
    code, sentence = main("--out", tmp_path / "out", *arguments)
    assert code == 2
    assert named in sentence


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--data", "nowhere"), "nowhere"),
        (("--epochs", "0"), "--epochs"),
        (("--batch-size", "-1"), "--batch-size"),
        (("--learning-rate", "nan"), "--learning-rate"),
        (("--seed", "-1"), "--seed"),
        (("--n-latent", "0"), "n_latent"),
        (("--n-hidden", "many"), "--n-hidden"),
        (("--model", "gan"), "--model"),
        (("--likelihood", "laplace"), "--likelihood"),
        (("--variance", "0.1"), "variance"),
        (("--likelihood", "gaussian", "--variance", "0"), "variance"),
        (("--likelihood", "gaussian", "--variance", "each"), "variance"),
        (("--beta", "-1"), "beta"),
        (("--model", "sparse", "--beta", "2"), "--beta"),
        (("--n-layers", "0"), "n_layers"),
        (("--workers", "0"), "--workers"),
        (("--workers", "101"), "--workers"),
        (("--device", "tpu"), "--device"),
        (("--device", "gpu"), "gpu"),
        (("--epoch", "3"), "--epoch"),
        (("--out", "/dev/null/out"), "/dev/null"),
        (("--n-hidden", "2000000"), "128,050.5 GB"),  # (784 + 2e6 + 4 + 2 + 784) * 2e6 and the biases, 16 bytes each
        (("--n-hidden", "9" * 400), "GB"),
        (("--n-latent", "3000000000"), "57,696.0 GB"),
        (("--n-layers", "1000000000"), "GB"),
        (("--n-layers", "1000000000", "--n-hidden", "1"), "GB"),
        (("--model", "conv", "--n-latent", "2000000000"), "GB"),
    ],
)
def test_bad_input_ends_with_code_2_and_one_sentence(arguments, named, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        command_line.main(["--out", str(tmp_path / "out"), *arguments])
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert ended.value.code == 2
    assert named in message
    assert not (tmp_path / "out" / "model.params").exists()


def test_help_is_the_manual():
    result = run("--help")
    assert result.returncode == 0
    for word in ("--data", "--n-latent", "--seed", "GLUON_VAE_MNIST", "history.json", "examples:", "default: 40"):
        assert word in result.stdout
    assert "exit codes:" in result.stdout


@pytest.mark.slow
def test_a_run_is_the_same_whatever_the_machine_is_set_to(plain, tmp_path):
    """Under an ASCII locale, with a matplotlibrc of its own, an absent backend, and a name that is no text."""
    settings = ["text.usetex: True", "backend: module://absent", "font.size: 20", "savefig.dpi: 30"]
    (tmp_path / "matplotlibrc").write_text("\n".join(settings))
    out = os.fsencode(tmp_path) + b"/\xff\xfe"
    environment = {"MPLBACKEND": "absent", "PYTHONIOENCODING": "ascii:strict", "LC_ALL": "C", "PYTHONUTF8": "0"}
    environment = os.environ | environment | {"PYTHONCOERCECLOCALE": "0"}
    environment.pop("OMP_NUM_THREADS", None)  # one thread is what the command line itself takes for a dense model
    command = [sys.executable, "-m", "gluon_vae", *QUICK, "--seed", "3", "--out", out]
    result = subprocess.run(command, capture_output=True, cwd=tmp_path, env=environment, timeout=600)
    assert result.returncode == 0, result.stderr
    assert b"on cpu(0), OMP_NUM_THREADS=1\n" in result.stdout
    assert result.stdout.decode("ascii").split("\n")[1] == plain.result.stdout.split("\n")[1].replace("±", "+/-")
    assert b"\\udcff\\udcfe" in result.stdout
    for name in PICTURES | {"model.params"}:
        assert Path(os.fsdecode(out), name).read_bytes() == (plain.out / name).read_bytes(), name


# The code is the run's, which sh would not tell of the first of two.
LEFT = 'mkfifo pipe; (read first) < pipe & "$@" > pipe 2>&1'


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "workers"),
    [('"$@" >&- 2>&-', 1), (LEFT, 1), (LEFT, 2)],
    ids=["closed streams", "a reader that left", "a reader that left two workers"],
)
def test_a_run_that_nobody_listens_to_writes_its_files_and_ends_well(line, workers, tmp_path):
    command = ["sh", "-c", line, "sh", sys.executable, "-m", "gluon_vae", *QUICK, "--out", "out"]
    command += ["--workers", str(workers)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=600)
    assert (result.returncode, result.stderr) == (0, b"")
    assert {path.name for path in (tmp_path / "out").iterdir()} == WRITTEN
    assert gluon_vae.load(tmp_path / "out" / "checkpoint").n_latent == 2


class Failing(io.StringIO):
    """A stream every write to which fails."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def write(self, text):
        raise OSError(self.number, os.strerror(self.number))


class Bare:
    """A stream that can only be written to."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text


@pytest.mark.parametrize(
    ("out", "err", "code"),
    [
        (None, None, 0),
        (Bare(), Bare(), 0),
        (io.TextIOWrapper(io.BytesIO(), "ascii"), io.TextIOWrapper(io.BytesIO(), "ascii"), 0),
        (Failing(errno.EPIPE), Failing(errno.EPIPE), 0),
        (Failing(errno.ENOSPC), Bare(), 1),
    ],
    ids=["none", "bare", "ascii", "closed", "full"],
)
def test_streams_of_any_kind_cost_no_run(out, err, code, main, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        ended = main("--out", tmp_path)
        assert (sys.stdout, sys.stderr) == (out, err)
    assert ended == (code, None)
    assert {path.name for path in tmp_path.iterdir()} == WRITTEN
    if code == 1:
        assert "could not be written ([Errno 28]" in err.text
    if isinstance(out, Bare):
        assert "Test ELBO: -" in out.text
        assert "training" in err.text
    if isinstance(out, io.TextIOWrapper):
        assert b" +/- " in out.buffer.getvalue()


@pytest.mark.parametrize("during", ["load_mnist", "fit", "elbo"])
def test_an_interrupt_ends_with_code_130_and_one_sentence(during, main, tmp_path, monkeypatch):
    monkeypatch.setattr(command_line, during, raises(KeyboardInterrupt()))
    code, sentence = main("--out", tmp_path)
    assert code == 130
    if during == "elbo":
        assert sentence == f"Interrupted; what the last epoch saved is in {tmp_path}: go on with --resume"
    else:
        assert sentence == "Interrupted before anything was saved"


@pytest.mark.parametrize("name", ["plot_history", "plot_latent_grid"])
def test_an_interrupt_of_the_drawing_is_gone_on_from(name, main, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(figures.plotting, name, raises(KeyboardInterrupt()))
        assert main("--out", tmp_path)[0] == 130
    assert main("--out", tmp_path, "--resume")[0] == 0
    assert {path.name for path in tmp_path.iterdir()} == WRITTEN


def test_an_interrupt_before_the_run_ends_with_code_130_and_one_sentence(tmp_path):
    """While MXNet is imported, which imports scikit-learn, and while the command line is."""
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    for module in ("sklearn", "matplotlib"):
        stand_in = tmp_path / f"{module}.py"
        stand_in.write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT); raise AssertionError")
        result = run(*QUICK, "--out", tmp_path / "out", env=os.environ | {"PYTHONPATH": path})
        assert (result.returncode, result.stderr) == (130, "\nInterrupted\n")
        stand_in.unlink()
    assert not (tmp_path / "out").exists()


def raises(error, during=None):
    """Return a function that raises an error, while another is handled if there is one."""

    def fail(*args, **kwargs):
        if during is None:
            raise error
        try:
            raise during
        except type(during):
            raise error  # noqa: B904

    return fail


NO_MEMORY = "there is not enough memory"
FAILED = "MXNetError: Failed to allocate CPU Memory"


@pytest.mark.parametrize(
    ("fail", "code", "said"),
    [
        (raises(MemoryError()), 1, NO_MEMORY),
        (raises(ValueError("closed file"), MemoryError("137. MiB")), 1, f"{NO_MEMORY} (137. MiB)"),
        (raises(mx.MXNetError(f"Traceback:\n  File 1\n{FAILED}")), 1, f"{NO_MEMORY} ({FAILED})"),
        (raises(mx.MXNetError("Traceback:\n  File 1\nMXNetError: Check failed")), 1, "MXNetError: Check failed"),
        (raises(FloatingPointError("no number")), 1, "no number"),
        (raises(OSError(errno.ENOSPC, "No space left")), 1, "[Errno 28] No space left"),
        (raises(ValueError("wrong")), 2, "wrong"),
        (raises(launcher.ProcessError("worker 1 was killed", -9, "")), 1, "worker 1 was killed"),
        (raises(launcher.ProcessError("worker 1 ended", 2, "as it said")), 2, None),
    ],
)
def test_an_error_says_where_the_last_epoch_is_only_if_it_was_saved(fail, code, said, main, tmp_path, monkeypatch):
    start = f"python -m gluon_vae: error: {said}"
    where = f"; what the last epoch saved is in {tmp_path}"

    def save_and_fit(*args, checkpoint, **kwargs):
        checkpoint.with_suffix(".new").write_bytes(b"")
        checkpoint.with_suffix(".new").replace(checkpoint)
        fail()

    monkeypatch.setattr(command_line, "fit", fail)
    monkeypatch.setattr(checkpoint, "read", lambda path: SimpleNamespace(meta={"history": {}}))
    expected = (code, start if said else "as it said")
    assert main("--out", tmp_path) == expected
    (tmp_path / "checkpoint").write_bytes(b"of another run")
    assert main("--out", tmp_path) == expected
    if said and code == 1:
        assert main("--out", tmp_path, "--resume") == (1, start + where)
    elif said:
        assert main("--out", tmp_path, "--resume") == expected
    if said:
        monkeypatch.setattr(command_line, "fit", save_and_fit)
        assert main("--out", tmp_path) == (1, start + where)


LITTLE_MEMORY = """
import resource, sys
from gluon_vae import preflight
from gluon_vae.__main__ import main
preflight.memory = lambda: float("inf")  # it may be gone although it was there
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 300_000_000, resource.RLIM_INFINITY))
main(["--n-hidden", "6000", "--out", sys.argv[1]])
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="Linux tells how much is used")
def test_memory_that_ends_while_parameters_are_made_is_one_sentence(tmp_path):
    command = [sys.executable, "-c", LITTLE_MEMORY, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert result.returncode == 1
    (sentence,) = result.stderr.splitlines()
    assert sentence.startswith("python -m gluon_vae: error: there is not enough memory")


@pytest.mark.parametrize(
    ("role", "code", "named"),
    [("worker", 2, "DMLC_PS_ROOT_URI"), ("server", 1, "DMLC_NUM_WORKER"), ("nurse", 1, "nurse")],
)
def test_a_role_without_an_address_is_one_sentence(role, code, named, tmp_path):
    result = run(*QUICK, "--out", tmp_path, env=os.environ | {"DMLC_ROLE": role})
    assert result.returncode == code
    (sentence,) = result.stderr.splitlines()
    assert sentence.startswith("python -m gluon_vae: error: DMLC_ROLE")
    assert named in sentence


@pytest.mark.parametrize("name", ["checkpoint", "model.params", "history.json", "elbo.png", "latent_grid.png"])
def test_a_folder_in_the_place_of_a_file_is_found_before_training(name, main, tmp_path, monkeypatch):
    monkeypatch.setattr(command_line, "fit", None)
    (tmp_path / name).mkdir()
    code, sentence = main("--out", tmp_path)
    assert code == 2
    assert str(tmp_path / name) in sentence
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("model", ["conditional", "autoencoder"])
def test_the_networks_of_a_run_are_exported_then_or_later_with_what_it_reached(model, main, tmp_path):
    out, first, second = (tmp_path / name for name in ("out", "first", "a/second"))
    arguments = ("--out", out, "--model", model, "--epochs", 2)
    assert main(*arguments, "--export", first)[0] == 0
    assert sorted(path.name for path in first.iterdir()) == ["decoder.onnx", "encoder.onnx"]
    assert main(*arguments, "--resume", "--export", second)[0] == 0
    for path in first.iterdir():
        session, again = (onnxruntime.InferenceSession(folder / path.name) for folder in (first, second))
        facts = session.get_modelmeta().custom_metadata_map
        assert facts == again.get_modelmeta().custom_metadata_map
        assert facts["model"] == MODELS[model].__name__
        assert facts["data"] == "200 training and 60 test digits, grey"
        assert facts["training"] == "2 epochs, seed 0"
        assert "nats per image" in facts["ELBO" if model == "conditional" else "loss"]
        assert len(session.get_inputs()) == (2 if model == "conditional" else 1)


def test_an_export_that_cannot_be_is_refused_before_anything_is_computed(main, tmp_path, monkeypatch):
    for name in ("build_model", "load_mnist", "fit"):
        monkeypatch.setattr(command_line, name, None)
    monkeypatch.setitem(sys.modules, "onnx", None)
    code, sentence = main("--out", tmp_path / "out", "--export", tmp_path / "onnx")
    assert code == 2
    assert sentence.startswith("python -m gluon_vae: error: --export: ONNX files need the package onnx")
    assert "'.[export]'" in sentence
    assert not list(tmp_path.iterdir())


def test_an_export_to_what_is_no_folder_is_found_before_training(main, tmp_path, monkeypatch):
    monkeypatch.setattr(command_line, "fit", None)
    (tmp_path / "encoder.onnx").mkdir()
    (tmp_path / "file").touch()
    for folder, said in ((tmp_path, "encoder.onnx is not a file"), (tmp_path / "file", "file is a file")):
        code, sentence = main("--out", tmp_path / "out", "--export", folder)
        assert code == 2
        assert said in sentence


def test_an_out_that_cannot_be_written_to_is_found_before_training(main, tmp_path, monkeypatch):
    monkeypatch.setattr(command_line, "fit", None)
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "checkpoint")  # to read it would wait for ever
    for out, resume in ((tmp_path / "file", ()), (tmp_path / "file" / "out", ()), (tmp_path, ["--resume"])):
        code, sentence = main("--out", out, *resume)
        assert code == 2
        assert str(out) in sentence

    denied = PermissionError(errno.EACCES, "Permission denied", "tmp123")
    monkeypatch.setattr(preflight.tempfile, "TemporaryFile", raises(denied))
    expected = f"python -m gluon_vae: error: nothing can be written to {tmp_path / 'new'}: Permission denied"
    assert main("--out", tmp_path / "new") == (2, expected)


def test_pictures_of_another_model_go_when_the_new_ones_are_there(main, tmp_path):
    assert main("--out", tmp_path)[0] == 0
    (tmp_path / "mine.png").touch()
    (tmp_path / "samples.png").unlink()
    (tmp_path / "samples.png").symlink_to("mine.png")
    assert main("--out", tmp_path, "--model", "autoencoder", "--n-latent", 3)[0] == 0
    files = {"checkpoint", "model.params", "history.json", "loss.png", "reconstructions.png"}
    assert {path.name for path in tmp_path.iterdir()} == files | {"mine.png", "samples.png"}


def test_a_history_that_was_left_behind_is_complete_as_soon_as_the_run_goes_on(main, tmp_path, monkeypatch):
    history = tmp_path / "history.json"
    assert main("--out", tmp_path, "--epochs", 2)[0] == 0
    whole = history.read_text()
    history.write_text(json.dumps({name: column[:1] for name, column in json.loads(whole).items()}))
    assert main("--out", tmp_path, "--epochs", 2, "--resume")[0] == 0
    assert history.read_text() == whole

    history.unlink()
    monkeypatch.setattr(command_line, "fit", raises(KeyboardInterrupt()))
    assert main("--out", tmp_path, "--epochs", 2, "--resume")[0] == 130
    assert history.read_text() == whole
