"""What is found out before a run begins."""

import math

import pytest

from gluon_vae import __main__ as command_line
from gluon_vae import preflight

from mxnet.name import NameManager

GIB = 1 << 30


@pytest.mark.parametrize("n_layers", [1, 2, 5])
@pytest.mark.parametrize("model", command_line.MODELS)
def test_the_memory_that_a_model_needs_is_known_without_building_it(model, n_layers, monkeypatch):
    options = ["--model", model, "--n-hidden", "7", "--likelihood", "gaussian"]
    args = command_line.build_parser().parse_args(options)

    def build(n):
        return command_line.build_model(args, n)

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


MACHINE = {"proc/meminfo": "MemTotal:       8388608 kB\nMemFree: 1 kB\nSwapTotal:      1048576 kB\n"}
SECOND = MACHINE | {"proc/self/cgroup": "0::/a/b\n"}
FIRST = MACHINE | {"proc/self/cgroup": "9:name=systemd:/x\n4:cpu,memory:/a\n"}
V1, V2 = "sys/fs/cgroup/memory", "sys/fs/cgroup"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, math.inf),
        (MACHINE, 9 * GIB),
        (SECOND, 9 * GIB),
        (SECOND | {f"{V2}/a/b/memory.max": "max"}, 9 * GIB),
        (SECOND | {f"{V2}/a/b/memory.max": 2 * GIB}, 3 * GIB),
        (SECOND | {f"{V2}/a/memory.max": 2 * GIB, f"{V2}/a/memory.swap.max": 0}, 2 * GIB),
        (SECOND | {f"{V2}/memory.max": GIB, f"{V2}/memory.swap.max": "max"}, 2 * GIB),
        (FIRST | {f"{V1}/a/memory.limit_in_bytes": 9223372036854771712}, 9 * GIB),
        (FIRST | {f"{V1}/memory.limit_in_bytes": 4 * GIB}, 5 * GIB),
        (FIRST | {f"{V1}/a/memory.memsw.limit_in_bytes": 3 * GIB}, 3 * GIB),
        (FIRST | {f"{V2}/a/memory.max": 1}, 9 * GIB),  # not where this version has it
    ],
)
def test_memory_is_the_least_of_what_the_machine_and_its_control_groups_grant(files, expected, tmp_path, monkeypatch):
    unlimited = preflight.resource.RLIM_INFINITY
    monkeypatch.setattr(preflight.resource, "getrlimit", lambda limit: (unlimited, unlimited))
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(str(content))
    assert preflight.memory(tmp_path) == expected
    monkeypatch.setattr(preflight.resource, "getrlimit", lambda limit: (12345, unlimited))
    assert preflight.memory(tmp_path) == 12345


def test_memory_of_this_machine_is_plausible():
    assert preflight.memory() > 1e8
    preflight.check_memory(lambda n: command_line.MODELS["vae"](n_layers=n), 2)
