"""Opening results runs no code named in them, and works for runs of policies that are not installed here."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import continuum_sim as cs
from support.cli import cli, printed

EVIL = "open(__file__ + '.ran', 'w').close()\nX = 1\n"
MINE = '''
from dataclasses import dataclass
from continuum_sim.policies.rules.continuum_code import FixedPin
@dataclass(frozen=True)
class Mine(FixedPin):
    """Mine."""
'''


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on Python's path with a module that leaves a mark when it is imported."""
    (tmp_path / "evil.py").write_text(EVIL)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("evil", None)


def _rename(place: Path, name: str) -> None:
    """Put this policy's name everywhere in a directory of results."""
    for path in place.rglob("*.json"):
        content = json.loads(path.read_text())
        path.write_text(json.dumps(_renamed(content, name)))


def _renamed(value: Any, name: str) -> Any:
    if isinstance(value, list):
        return [_renamed(item, name) for item in value]
    if not isinstance(value, dict):
        return value
    if "retention" in value:  # a policy as in a manifest, without the entries that earlier versions lack
        return {"name": name, "retention": name}
    return {
        key: name if key == "policy" and isinstance(item, str) else _renamed(item, name) for key, item in value.items()
    }


@pytest.mark.parametrize("name", ["evil:X:ttl=3", "order=evil:X,retention=ttl"])
def test_opening_results_imports_nothing_they_name(evil: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    run = evil / "r"
    printed(capsys, "run", "--limit", "2", "--policy", "ttl", "--decisions", "--out", run)
    printed(capsys, "compare", "--limit", "2", "--policies", "ttl-static:ttl=1", "--seeds", "0", "--out", evil / "c")
    for place in (run, evil / "c"):
        _rename(place, name)
    for command in (
        ["timeline", run, "--perfetto", evil / "t.json"],
        ["report", run, "--no-pictures"],
        ["trace", "export", run, "--to", "continuum", "-o", evil / "x"],
        ["figures", run, "--out", evil / "f", "--only", "jct-cdf", "--format", "svg"],
        ["report", evil / "c", "--no-pictures"],
        ["figures", evil / "c", "--out", evil / "fc", "--only", "jct-cdf", "--format", "svg"],
    ):
        code, _, err = cli(capsys, *command)
        assert code == 0, err
    loaded = cs.load_run(run)
    assert loaded.summary.policy == name
    assert len(loaded.turns) > 0
    assert len(loaded.decisions) > 0
    cs.write_report(run, evil / "r.html", pictures=False)
    assert "evil" not in sys.modules
    assert not (evil / "evil.py.ran").exists()


def test_a_sweep_of_a_policy_that_is_not_installed_is_drawn(evil: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    grid = ["--policies", "ttl-static:ttl=1,ttl-static:ttl=4", "--seeds", "0-1", "--limit", "2", "--jobs", "1"]
    printed(capsys, "sweep", *grid, "--out", evil / "s")
    cells = next((evil / "s" / "cells").glob("*.parquet"))
    table = pq.ParquetFile(cells).read()
    names = [name.replace("ttl-static", "evil:X") for name in table.column("policy").to_pylist()]
    at = table.schema.get_field_index("policy")
    pq.write_table(table.set_column(at, table.schema.field(at), pa.array(names)), cells)
    drawn = printed(capsys, "figures", evil / "s", "--out", evil / "f", "--only", "ttl-sensitivity")
    assert "ttl-sensitivity" in drawn
    assert (evil / "f" / "ttl-sensitivity.csv").read_text().count("evil:X") == 4
    assert "evil" not in sys.modules


def test_a_run_of_ones_own_policy_is_shown_alike_where_its_module_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mypol.py").write_text(MINE)
    run = tmp_path / "r"
    with monkeypatch.context() as here:
        here.syspath_prepend(str(tmp_path))
        printed(
            capsys, "run", "--limit", "8", "--arrivals", "burst", "--policy", "retention=mypol:Mine", "--decisions",
            "--out", run,
        )  # fmt: skip
        sys.modules.pop("mypol")
    summary = json.loads((run / "summary.json").read_text())
    printed(capsys, "trace", "export", run, "--to", "continuum", "-o", tmp_path / "own")
    summary["policy"] = "continuum-code"  # the same rule, which the registry knows
    (run / "summary.json").write_text(json.dumps(summary))
    printed(capsys, "trace", "export", run, "--to", "continuum", "-o", tmp_path / "registered")
    own, registered = ((tmp_path / name / "scheduler_timestamps").read_text() for name in ("own", "registered"))
    assert own == registered
    for command in (["timeline", run, "--perfetto", tmp_path / "t.json"], ["report", run, "--no-pictures"]):
        printed(capsys, *command)
