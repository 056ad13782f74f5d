"""experiments/record.py: what a run adds, what it keeps, what it refuses."""

import json

import pytest
import record
from record import Record


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "FOLDER", tmp_path / "results")
    return tmp_path / "results" / "some.json"


def test_a_run_is_kept_at_once_with_where_it_comes_from(path):
    runs = Record("some", data="digits", units="nats per image")
    assert not runs.has(10, 0)
    assert not path.exists()
    runs.add(10, 0, {"values": [1.5, 2.5], "n": 3})
    assert runs.has(10, 0)
    assert not runs.has(10, 1)
    kept = json.loads(path.read_text())
    assert kept == runs.read()
    assert kept["runs"] == {"10": {"0": {"values": [1.5, 2.5], "n": 3}}}
    assert kept["made"].items() >= {"command": "python experiments/some.py", "data": "digits"}.items()
    assert set(kept["made"]["versions"]) == {"python", "mxnet", "numpy"}
    assert '"values": [1.5, 2.5],' in path.read_text()


def test_runs_are_in_the_order_of_their_numbers_however_they_came(path):
    runs = Record("some")
    for setting, seed in ((10, 1), (10, 0), (2, 10), (2, 9)):
        runs.add(setting, seed, {})
    assert [(key, list(some)) for key, some in runs.read()["runs"].items()] == [
        ("2", ["9", "10"]),
        ("10", ["0", "1"]),
    ]


def test_a_run_made_in_another_way_is_refused_by_name(path):
    Record("some", data="digits", epochs=20).add("vae", 0, {"loss": 1})
    before = path.read_text()
    with pytest.raises(ValueError, match=r"some\.json records runs made in another way \(epochs\): remove it first"):
        Record("some", data="digits", epochs=30).add("vae", 1, {"loss": 2})
    assert path.read_text() == before


def test_a_number_that_is_none_leaves_the_record_as_it_was(path):
    runs = Record("some")
    runs.add("vae", 0, {"loss": 1.0})
    with pytest.raises(ValueError, match="not JSON compliant"):
        runs.add("vae", 1, {"loss": float("nan")})
    assert list(runs.read()["runs"]["vae"]) == ["0"]


def test_what_is_missing_is_asked_when_its_turn_comes_seed_by_seed(path):
    runs = Record("some")
    runs.add("b", 0, {})
    asked = []
    for setting, seed in runs.missing(("a", "b"), (0, 1)):
        asked.append((setting, seed))
        runs.add(setting, seed, {})
        runs.add("a", 1, {})  # by another process
    assert asked == [("a", 0), ("b", 1)]
