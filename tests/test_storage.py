"""Files are replaced whole or not at all."""

import json
import stat

import pytest

from gluon_vae.storage import replacing, write_json


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
