"""Threads: who starts teams of them, and under which settings they compute wrong numbers."""

import os
import subprocess
import sys

import pytest

from gluon_vae import openmp

# Train, save, go on, evaluate, with arrays far above 200,000 numbers; then copy one on the caller's thread.
SCRIPT = """
import os, sys
import numpy as np
import gluon_vae
from mxnet import nd

def threads():
    nd.waitall()
    return len(os.listdir("/proc/self/task"))

nd.dot(nd.ones((300, 300)), nd.ones((300, 300))).wait_to_read()  # the team of the thread that computes
x = np.random.default_rng(0).random((600, 784), dtype=np.float32)
net = gluon_vae.VAE(n_hidden=300, n_layers=2)
for n_epochs, resume in ((1, False), (1, True)):
    options = {"checkpoint": sys.argv[1] + "/c", "resume": resume, "progress": False}
    gluon_vae.fit(net, x, x, n_epochs=n_epochs, **options)
gluon_vae.load(sys.argv[1] + "/c")
gluon_vae.elbo(net, x)
gluon_vae.log_likelihood(net, x[:5], n_samples=300, progress=False)
gluon_vae.generate(net, gluon_vae.encode(net, nd.from_numpy(x)))
gluon_vae.pixel_variance(net, gluon_vae.prior_draws(600, 2))
before = threads()
nd.array(x)
print(before, threads())
"""


def run(code, *arguments, **settings):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "MXNET_"))}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment | {"OPENBLAS_NUM_THREADS": "1"} | settings,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted where Linux lists them")
@pytest.mark.parametrize(("parallel_size", "started"), [(None, 0), ("200000", 1)])
def test_one_thread_alone_starts_teams(parallel_size, started, tmp_path):
    """The package copies nothing large on the caller's thread; what does is not parallel unless that is asked for."""
    settings = {} if parallel_size is None else {openmp.PARALLEL_SIZE: parallel_size}
    result = run(SCRIPT, str(tmp_path), OMP_NUM_THREADS="2", **settings)
    assert result.returncode == 0, result.stderr
    before, after = map(int, result.stdout.split())
    assert after - before == started


COMPUTE = """
import numpy as np
import gluon_vae
from mxnet import nd
a, b = (np.random.default_rng(i).random((n, 784), dtype=np.float32) for i, n in enumerate((100, 400)))
product = nd.FullyConnected(nd.array(a), nd.array(b), num_hidden=400, no_bias=True).asnumpy()
print((np.abs(product - a @ b.T) > 0.01).mean())
"""


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"OMP_NUM_THREADS": "2", "OMP_DYNAMIC": "true"}, "OMP_DYNAMIC=true"),
        ({"OMP_NUM_THREADS": "2", "OMP_THREAD_LIMIT": "1"}, "OMP_THREAD_LIMIT=1"),
        ({"OMP_NUM_THREADS": "2", "OMP_MAX_ACTIVE_LEVELS": "0"}, "OMP_MAX_ACTIVE_LEVELS=0"),
        ({"OMP_NUM_THREADS": "2,1"}, "OMP_NUM_THREADS"),
        ({"OMP_NUM_THREADS": "two"}, "OMP_NUM_THREADS"),
    ],
)
def test_settings_that_give_wrong_products_are_refused_by_name(settings, named):
    result = run(COMPUTE, **settings)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError")
    assert named in last


@pytest.mark.parametrize(
    "settings",
    [
        {"OMP_NUM_THREADS": "1", "OMP_DYNAMIC": "true", "OMP_THREAD_LIMIT": "1"},
        {"OMP_NUM_THREADS": "2", "OMP_DYNAMIC": "false", "OMP_THREAD_LIMIT": "2"},
    ],
)
def test_settings_that_are_harmless_are_not_refused(settings):
    result = run(COMPUTE, **settings)
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) == 0


@pytest.mark.parametrize(
    ("arguments", "environment", "threads", "policy"),
    [
        ([], {}, "1", "passive"),
        (["--model", "vae", "--out", "conv"], {}, "1", "passive"),
        (["--seed", "1", "--model", "conv"], {}, "6", "passive"),
        (["--from", "out/checkpoint", "score"], {}, "6", "passive"),
        (["--from=out/checkpoint", "generate"], {"OMP_NUM_THREADS": "2"}, "2", None),
        (["--model=conv"], {"OMP_WAIT_POLICY": "active"}, "6", "active"),
        (["--model", "conv"], {"OMP_NUM_THREADS": "3"}, "3", None),
        (["--model", "conv", "--workers", "2"], {}, None, None),  # among which the launcher divides the cores
        (["--workers=2"], {}, None, None),
    ],
)
def test_the_command_line_chooses_what_nobody_has_set(arguments, environment, threads, policy, monkeypatch):
    monkeypatch.setattr(os, "environ", environment)
    monkeypatch.setattr(openmp, "cores", lambda: 6)
    openmp.choose(arguments)
    assert environment.get("OMP_NUM_THREADS") == threads
    assert environment.get("OMP_WAIT_POLICY") == policy


def test_what_the_environment_says_stays(monkeypatch):
    monkeypatch.setenv(openmp.PARALLEL_SIZE, "1000")
    openmp.prepare()
    assert os.environ[openmp.PARALLEL_SIZE] == "1000"
    monkeypatch.delenv(openmp.PARALLEL_SIZE)
    openmp.prepare()
    assert os.environ[openmp.PARALLEL_SIZE] == openmp.NEVER
