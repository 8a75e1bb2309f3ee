"""The directory of a sweep: whole parts or none, one process at a time, equal bytes for equal cells."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import continuum_sim as cs
from continuum_sim.results.manifest import make_stamp
from continuum_sim.sweeps import store as store_module
from continuum_sim.sweeps.row import CELL, columns
from continuum_sim.sweeps.store import SweepStore, part_files, sweep_store


def row(cell: str) -> dict[str, Any]:
    filled: dict[str, Any] = dict.fromkeys(columns())
    asked = {"policy": f"policy of {cell}", "seed": 0, "kv_blocks": 100, "arrivals": "burst"}
    return {**filled, **asked, CELL: cell, "program_jct_s": [1.0, 2.0]}


def opened(directory: Path) -> tuple[SweepStore, set[str]]:
    store = SweepStore(directory)
    finished = store.open(make_stamp(None))
    store.write_manifest()
    return store, finished


def cells(directory: Path) -> list[str]:
    return [cell for path in part_files(directory) for cell in pd.read_parquet(path)[CELL]]


def test_a_part_is_there_as_a_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sweep_store(tmp_path / "s"):
        store, _ = opened(tmp_path / "s")
        store.write([row("a")])

        def killed(*_: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "replace", killed)  # the last thing before it counts
        with pytest.raises(KeyboardInterrupt):
            store.write([row("b")])
        monkeypatch.undo()
        assert cells(tmp_path / "s") == ["a"]
        assert list((tmp_path / "s" / "cells").glob(".*.tmp")) == []
        (tmp_path / "s" / "cells" / ".part-000002.parquet.tmp").touch()  # of a process that was killed
        assert pd.read_parquet(tmp_path / "s" / "cells")[CELL].tolist() == ["a"]
    _, finished = opened(tmp_path / "s")
    assert finished == {"a"}
    assert list((tmp_path / "s" / "cells").glob(".*")) == []


@settings(max_examples=4)  # a part has hundreds of columns; CI tries more in turn
@given(
    order=st.permutations([f"c{n:02d}" for n in range(12)]),
    cuts=st.lists(st.integers(0, 12), max_size=5),
    group=st.sampled_from([1, 5, 1000]),
)
def test_equal_cells_make_equal_bytes_whatever_their_order(
    tmp_path_factory: pytest.TempPathFactory, order: list[str], cuts: list[int], group: int
) -> None:
    wanted = sorted(order)
    made = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_module, "_GROUP_ROWS", group)
        for cell_order, edges in ((wanted, [0, 12]), (order, sorted({0, 12, *cuts}))):
            directory = tmp_path_factory.mktemp("sweep")
            store, _ = opened(directory)
            for low, high in pairwise(edges):
                store.write([row(cell) for cell in cell_order[low:high]])
            store.compact(wanted)
            assert cells(directory) == wanted
            made.append([path.read_bytes() for path in part_files(directory)])
    assert made[0] == made[1]


def test_cells_of_earlier_plans_stay_behind_those_of_this_one(tmp_path: Path) -> None:
    store, _ = opened(tmp_path)
    store.write([row(cell) for cell in ("z", "a", "m", "b")])
    store.compact(["m", "z", "not run yet"])
    assert cells(tmp_path) == ["m", "z", "a", "b"]


def test_parts_left_beside_the_joined_file_are_no_second_cells(tmp_path: Path) -> None:
    store, _ = opened(tmp_path)
    store.write([row("a")])
    part = part_files(tmp_path)[0].read_bytes()
    store.write([row("b")])
    store.compact(["a", "b"])
    (tmp_path / "cells" / "part-000001.parquet").write_bytes(part)  # killed before it was removed
    assert cs.load_sweep(tmp_path).frame()[CELL].tolist() == ["a", "b"]
    store, finished = opened(tmp_path)
    assert finished == {"a", "b"}
    assert [path.name for path in part_files(tmp_path)] == ["cells.parquet"]
    store.write([row("c")])
    store.compact(["a", "b", "c"])
    assert cells(tmp_path) == ["a", "b", "c"]


def test_joining_again_changes_nothing(tmp_path: Path) -> None:
    store, _ = opened(tmp_path)
    store.write([row("a"), row("b")])
    store.compact(["b", "a"])
    before = part_files(tmp_path)[0].stat().st_ino
    store.compact(["b", "a"])
    assert part_files(tmp_path)[0].stat().st_ino == before


def test_one_process_at_a_time(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from continuum_sim.sweeps.store import sweep_store\n"
        "with sweep_store(Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "s")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(cs.ConfigError, match="in use by another sweep"), sweep_store(tmp_path / "s"):
            pass
        other.kill()
    with sweep_store(tmp_path / "s"):
        pass


def test_cells_of_another_version_are_not_mixed_in(tmp_path: Path) -> None:
    opened(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    for change in ({"versions": {"continuum-sim": "0.0.1"}}, {"columns": {"cell": "string"}}):
        (tmp_path / "manifest.json").write_text(json.dumps({**manifest, **change}))
        with pytest.raises(cs.ConfigError, match="made by another version .* --force"):
            opened(tmp_path)
    with sweep_store(tmp_path, force=True) as store:
        assert store.open(make_stamp(None)) == set()


def test_other_peoples_files_are_never_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("…")
    for force in (False, True):
        with (
            pytest.raises(cs.ConfigError, match="holds files that are not a sweep"),
            sweep_store(tmp_path, force=force),
        ):
            pass
    assert (tmp_path / "thesis.tex").read_text() == "…"
    cs.run(policy="lru", limit=2, max_turns=2, out=tmp_path / "run")
    with pytest.raises(cs.ConfigError, match="holds results of another command"), sweep_store(tmp_path / "run"):
        pass
    with pytest.raises(cs.ConfigError, match="is a file"), sweep_store(tmp_path / "thesis.tex"):
        pass


def test_what_is_no_sweep_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(cs.ConfigError, match=r"is not a sweep: manifest.json cannot be read"):
        cs.load_sweep(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(cs.ConfigError, match="is not JSON"):
        cs.load_sweep(tmp_path)
    (tmp_path / "manifest.json").unlink()
    opened(tmp_path)
    with pytest.raises(cs.ConfigError, match="no cell in .* has finished"):
        cs.load_sweep(tmp_path).frame()
