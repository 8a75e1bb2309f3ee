"""Programs too long for the engine: refused with a remedy, or left out or cut and counted."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

import continuum_sim as cs
from continuum_sim.setup.run_config import RunConfig
from continuum_sim.sweeps.identity import Lookup
from continuum_sim.traces import find_trace, read_programs, write_programs
from continuum_sim.world.fits import remedies
from support.cli import cli, printed, refused
from support.programs import engine, program, turn
from support.steptimes import affine

FEW: dict[str, Any] = {"trace": "bfcl", "limit": 12, "arrivals": "burst", "policy": "lru"}
MOST = 10_000
LOAD = ("--trace", "bfcl", "--limit", 12, "--arrivals", "burst")
FLAGS = (*LOAD, "--max-model-len", MOST)
"""Some of its 12 programs are longer."""


@pytest.fixture(scope="module")
def longer() -> dict[str, list[int]]:
    """Return the programs of `FLAGS` that do not fit with the contexts of their turns, computed independently."""
    lines = find_trace("bfcl").read_text().splitlines()[:12]
    contexts = {
        record["program_id"]: [turn["input_tokens"] + turn["output_tokens"] for turn in record["turns"]]
        for record in map(json.loads, lines)
    }
    return {name: tokens for name, tokens in contexts.items() if max(tokens) > MOST}


def test_programs_too_long_are_left_out_counted_and_named(
    longer: dict[str, list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert 3 < len(longer) < 12
    summary = json.loads(printed(capsys, "run", *FLAGS, "--drop-unfit", "--json"))
    assert summary["programs"] == 12 - len(longer)
    assert summary["unfit"] == {"dropped": len(longer), "truncated": 0, "children": 0, "named": list(longer)[:3]}
    named = ", ".join(f'"{name}"' for name in list(longer)[:3])
    left_out = f"{len(longer)} of 12 programs left out: {named} and {len(longer) - 3} more"
    note = f"too long (contexts above 10,000 tokens): {left_out}"
    assert note in summary["notes"]
    assert note in " ".join(printed(capsys, "run", *FLAGS, "--drop-unfit").split())


def test_programs_too_long_are_cut_before_their_first_turn_that_is(
    longer: dict[str, list[int]], tmp_path: Path
) -> None:
    run = cs.run(**FEW, max_model_len=MOST, unfit="truncate", out=tmp_path / "run")
    assert run.summary.programs == 12
    assert run.summary.unfit.truncated == len(longer)  # type: ignore[union-attr]
    turns = run.turns.groupby("program").size()
    for name, tokens in longer.items():
        assert turns[name] == next(at for at, n in enumerate(tokens) if n > MOST)
    again = cs.rerun(tmp_path / "run")
    assert again.summary.unfit == run.summary.unfit


def test_nothing_is_said_where_everything_fits_and_nothing_was_asked(tmp_path: Path) -> None:
    plain, asked = cs.run(**FEW), cs.run(**FEW, unfit="drop")
    assert "unfit" not in json.loads(plain.summary.to_json())
    assert json.loads(asked.summary.to_json())["unfit"]["dropped"] == 0
    assert plain.summary.notes == asked.summary.notes
    assert plain.programs.equals(asked.programs)


def test_sub_agents_count_by_themselves() -> None:
    child = cs.traces.Child(program("child", turn(100, 5), turn(3000, 5), at=None), 0)
    parent = cs.traces.Program("parent", program("p", turn(50, 5)).turns, children=(child,))
    same: dict[str, Any] = {"step_time": affine(), "max_model_len": 2000, "policy": "lru", "arrivals": "burst"}
    other = program("other", turn(10, 5))
    dropped = cs.run([parent, other], unfit="drop", **same).summary
    cut = cs.run([parent, other], unfit="truncate", **same).summary
    assert (dropped.programs, dropped.turns) == (1, 1)
    assert (cut.programs, cut.turns, cut.children) == (2, 3, 1)
    assert cut.unfit.children == 1  # type: ignore[union-attr]


def test_a_comparison_says_it_once(longer: dict[str, list[int]], capsys: pytest.CaptureFixture[str]) -> None:
    policies = ("--policies", "lru,fcfs", "--seeds", "0-1")
    said = printed(capsys, "compare", *FLAGS, "--truncate-unfit", *policies)
    assert said.count("too long (contexts above") == 1
    assert f"{len(longer)} of 12 programs cut before" in " ".join(said.split())


def test_a_sweep_has_columns_of_it_and_says_what_was_left_out(
    longer: dict[str, list[int]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "s"
    asked = ("sweep", *FLAGS, "--vary", "unfit=drop,truncate", "--policies", "lru", "--jobs", "1", "--out", out)
    code, said, err = cli(capsys, *asked)
    assert code == 0
    assert re.search(r"left out +cut\n", said)
    assert err.count("note: too long (contexts above 10,000 tokens)") == 2
    frame = cs.load_sweep(out).frame()
    assert frame["unfit"].tolist() == ["drop", "truncate"]
    assert frame["unfit_dropped"].tolist() == [len(longer), 0]
    assert frame["unfit_truncated"].tolist() == [0, len(longer)]
    rows = json.loads(printed(capsys, *asked, "--json"))["rows"]
    assert [row["unfit_dropped"] for row in rows] == [len(longer), 0]


def test_cells_that_were_not_asked_are_those_of_versions_that_knew_of_none(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[bytes] = []
    monkeypatch.setattr("hashlib.sha256", lambda text: (hashed.append(text), hashlib.md5(text))[1])
    ids = [Lookup().identify(RunConfig(unfit=unfit), "x")[1] for unfit in (None, "drop", "truncate")]
    assert len(set(ids)) == 3
    assert [b"unfit" in text for text in hashed] == [False, True, True]


def test_capacity_takes_it() -> None:
    programs = [program(f"p{n}", turn(100, 5), at=None) for n in range(4)] + [program("long", turn(900, 5), at=None)]
    engine: dict[str, Any] = {"kv_blocks": 40, "max_model_len": 500, "step_time": affine(), "jobs": 1}
    found = cs.capacity(["lru"], quick=True, trace=programs, unfit="drop", **engine)
    said = 'too long (contexts above 500 tokens): 1 of 5 programs left out: "long"'
    assert found.unfit == said
    assert said in str(found.view())


def test_a_scenario_says_it_and_flags_win(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "s.toml"
    file.write_text(f'[base]\nunfit = "drop"\ntrace = "bfcl"\nlimit = 12\nmax_model_len = {MOST}\narrivals = "burst"\n')
    given = ("run", "--scenario", file, "--json")
    assert json.loads(printed(capsys, *given))["unfit"]["dropped"] > 0
    assert json.loads(printed(capsys, *given, "--truncate-unfit"))["unfit"]["truncated"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--drop-unfit", "--truncate-unfit"], "--drop-unfit and --truncate-unfit exclude each other; leave one out"),
        (["--drop-unfit", "--max-model-len", "9"], "no program is left; too long (contexts above 9 tokens): 5 of 5"),
    ],
)
def test_what_is_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refused(capsys, "run", "--limit", "5", *arguments)


def test_a_value_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(cs.ConfigError, match="unfit is 'cut', expected one of drop, truncate"):
        cs.run(**FEW, unfit="cut")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "settings",
    [
        ["--max-model-len", "10000"],
        ["--kv-blocks", "600", "--max-model-len", "8000"],
        ["--max-model-len", "10000", "--kv-blocks", "700"],
        ["--kv-blocks", "600"],
    ],
)
def test_every_setting_that_a_refusal_names_works(settings: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """vLLM also starts with it: no note says otherwise."""
    error = refused(capsys, "run", *LOAD, *settings)
    assert re.search(r"turns\[\d+\]", error)
    flags = dict(re.findall(r"(--max-model-len|--kv-blocks) (\d+)", error))
    assert flags
    given = {**dict(zip(settings[::2], settings[1::2], strict=True)), **flags}
    arguments = [word for pair in given.items() for word in pair]
    summary = json.loads(printed(capsys, "run", *LOAD, *arguments, "--json"))
    assert summary["programs"] == 12
    if "--max-model-len" in given:
        assert [note for note in summary["notes"] if "vLLM" in note] == []
    for flag in ("--drop-unfit", "--truncate-unfit"):
        assert flag in error
        printed(capsys, "run", *LOAD, *settings, flag)


def test_no_model_length_is_named_that_the_model_does_not_take(capsys: pytest.CaptureFixture[str]) -> None:
    settings = ("--model", "qwen3-32b", "--gpu", "h100", "--tp", "2")
    error = refused(capsys, "run", *settings)
    assert "above max_model_len 40960" in error
    assert "--max-model-len" not in error
    assert "take a model of longer contexts (Qwen3-32B ends at 40960, the longest here has" in error


def test_what_a_refusal_names_is_what_is_in_the_way() -> None:
    def said(tokens: int, usable: int, max_model_len: int, *, kv_blocks: bool = True) -> str:
        config = engine(usable, block_size=4, max_model_len=max_model_len)
        return remedies(tokens, [config], model="m", model_len=1000, kv_blocks=kv_blocks).partition(",")[0]

    assert said(201, 100, 200) == "give --max-model-len 201"
    assert said(201, 50, 400) == "give --kv-blocks 52"
    assert said(201, 50, 200) == "give --max-model-len 201 and --kv-blocks 52"
    assert said(201, 50, 400, kv_blocks=False).startswith("give KV memory for 52 blocks")
    assert said(1001, 50, 400).startswith("take a model of longer contexts")


def test_trace_scale_cuts_what_is_too_long(
    longer: dict[str, list[int]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "o.jsonl"
    scale = ("trace", "scale", "bfcl", "--limit", 12, "-o", out, "--max-model-len", MOST)
    said = printed(capsys, *scale, "--truncate-unfit")
    assert said.startswith(
        f"{out}: 12 programs\ntoo long (contexts above 10,000 tokens): {len(longer)} of 12 programs cut"
    )
    assert max(one.max_context_tokens for one in read_programs(out)) <= MOST
    printed(capsys, "run", "--trace", out, "--max-model-len", MOST, "--arrivals", "burst")
    found = json.loads(printed(capsys, *scale, "--drop-unfit", "--json"))
    assert (found["programs"], found["dropped"], found["named"]) == (12 - len(longer), len(longer), list(longer)[:3])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-model-len", "9"], "--max-model-len does nothing without --drop-unfit or --truncate-unfit"),
        (["--drop-unfit"], "--drop-unfit does nothing without --max-model-len TOKENS"),
        (["--drop-unfit", "--truncate-unfit"], "--drop-unfit and --truncate-unfit exclude each other"),
        (["--drop-unfit", "--max-model-len", "0"], "max_model_len is 0, expected at least 1"),
    ],
)
def test_what_trace_scale_refuses(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(capsys, "trace", "scale", "bfcl", "-o", tmp_path / "o.jsonl", *arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_trace_that_is_read_again_for_every_run_is_cut_in_each(
    longer: dict[str, list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("continuum_sim.setup.trace_source._KEPT_TURNS", 0)
    write_programs(tmp_path / "t.jsonl", read_programs(find_trace("bfcl"), limit=12))
    programs = list(read_programs(find_trace("bfcl"), limit=12))
    for trace in (tmp_path / "t.jsonl", programs):
        settings = {**FEW, "trace": trace, "max_model_len": MOST, "unfit": "drop", "max_turns": None}
        assert cs.run(**settings, programs=30, seed=3).summary.programs == 30
        found = cs.run(**settings).summary
        assert (found.programs, found.unfit.dropped) == (12 - len(longer), len(longer))
