"""Typos that would run forever, or end in one of Python's own errors, are refused by name before anything runs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import continuum_sim as cs
from continuum_sim.policies import PinFor, Retention
from support.cli import refused

SMALL: dict[str, Any] = {"trace": "bfcl.jsonl", "limit": 2, "max_turns": 2}


@dataclass(frozen=True)
class PinBig(Retention):
    """Pins everything."""

    def at_turn_end(self, *_: Any) -> PinFor:
        return PinFor(1.0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"policy": PinBig()}, r"policy is a plane, PinBig, .*Policy\('PinBig', retention=PinBig\(…\)\)"),
        ({"policy": 5}, "policy is 5, expected a policy's name"),
        ({"arrivals": 0.1}, "arrivals is 0.1, expected .*or give rate=0.1"),
        ({"model": 3}, "model is 3"),
        ({"gpu": None}, "gpu is None"),
        ({"step_time": 3}, "step_time is 3"),
        ({"trace": 3}, "trace is 3"),
        ({"replicas": 1.5}, "replicas is 1.5"),
        ({"kv_blocks": 10**5000}, "kv_blocks is a number of about 5001 digits"),
        ({"watermark": "x"}, "watermark is 'x'"),
        ({"dram_gb": float("nan")}, "dram_gb is nan"),
    ],
)
def test_run_refuses_what_is_of_another_kind(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(cs.ConfigError, match=said):
        cs.run(**{**SMALL, **arguments})


def test_a_single_value_where_a_list_is_meant() -> None:
    assert len(cs.sweep(["lru"], rates=0.1, seeds=3, jobs=1, **SMALL)) == 1
    with pytest.raises(cs.ConfigError, match=r"seeds is 3, expected a list of whole numbers"):
        cs.compare(["lru"], 3, **SMALL)  # type: ignore[arg-type]
    with pytest.raises(cs.ConfigError, match=r"policies is 'lru', expected a list"):
        cs.compare("lru", [3], **SMALL)


def test_a_grid_is_counted_before_it_is_made(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    many = ";".join(map(str, range(1, 700)))
    grid = ["--vary", f"limit={many}", "--vary", f"max_turns={many}", "--seeds", "0-699"]
    line = refused(capsys, "sweep", *grid, "--out", tmp_path / "s", "--jobs", "1")
    assert "the grid has 342,020,700 cells, expected at most 1,000,000; give fewer values" in line
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[base]\narrivals = 5", "base.arrivals: arrivals is 5, expected an arrival process"),
        ("[base]\nkv_blocks = 99999999999999999999", "base.kv_blocks"),
        ("[grid]\npolicy = 5", "grid.policy"),
        ('[grid]\npolicy = [["lru"]]', "grid.policy"),
        ("[grid]\nrate = [-1]", "grid.rate"),
        ('[grid]\nseed = "0-1000000000000"', "grid.seed"),
        ("[base]\n" + "a." * 500_000 + "b = 1", "a key in it has more than 100 parts"),
        ("a = " + "[" * 5000 + "]" * 5000, "is nested too deeply"),
        ("[base]\nlimit = " + "9" * 5000, "a number in it has too many digits to read"),
    ],
)
@pytest.mark.parametrize("command", ["compare", "sweep"])
def test_a_file_of_settings_is_named_with_the_setting(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, said: str, command: str
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    given = ["--scenario", path] if command == "compare" else [path, "--out", tmp_path / "o", "--jobs", "1"]
    line = refused(capsys, command, *given)
    assert said in line
    assert f"{path}: " in line
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("coefficient", [1e308, 10**400, float("inf"), -1])
@pytest.mark.parametrize("kind", ["fitted", "calibrated"])
def test_step_times_stay_within_the_range_of_numbers(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, coefficient: float, kind: str
) -> None:
    from support.malformed import CALIBRATED, FITTED

    path = tmp_path / "t.json"
    path.write_text(json.dumps({**(FITTED if kind == "fitted" else CALIBRATED), "c0_s": coefficient}))
    line = refused(capsys, "run", "--limit", "2", "--step-time", f"fitted:{path}")
    assert f"{path}: c0_s is " in line
