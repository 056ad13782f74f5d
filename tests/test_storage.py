"""Files are replaced whole or not at all."""

import errno
import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from gluon_vae import storage
from gluon_vae.storage import replacing, write_json

# Loads the module without the package, whose imports take seconds.
ALONE = f"import sys; sys.path.insert(0, {str(Path(storage.__file__).parent)!r}); from storage import replacing\n"


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "history.json"
    write_json(path, {"a": [1.5]})

    def fail():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail()
    assert json.loads(path.read_text()) == {"a": [1.5]}
    assert list(tmp_path.iterdir()) == [path]


def test_a_value_that_json_has_no_word_for_is_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "history.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_the_new_file_replaces_the_old_with_ordinary_permissions(tmp_path):
    path, plain = tmp_path / "a.txt", tmp_path / "b.txt"
    plain.write_text("")
    for content in ("old", "new"):
        with replacing(path) as temporary:
            assert temporary.suffix == ".txt"
            temporary.write_text(content)
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def start(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", ALONE + code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def writer(tmp_path):
    """Another process in the middle of saving ``a.txt``: the process, the target, its temporary file."""
    code = """
with replacing(sys.argv[1]) as temporary:
    temporary.write_text("another's")
    print(temporary, flush=True)
    sys.stdin.readline()
"""
    with start(code, tmp_path / "a.txt") as process:
        temporary = Path(process.stdout.readline().strip())
        assert temporary.read_text() == "another's"
        yield process, tmp_path / "a.txt", temporary
        process.kill()


def save(path, text):
    with replacing(path) as temporary:
        temporary.write_text(text)


def test_what_a_killed_process_left_goes_with_the_next_save_of_the_same_file_only(writer):
    process, path, temporary = writer
    others = [path.with_name(name) for name in (".a.partial-20251231.png", ".a.partial-2025.txt", ".a.txt")]
    for other in others:
        other.write_text("someone's")
    process.kill()
    assert process.wait() == -signal.SIGKILL
    save(path.with_name("b.txt"), "mine")
    assert temporary.exists()
    save(path, "mine")
    assert {p.name: p.read_text() for p in path.parent.iterdir()} == {
        **{other.name: "someone's" for other in others},
        "a.txt": "mine",
        "b.txt": "mine",
    }


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="this Python cannot wait and leave the zombie")
def test_a_dead_process_that_nobody_waited_for_is_dead(writer):
    process, path, _ = writer
    os.kill(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    os.kill(process.pid, 0)  # its number is still taken
    save(path, "mine")
    assert list(path.parent.iterdir()) == [path]


def test_two_live_processes_leave_each_others_files_alone(writer):
    process, path, temporary = writer
    save(path, "mine")
    assert path.read_text() == "mine"
    assert temporary.read_text() == "another's"
    process.communicate("go on\n")
    assert process.returncode == 0
    assert path.read_text() == "another's"
    assert list(path.parent.iterdir()) == [path]


def test_many_processes_saving_the_same_file_at_once(tmp_path):
    code = """
sys.stdin.readline()
for i in range(100):
    with replacing(sys.argv[1]) as temporary:
        temporary.write_text(sys.argv[2] * 1000)
"""
    path = tmp_path / "a.txt"
    processes = [start(code, path, name) for name in "abcd"]
    for process in processes:  # all at once, when all have started
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    assert path.read_text() in {name * 1000 for name in "abcd"}
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_removed_in_the_instant_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    made = []

    def mkstemp(original=tempfile.mkstemp, **kwargs):
        made.append(original(**kwargs))
        if len(made) == 1:
            os.unlink(made[0][1])
        return made[-1]

    monkeypatch.setattr(tempfile, "mkstemp", mkstemp)
    save(tmp_path / "a.txt", "mine")
    assert len(made) == 2
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_without_locks_files_are_written_and_none_is_taken_for_a_leftover(tmp_path, monkeypatch):
    def flock(*args):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    live = tmp_path / ".a.partial-00000000.txt"
    live.write_text("another's")
    save(tmp_path / "a.txt", "mine")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.txt": "mine", live.name: "another's"}


def test_no_handle_is_left_open(tmp_path):
    def n_open():
        return len(os.listdir("/dev/fd"))

    save(tmp_path / "a.txt", "once")
    before = n_open()
    for _ in range(5):
        save(tmp_path / "a.txt", "again")
        with pytest.raises(ValueError, match="JSON"):
            write_json(tmp_path / "a.txt", float("nan"))
        with pytest.raises(RuntimeError), replacing(tmp_path / "a.txt"):
            raise RuntimeError
    assert n_open() == before


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere'"):
        save(tmp_path / "nowhere" / "a.txt", "mine")
