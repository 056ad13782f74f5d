"""Several processes, one result: data-parallel training on loopback."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import shared_training
from hypothesis import given
from hypothesis import strategies as st

import gluon_vae
from gluon_vae import __main__ as command_line
from gluon_vae import checkpoint, distributed, launcher, roles


def environment():
    """Return what a process of its own is given: no role, and no compiler, which takes longer than what it trains.

    ``shared_training`` is what several processes train with the compiled update.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DMLC")}
    return kept | {"NUMBA_DISABLE_JIT": "1"}


@pytest.fixture
def start():
    """Return a function that starts the command line; what a failing test leaves running is ended."""
    started = []

    def run(*arguments):
        command = [sys.executable, "-m", "gluon_vae", *map(str, arguments)]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        started.append(subprocess.Popen(command, env=environment(), **streams))
        return started[-1]

    yield run
    for process in started:
        with process:
            process.kill()  # its workers end with it


def wait_for(condition, seconds=600):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def children():
    """Return the processes that this one has started and that are still there, those of other tests too."""
    return set(psutil.Process().children(recursive=True))


def family(process):
    return psutil.Process(process.pid).children(recursive=True)


def is_over(process):
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.slow
def test_two_workers_end_with_the_weights_of_one_process(tmp_path):
    launcher.launch([sys.executable, shared_training.__file__, str(tmp_path)], 2)
    lengths = {}
    for kind in shared_training.MODELS:
        shared_training.train(kind, tmp_path)
        one, first, second = (np.load(tmp_path / f"{kind}-{name}.npz") for name in ("one", "worker0", "worker1"))
        for name in one.files:
            np.testing.assert_array_equal(first[name], second[name])
            np.testing.assert_allclose(first[name], one[name], rtol=1e-5, atol=1e-5)
        assert one["loss"][-1] != one["loss"][0]  # there was something to agree on
        lengths[kind] = len(one["loss"])
    assert lengths["stopped"] == 2
    assert lengths["patient"] < 60


@given(n=st.integers(1, 500), n_workers=st.integers(1, 20))
def test_shares_part_a_batch_evenly(n, n_workers):
    stores = [SimpleNamespace(rank=rank, num_workers=n_workers) for rank in range(n_workers)]
    parts = [distributed.Worker(store).share(None, [range(n)]) for store in stores]
    parts = [part for shares in parts for part in shares or [()]]
    assert [i for part in parts for i in part] == list(range(n))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_more_workers_than_images_in_a_batch_are_refused():
    net = gluon_vae.VAE(n_hidden=4, n_output=12)
    store = SimpleNamespace(rank=0, num_workers=5)
    with pytest.raises(ValueError, match="5 workers"):
        gluon_vae.fit(net, np.zeros((10, 12), np.float32), batch_size=4, kvstore=store)


def test_a_failing_worker_is_named_and_no_process_is_left(tmp_path):
    before = children()
    # One fails, whichever comes first; the other would wait for ever.
    code = "import os, sys, time\ntry: os.mkdir(sys.argv[1])\nexcept FileExistsError: time.sleep(600)\nsys.exit(7)"
    with pytest.raises(ChildProcessError, match=r"worker [12] of 2 ended with exit code 7"):
        launcher.launch([sys.executable, "-c", code, str(tmp_path / "begun")], 2)
    assert not children() - before


def test_what_a_worker_leaves_reaches_the_launcher():
    said = "größer\udcff\n"
    content = said.encode(errors="surrogateescape")
    code = f"import os; os.environ['DMLC_ROLE'] == 'worker' and (os.write(0, {content}), os._exit(2))"
    with pytest.raises(launcher.ProcessError, match="worker 1 of 1 ended with exit code 2") as ended:
        launcher.launch([sys.executable, "-c", code], 1)
    assert (ended.value.code, ended.value.said) == (2, said)


def test_an_interrupted_launcher_leaves_no_process():
    before = children()

    def interrupt():
        wait_for(lambda: len(children() - before) == 4)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        launcher.launch([sys.executable, "-c", "import time; time.sleep(600)"], 2)
    thread.join()
    assert not children() - before


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_an_interrupt_while_processes_are_started_leaves_none(number, raised, monkeypatch):
    class Interrupted(subprocess.Popen):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            os.kill(os.getpid(), number)

    before = children()
    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(raised):
        launcher.launch([sys.executable, "-c", "import time; time.sleep(600)"], 2)
    assert not children() - before


SET = {
    "DMLC_PS_ROOT_URI": "127.0.0.1",
    "DMLC_PS_ROOT_PORT": "9000",
    "DMLC_NUM_WORKER": "2",
    "DMLC_NUM_SERVER": "1",
}


@pytest.mark.parametrize("role", roles.ROLES)
def test_a_role_is_refused_unless_the_environment_says_all_that_it_needs(role, monkeypatch):
    for name in SET:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DMLC_ROLE", role)
    with pytest.raises(ValueError, match=f"DMLC_ROLE={role} .*{', '.join(SET)} are not: ") as refused:
        roles.check()
    assert "\n" not in str(refused.value)
    for name, value in SET.items():
        monkeypatch.setenv(name, value)
    roles.check()
    for name in SET:
        for wrong in ("",) if name == "DMLC_PS_ROOT_URI" else ("", "0", "-1", "two", "2.5"):
            monkeypatch.setenv(name, wrong)
            with pytest.raises(ValueError, match=f"which {name} is not: "):
                roles.check()
        monkeypatch.setenv(name, SET[name])


def test_no_role_needs_nothing_and_another_is_refused(monkeypatch):
    monkeypatch.delenv("DMLC_ROLE", raising=False)
    roles.check()
    for wrong in ("", "Worker", "nurse"):
        monkeypatch.setenv("DMLC_ROLE", wrong)
        with pytest.raises(ValueError, match=f"DMLC_ROLE must be unset or .* got '{wrong}'"):
            roles.check()


@pytest.mark.parametrize("role", ["server", "scheduler", ""])
def test_import_refuses_a_role_that_could_not_be_played(role):
    code = "try: import gluon_vae\nexcept ImportError as error: print(error)"
    environment_ = environment() | {"DMLC_ROLE": role}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, env=environment_, capture_output=True, text=True, timeout=60)
    (sentence,) = result.stdout.splitlines()
    assert sentence.startswith("DMLC_ROLE")
    assert result.stderr == ""


def test_a_role_that_was_left_behind_is_nothing_to_a_process_that_trains_alone(monkeypatch):
    monkeypatch.setenv("DMLC_ROLE", "worker")
    net = gluon_vae.VAE(n_hidden=4, n_output=12)
    assert gluon_vae.fit(net, np.zeros((4, 12), np.float32), n_epochs=1, progress=False)["epoch"] == [1]
    with pytest.raises(ValueError, match="DMLC_PS_ROOT_URI"):
        distributed.connect()


@pytest.mark.slow
def test_what_is_wrong_with_a_resumed_run_is_said_once_however_many_workers_it_has(start, tmp_path, capsys):
    options = ("--epochs", "1", "--n-hidden", "8", "--out", str(tmp_path))
    command_line.main(options)
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        command_line.main([*options, "--resume", "--seed", "5"])
    out, err = capsys.readouterr()
    saved, before = tmp_path / "checkpoint", children()
    assert err == f"python -m gluon_vae: error: {saved} cannot be resumed: its run had seed = 0, this one has 5\n"

    run = start(*options, "--resume", "--seed", 5, "--workers", 2)
    assert run.communicate(timeout=600)[0] == out + err
    assert run.returncode == ended.value.code == 2
    assert not children() - before


MISTAKEN = """
import sys
import gluon_vae.__main__ as command_line

fit = command_line.fit

def mistaken(*args, kvstore, **options):
    if kvstore.rank == 1:
        raise TypeError("a mistake")
    return fit(*args, kvstore=kvstore, **options)

command_line.fit = mistaken
command_line.main(["--epochs", "1", "--n-hidden", "8", "--out", sys.argv[1]])
"""


@pytest.mark.slow
def test_a_mistake_in_one_worker_ends_all(tmp_path):
    with pytest.raises(launcher.ProcessError) as ended:
        launcher.launch([sys.executable, "-c", MISTAKEN, str(tmp_path)], 2)
    assert ended.value.said.endswith("TypeError: a mistake\n")


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["worker", "launcher"])
def test_a_killed_process_ends_the_run_and_leaves_nothing_running(victim, start, tmp_path):
    run = start("--workers", 2, "--epochs", 1000, "--n-hidden", 8, "--out", tmp_path)
    wait_for((tmp_path / "checkpoint").exists)
    children = family(run)
    roles = [child.environ().get("DMLC_ROLE") for child in children]
    assert sorted(roles) == ["scheduler", "server", "worker", "worker"]
    killed = time.monotonic()
    (children[roles.index("worker")] if victim == "worker" else psutil.Process(run.pid)).kill()
    output, _ = run.communicate(timeout=10)
    wait_for(lambda: all(map(is_over, children)), seconds=10)
    assert time.monotonic() - killed < 10
    assert run.returncode != 0
    if victim == "worker":
        assert run.returncode == 1
        assert "of 2 was killed by signal 9" in output
        assert str(tmp_path) in output
    assert checkpoint.read(tmp_path / "checkpoint").meta["history"]["epoch"]


@pytest.mark.slow
def test_interrupted_workers_resume_to_the_result_of_one_process(start, tmp_path):
    options = ("--epochs", 3, "--n-hidden", 8, "--n-layers", 1, "--n-latent", 3)
    options += ("--batch-size", 50)  # slow enough to be interrupted
    together, alone = tmp_path / "together", tmp_path / "alone"
    run = start(*options, "--workers", 2, "--out", together)
    wait_for((together / "checkpoint").exists)
    children = family(run)
    run.send_signal(signal.SIGINT)
    output, _ = run.communicate(timeout=10)
    assert run.returncode == 130
    assert "--resume" in output
    wait_for(lambda: all(map(is_over, children)), seconds=10)
    done = len(checkpoint.read(together / "checkpoint").meta["history"]["epoch"])
    assert 1 <= done < 3

    run = start(*options, "--workers", 2, "--out", together, "--resume")
    output, _ = run.communicate(timeout=600)
    assert run.returncode == 0, output
    assert output.count("Test ELBO") == 1
    command_line.main([*map(str, options), "--out", str(alone)])
    histories = [json.loads((folder / "history.json").read_text()) for folder in (together, alone)]
    for term in ("train_loss", "test_loss", "learning_rate"):
        np.testing.assert_allclose(histories[0][term], histories[1][term], rtol=1e-4)
    assert {p.name for p in together.iterdir()} == {p.name for p in alone.iterdir()}
