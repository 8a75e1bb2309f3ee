"""Names for shell completion, requested as a shell does."""

from __future__ import annotations

import pytest

from continuum_sim.cli import main
from continuum_sim.cli.complete import SORTS
from continuum_sim.setup.run_config import run_settings


def completed(line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the completions that bash gets for the last word of a line."""
    words = line.split(" ")
    monkeypatch.setenv("_CONTINUUM_SIM_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    with pytest.raises(SystemExit) as exited:
        main([])
    assert exited.value.code == 0
    return capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("run --policy ttl-s", {"ttl-static"}),
        ("compare --policies lru,program", {"lru,program-fifo"}),
        ("sweep --policies ttl-", {"ttl-static", "ttl-expected"}),
        ("sweep tune ttl-s", {"ttl-static"}),
        ("run --gpu h", {"h100", "h100-pcie", "h200"}),
        ("hardware --gpu h200,l4", {"h200,l4", "h200,l40", "h200,l40s"}),
        ("run --model llama-3.1-8", {"llama-3.1-8b"}),
        ("run --trace bf", {"bfcl.jsonl"}),
        ("trace stats bf", {"bfcl.jsonl"}),
        ("trace anonymize bf", {"bfcl.jsonl"}),
        ("run --scenario plent", {"plentiful-memory"}),
        ("run --config plent", {"plentiful-memory"}),
        ("scenarios plent", {"plentiful-memory"}),
        ("figures results --only kv", {"kv-occupancy"}),
        ("figures results --only paper-fig10,paper-pu", {"paper-fig10,paper-public-code"}),
        ("run --router round", {"round-robin"}),
        ("run --step-time roof", {"roofline"}),
        ("run --arrivals po", {"poisson"}),
        ("run --engine st", {"stepwise"}),
        ("trace import --from clau", {"claude-code"}),
        ("trace export bfcl --to c", {"continuum"}),
        ("trace export bfcl --to moon", {"mooncake"}),
        ("trace generate swe", {"swebench"}),
        ("trace generate continuum-s", {"continuum-swe"}),
        ("sweep --vary kv", {"kv_blocks="}),
        ("run --max-num-s", {"--max-num-seqs"}),
        ("scen", {"scenarios"}),
    ],
)
def test_a_shell_is_offered_names(
    line: str, offered: set[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = completed(f"continuum-sim {line}", monkeypatch, capsys)
    assert offered <= set(found)
    assert all(name.startswith(line.rpartition(" ")[2]) for name in found)


def test_settings_name_sorts_that_there_are() -> None:
    assert {item.about.names for item in run_settings().values()} - {""} <= SORTS.keys()
    assert [sort for sort, names in SORTS.items() if not list(names())] == []
