"""`--json`: every command has it, and prints JSON on standard output and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import continuum_sim as cs
from continuum_sim.cli.app import app
from continuum_sim.policies.registry import PLANES, PRESETS
from support.cli import cli, printed, refused
from support.small_results import SMALL

WITHOUT: dict[str, str] = {}
"""Command -> why it has no --json."""

WRITERS = {
    "report DIR/run --out TMP/page.html --no-pictures": ("page.html", set()),
    "timeline DIR/run --perfetto TMP/t.json": ("t.json", {"programs", "spans", "pins"}),
    "trace export bfcl --to mooncake --limit 2 --out TMP/e.jsonl": ("e.jsonl", {"programs", "format"}),
    "trace export DIR/run --to continuum --out TMP/logs": ("logs", {"jobs", "requests", "format", "decisions"}),
    "trace scale bfcl --scale tokens=2 --limit 2 --out TMP/s.jsonl": ("s.jsonl", {"programs"}),
    "trace generate bfcl --programs 3 --out TMP/g.jsonl": ("g.jsonl", {"programs", "seed"}),
    "trace generate bfcl --programs 3 --compare bfcl --out TMP/c.jsonl": ("c.jsonl", {"programs", "seed", "compared"}),
    "trace anonymize bfcl --out TMP/a.jsonl": ("a.jsonl", {"programs", "seed"}),
    "trace mix bfcl:1 --programs 3 --out TMP/m.jsonl": ("m.jsonl", {"programs", "parts"}),
}
"""Command that writes -> what it writes, and the other entries it prints about that."""


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield " ".join(path), command
    for name, one in (inner or {}).items():
        yield from commands(one, (*path, name))


def test_every_command_has_it() -> None:
    found = {path: {name for item in one.params for name in item.opts} for path, one in commands(get_command(app))}
    assert {"run", "trace fit", "sweep tune", "calibrate"} <= found.keys()
    assert {path for path, options in found.items() if "--json" not in options} == set(WITHOUT)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run."""
    place = tmp_path_factory.mktemp("results")
    cs.run(policy="lru", **{**SMALL, "limit": 3}, decisions=True, out=place / "run")
    return place


@pytest.mark.parametrize("command", WRITERS)
def test_what_was_written_is_told(
    command: str, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, more = WRITERS[command]
    arguments = command.replace("DIR", str(results)).replace("TMP", str(tmp_path)).split()
    told = json.loads(printed(capsys, *arguments, "--json"))
    assert told["path"] == str(tmp_path / name)
    assert set(told) - {"path", "bytes"} == more
    assert (tmp_path / name).exists()
    if "bytes" in told:
        assert told["bytes"] == (tmp_path / name).stat().st_size


def test_what_is_written_to_standard_output_is_not_mixed_with_it(capfd: pytest.CaptureFixture[str]) -> None:
    scale = ("trace", "scale", "bfcl", "--scale", "tokens=2", "--limit", "2")
    code, out, err = cli(capfd, *scale, "-o", "/dev/stdout", "--json")
    assert code == 0
    assert '"path": "/dev/stdout"' in err
    assert '"path"' not in out
    assert '"program_id"' in out


def test_one_policy(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "policies", "mori")
    told = json.loads(printed(capsys, "policies", "mori", "--json"))
    assert told["planes"] == {"order": None, "retention": "busiest", "admission": "mori", "routing": None}
    assert told["notes"] == []
    assert "note: looks ahead, so it runs in the simulator alone" in printed(capsys, "policies", "belady")
    for said in (told["source"], *(part["help"] for part in told["parameters"]), "stock vLLM"):
        assert said in text
    rule = json.loads(printed(capsys, "policies", "retention=ttl-static", "--json"))
    assert [part["name"] for part in rule["parameters"]] == ["pressure", "ttl"]
    assert "seconds every pin lasts; 0 pins nothing" in printed(capsys, "policies", "retention=ttl-static")


@pytest.mark.parametrize("name", sorted(PRESETS.load()))
def test_every_policy_can_be_shown(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    listed = json.loads(printed(capsys, "policies", "--json"))["policies"]
    assert json.loads(printed(capsys, "policies", name, "--json")) in listed
    shown = printed(capsys, "policies", name)
    preset = PRESETS.find(name)
    for parameter in preset.parameters:
        assert f"{parameter.name} " in shown
    assert preset.source.split()[0] in shown


def test_the_list_is_one_line_a_policy_with_the_planes_it_changes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    rows = {line.split()[0]: line.strip() for line in printed(capsys, "policies").splitlines() if line.strip()}
    assert PRESETS.keys() <= rows.keys()
    for name, planes in {
        "lru": "none",
        "fcfs": "retention",
        "saga": "retention, routing",
        "ttl": "order, retention",
    }.items():
        assert rows[name].endswith(f"   {planes}")
    for plane, rules in PLANES.items():
        assert {f"{plane}={rule}" for rule in rules} <= rows.keys()
    assert rows["order=arrival"].endswith("As stock vLLM does")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tll", "unknown policy 'tll', did you mean 'ttl'?"),
        ("retention=tll-static", "unknown retention 'tll-static', did you mean 'ttl-static'?"),
        ("retentoin=ttl", "unknown plane 'retentoin', did you mean 'retention'?"),
    ],
)
def test_an_unknown_one_is_refused_with_the_nearest(name: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said in refused(capsys, "policies", name)
