"""The docstrings of the public names: complete, and with examples that run."""

import doctest
import inspect
import re
import typing
from pathlib import Path

import pytest

import gluon_vae

CONTRIBUTING = Path(__file__).parent.parent / "CONTRIBUTING.md"
PUBLIC = {name: getattr(gluon_vae, name) for name in gluon_vae.__all__}
MODELS = [name for name, item in PUBLIC.items() if hasattr(item, "output_names")]


def parameters_of(item):
    """Return the names that a call takes, those of ``**options`` included."""
    if hasattr(item, "_fields"):  # a named tuple
        return set(item._fields)
    function = item.__init__ if inspect.isclass(item) else item
    hints = typing.get_type_hints(function, include_extras=True, localns={"Callable": typing.Callable})
    names = set()
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            (options,) = typing.get_args(hints[name])
            names |= set(typing.get_type_hints(options))
        elif name != "self":
            names.add(name)
    return names


def section(item, title):
    found = re.search(rf"^{title}\n-+\n(.*?)(?=^\S[^\n]*\n-+\n|\Z)", inspect.getdoc(item), re.DOTALL | re.MULTILINE)
    return found[1] if found else ""


def described(text):
    """Return the names that a section explains, those of an indented list too."""
    entries = re.findall(r"^ *([\w*, ]+?) : ", text, re.MULTILINE)
    return {name.strip(" *") for entry in entries for name in entry.split(",")}


@pytest.mark.parametrize("name", PUBLIC)
def test_every_argument_is_explained_where_it_is_taken(name):
    taken = parameters_of(PUBLIC[name])
    if name == "VAE":
        taken -= {"n_classes"}  # refused: ConditionalVAE has it
    assert taken <= described(section(PUBLIC[name], "Parameters"))


@pytest.mark.parametrize("name", MODELS)
def test_every_model_explains_what_it_keeps_by_itself(name):
    model, text = PUBLIC[name], inspect.getdoc(PUBLIC[name])
    kept = {*model.output_names, "encoder", "decoder", "config"}
    assert kept <= described(section(model, "Attributes"))
    assert not re.search(r"\{\w+\}$|\bas in\b|form above", text, re.IGNORECASE | re.MULTILINE)
    assert section(model, "Raises")


@pytest.mark.parametrize("name", PUBLIC)
def test_examples_run(name, tmp_path):
    finder = doctest.DocTestFinder(recurse=False)
    (test,) = finder.find(PUBLIC[name], name, globs={"gluon_vae": gluon_vae, "folder": tmp_path})
    result = doctest.DocTestRunner().run(test)
    assert result.failed == 0
    assert result.attempted or name not in ("VAE", "fit", "generate", "elbo", "load")


def test_the_guides_model_is_a_member_of_the_family(sample, tmp_path):
    code = re.search(r"```python\n(.*?)```", CONTRIBUTING.read_text(), re.DOTALL)[1]
    names = {}
    exec(code, names)
    net = names["SmallCodeAutoencoder"](20, 4, weight=2)
    net.hybridize()
    history = gluon_vae.fit(net, sample.x_train[:200], n_epochs=2, checkpoint=tmp_path / "checkpoint", progress=False)
    assert history["train_loss"][1] < history["train_loss"][0]
    again = gluon_vae.load(tmp_path / "checkpoint", names["SmallCodeAutoencoder"](20, 4))
    x = sample.x_test[:5]
    assert (gluon_vae.encode(again, x) == gluon_vae.encode(net, x)).all()
    loss = net(x).asnumpy()
    code = gluon_vae.encode(net, x)
    assert loss == pytest.approx(net.nll.asnumpy() + 2 * (code**2).sum(axis=1), rel=1e-5)
