"""What is found out before a run begins."""

import pytest

from gluon_vae import options, preflight

from mxnet.name import NameManager


@pytest.mark.parametrize("n_layers", [1, 2, 5])
@pytest.mark.parametrize("model", options.MODELS)
def test_the_memory_that_a_model_needs_is_known_without_building_it(model, n_layers, monkeypatch):
    given = ["--model", model, "--n-hidden", "7", "--likelihood", "gaussian"]
    args = options.build_parser().parse_args(given)

    def build(n):
        return options.build_model(args, n)

    if model == "conv":
        n_layers = 1
    net = build(n_layers)
    net.initialize()
    n = sum(parameter.data().size for parameter in net.collect_params().values())
    needed = 2 * (16 * n + n_layers * preflight.LAYER_BYTES)
    monkeypatch.setattr(preflight, "memory", lambda: needed)
    with NameManager():  # MXNet's own counting of names, from its beginning
        preflight.check_memory(build, n_layers, n_processes=2)  # what fits is not refused
        assert build(n_layers).prefix.endswith("0_")
    monkeypatch.setattr(preflight, "memory", lambda: needed - 1)
    with pytest.raises(ValueError, match=f"{n:,} parameters needs .* in each of 2 processes"):
        preflight.check_memory(build, n_layers, n_processes=2)


def test_a_model_of_the_command_line_fits_into_this_machine():
    preflight.check_memory(lambda n: options.MODELS["vae"](n_layers=n), 2)
