"""Files are replaced whole or not at all."""

import errno
import fcntl
import json
import os
import signal
import socket
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


@pytest.fixture(params=["FIFO", "device", "socket"])
def special(request, tmp_path):
    """Something that is no regular file, in a folder of its own."""
    path = tmp_path / "special"
    if request.param == "FIFO":
        os.mkfifo(path)
    elif request.param == "device":
        try:
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))  # another /dev/null
        except OSError:
            pytest.skip("may not make a device")
    else:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(os.path.relpath(path))
    return path


def kinds(folder):
    return {path.name: (path.lstat().st_ino, stat.S_IFMT(path.lstat().st_mode)) for path in folder.iterdir()}


@pytest.mark.parametrize("linked", [False, True])
def test_what_is_no_regular_file_is_left_alone(special, linked):
    path = special
    if linked:
        path = special.with_name("link.json")
        path.symlink_to(special)
    before = kinds(special.parent)
    for use in (
        lambda: save(path, "mine"),
        lambda: write_json(path, 1),
        lambda: storage.check_writable(path),
        lambda: storage.open_regular(path),
    ):
        with pytest.raises(OSError, match=f"Not a regular file: '{path}'"):
            use()
    assert kinds(special.parent) == before


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="open files have no paths here")
def test_an_open_pipe_is_left_alone():
    reader, writer = os.pipe()
    try:
        with pytest.raises(OSError, match="Not a regular file"):
            write_json(f"/dev/fd/{writer}", 1)
    finally:
        os.close(reader)
        os.close(writer)


def test_a_folder_is_left_alone(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    for name in ("folder", "link"):
        with pytest.raises(IsADirectoryError, match=name):
            save(tmp_path / name, "mine")
    assert {path.name for path in tmp_path.iterdir()} == {"folder", "link"}


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("relative", [True, False])
def test_a_link_stays_and_its_target_is_replaced(tmp_path, there, relative):
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    target, link, chain = elsewhere / "target.txt", here / "link.json", here / "chain"
    link.symlink_to(Path("..", "elsewhere", "target.txt") if relative else target)
    chain.symlink_to("link.json")
    if there:
        target.write_text("old")
    for path in (link, chain):
        with pytest.raises(RuntimeError), replacing(path):
            raise RuntimeError
        assert target.exists() == there
        with replacing(path) as temporary:
            assert temporary.parent == elsewhere  # on the file system of the target, which can be another
            assert temporary.name.endswith(path.suffix)  # which says what to write
            temporary.write_text("new")
        assert target.read_text() == "new"
        if not there:
            target.unlink()
    for path in (link, chain):
        write_json(path, str(path))
        assert json.loads(target.read_text()) == str(path)
    assert link.is_symlink()
    assert chain.is_symlink()
    assert sorted(path.name for path in (*here.iterdir(), *elsewhere.iterdir())) == [
        "chain",
        "link.json",
        "target.txt",
    ]


def test_what_a_killed_process_left_behind_a_link_goes_too(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link.png"
    link.symlink_to(target)
    code = """
with replacing(sys.argv[1]) as temporary:
    print(temporary, flush=True)
    sys.stdin.readline()
"""
    with start(code, link) as process:
        assert Path(process.stdout.readline().strip()).exists()
        process.kill()
    assert len(list(tmp_path.iterdir())) == 2
    save(link, "mine")
    assert target.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.png", "target"]


def test_a_link_that_leads_nowhere_is_named(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("missing/file")
    for name, kind in (("loop", OSError), ("dangling", FileNotFoundError)):
        for use in (
            lambda name=name: save(tmp_path / name, "mine"),
            lambda name=name: storage.check_writable(tmp_path / name),
        ):
            with pytest.raises(kind, match=str(tmp_path)):
                use()
    assert {path.name for path in tmp_path.iterdir()} == {"loop", "dangling"}


def test_looking_whether_a_file_can_be_written_leaves_it_alone(tmp_path):
    path = tmp_path / "a.txt"
    storage.check_writable(path)
    assert list(tmp_path.iterdir()) == []
    path.write_text("mine")
    before = path.stat()
    storage.check_writable(path)
    assert list(tmp_path.iterdir()) == [path]
    assert (path.stat().st_ino, path.stat().st_mtime_ns, path.read_text()) == (
        before.st_ino,
        before.st_mtime_ns,
        "mine",
    )
