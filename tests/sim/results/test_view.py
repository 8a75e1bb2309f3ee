"""Results become rows once: the terminal, the page and a notebook show the same rows."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec
import pytest

import continuum_sim as cs
from continuum_sim.hardware import find_gpu, find_model, gpus, models
from continuum_sim.policies.host.counts import PolicyCounts
from continuum_sim.report.layout import fragment
from continuum_sim.results import RunResult
from continuum_sim.results.paired import PairedDifference
from continuum_sim.results.summary import Kv, Pins, PolicyActivity, ReplicaSummary
from continuum_sim.results.view import Bar, Column, Fact, Facts, Marked, Note, Part, Table, View, name
from continuum_sim.results.view.hardware import hardware_view
from continuum_sim.steptime.machines import machines
from continuum_sim.sweeps.tuned import Trial, Tuned
from continuum_sim.traces import Program, Turn
from continuum_sim.traces.schema import Child
from continuum_sim.world.totals import EngineTotals, sum_totals
from support.views import Html, lacking, names, numbers, on_terminal, squeezed

ROOT = Path(__file__).parents[3]
SHORT: dict[str, Any] = {"limit": 8, "max_turns": 8, "arrivals": "poisson:rate=2", "kv_blocks": 1500}
KINDS: dict[str, dict[str, Any]] = {
    "plain": {"policy": "lru", **SHORT},
    "tiers": {"policy": "lru", **SHORT, "dram_gb": 3, "ssd_gb": 4},
    "offloads": {"policy": "tokencake", **SHORT, "dram_gb": 3},
    "cluster": {"policy": "ttl", **SHORT, "replicas": 2, "router": "round-robin", "dram_gb": 3},
    "tools": {"policy": "ttl", **SHORT, "tool_workers": 1, "tool_failure_rate": 0.2, "tool_timeout": 1},
}
EVIL = "</td></table><script>alert(1)</script>&<b style='x'>\"{{ 7 * 7 }}"


def family() -> list[Program]:
    """A program that waits for two sub-agents."""
    turns = Turn(90, 0, 5, "grep", 0.5), Turn(120, 90, 5)
    children = tuple(Child(Program(name, turns), 0, 1) for name in ("one", "other"))
    return [Program("parent", turns, children=children)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunResult]:
    root = tmp_path_factory.mktemp("runs")
    found = {kind: cs.run(**settings, out=root / kind) for kind, settings in KINDS.items()}
    return {**found, "sub-agents": cs.run(family(), "lru", arrivals="poisson:rate=1", out=root / "family")}


@pytest.mark.parametrize("kind", [*KINDS, "sub-agents"])
def test_terminal_page_and_notebook_say_the_same_of_a_run(runs: dict[str, RunResult], kind: str) -> None:
    run = runs[kind]
    view = run.view()
    assert lacking(view, on_terminal(view, 240)) == []
    assert run.directory is not None
    page = Html(cs.write_report(run.directory, pictures=False).read_text("utf-8"))
    assert lacking(view, page.text) == []
    assert lacking(view, Html(run._repr_html_()).text) == []
    assert view.title in page.text


def test_what_few_runs_have_is_said_of_those(runs: dict[str, RunResult]) -> None:
    labels = {
        kind: [row.label for block in run.view().blocks if isinstance(block, Facts) for row in block.rows]
        for kind, run in runs.items()
    }
    for label, kinds in {
        "DRAM": {"tiers", "offloads", "cluster"},
        "SSD": {"tiers"},
        "tool calls": {"tools"},
        "router": {"cluster"},
    }.items():
        assert {kind for kind in labels if label in labels[kind]} == kinds, label
    parts = {kind: squeezed(on_terminal(run.view(), 240)) for kind, run in runs.items()}
    assert {kind for kind in parts if "▞join" in parts[kind]} == {"sub-agents"}
    assert {kind for kind in parts if "▘toolwait" in parts[kind]} == {"tools"}
    assert re.search(r"[1-9]\d*offloads", parts["offloads"])
    assert "2sub-agents," in squeezed(" ".join(runs["sub-agents"].view().setting))


def test_the_share_from_the_cache_is_the_same_wherever_it_is_said(tmp_path: Path) -> None:
    same = {**SHORT, "dram_gb": 3, "replicas": 2, "router": "round-robin"}
    run = cs.run(policy="lru", **same)
    prefill = run.summary.prefill
    asked = prefill.computed_tokens + prefill.cached_tokens + prefill.reloaded_tokens
    assert 0 < prefill.reloaded_tokens < asked
    said = f"{100 * prefill.cached_tokens / asked:.0f} %"
    assert f"from cache ({said})" in on_terminal(run.view(), 200)
    (cluster,) = [
        table for table in tables(cs.compare(["lru"], [0], **same).view()) if table.title == "Cluster (a run)"
    ]
    swept = cs.sweep(["lru"], seeds=[0], **same, out=tmp_path / "s", jobs=1)
    for table in (cluster, tables(swept.view())[0]):
        heads = [column.head for column in table.columns]
        assert table.rows[0][heads.index("from cache")] == said, table.title


def tables(view: View) -> list[Table]:
    """The tables of a view."""
    return [block for block in view.blocks if isinstance(block, Table)]


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> dict[str, View]:
    """A view of every kind of result."""
    out = tmp_path_factory.mktemp("results")
    long = "order=program-fifo,retention=ttl-static:pressure=younger"
    same = {**SHORT, "replicas": 2, "dram_gb": 3}
    compared = cs.compare(["lru", long, "ttl"], [0, 1], **same, out=out / "c")
    page = Html(cs.write_report(out / "c", pictures=False).read_text("utf-8"))
    assert lacking(compared.view(), page.text) == []
    few = {name: value for name, value in SHORT.items() if name != "kv_blocks"}
    swept = cs.sweep(["lru", long], seeds=[0], vary={"kv_blocks": [1500, 10]}, **few, out=out / "s", jobs=1)
    assert swept.failures
    difference = PairedDifference("ttl:ttl=2", "ttl", "mean", -1.5, -2.0, -1.0, 0.9, 0.8, 0.95, 40, 10, True, "faster")
    trials = [Trial(0, {"ttl": 2.0}, 17.5), Trial(1, {"ttl": 9.0}, 19.25), Trial(2, {"ttl": 0.0}, None, "no")]
    found = Tuned(
        policy="ttl",
        best="ttl:ttl=2",
        parameters={"ttl": 2.0},
        metric="mean",
        tuning_seeds=[0, 1],
        held_out_seeds=[7],
        tuning=[difference],
        held_out=[difference],
        trials=trials,
    )
    for result in (compared, swept, found):
        assert result._repr_html_() == fragment(result.view())
    pairs = machines([find_model("llama-3.1-8b")], [find_gpu("h100")], step_times=["roofline"])
    return {
        "compare": compared.view(),
        "sweep": swept.view(),
        "tune": found.view(),
        "hardware": hardware_view(gpus(), models(), pairs, 4096, ["a note"]),
    }


@pytest.mark.parametrize("kind", ["compare", "sweep", "tune", "hardware"])
def test_terminal_and_notebook_say_the_same_of_every_result(views: dict[str, View], kind: str) -> None:
    view = views[kind]
    assert lacking(view, on_terminal(view, 240)) == []
    assert lacking(view, Html(fragment(view)).text) == []


@pytest.mark.parametrize("kind", ["compare", "sweep", "tune", "hardware"])
def test_names_and_numbers_of_results_are_complete_at_any_width(views: dict[str, View], kind: str) -> None:
    _complete(views[kind])


def test_names_and_numbers_of_a_run_are_complete_at_any_width(runs: dict[str, RunResult]) -> None:
    for run in runs.values():
        _complete(run.view())


def _complete(view: View) -> None:
    for width in (60, 80, 200):
        shown = on_terminal(view, width)
        words, letters = " ".join(shown.split()), squeezed(shown)
        assert [number for number in numbers(view) if number not in words] == []
        assert [said for said in names(view) if not _folded(squeezed(said), letters)] == []
        assert max(map(len, shown.splitlines())) <= width


def _folded(said: str, letters: str) -> bool:
    """Return True if a name is there, whole or wrapped into pieces next to the other cells of its row."""
    return said in letters or any(
        all(said[at : at + width] in letters for at in range(0, len(said), width)) for width in range(len(said), 5, -1)
    )


def test_names_are_text_in_a_notebook(runs: dict[str, RunResult]) -> None:
    run = runs["cluster"]
    replicas = [msgspec.structs.replace(part, gpu=EVIL) for part in run.summary.replicas or ()]
    named: dict[str, Any] = {"policy": EVIL, "trace": EVIL, "router": EVIL, "replicas": replicas, "notes": [EVIL]}
    summary = msgspec.structs.replace(run.summary, **named)
    hostile = RunResult(summary, {"model": {"name": EVIL}, "gpu": {"name": EVIL}})
    _harmless(hostile._repr_html_(), 7)
    columns = [name(EVIL), Column(EVIL)]
    table = Table(columns, [[EVIL, Marked(EVIL, "good")]], EVIL, EVIL)
    facts = Facts([Fact(EVIL, EVIL), Bar(EVIL, [Part(EVIL, 1.0, EVIL)])])
    view = View(EVIL, [table, facts], [Note(EVIL, EVIL)], [EVIL], Marked(EVIL, "bad"))
    _harmless(fragment(view), 15)


def _harmless(html: str, times: int) -> None:
    page = Html(html)
    assert squeezed(page.text).count(squeezed(EVIL)) >= times
    assert set(page.tags) <= {"div", "table", "caption", "tr", "th", "td", "p", "span", "i"}
    assert {name for _, name, _ in page.attributes} <= {"style", "scope", "role", "aria-label"}
    assert page.tags.count("table") <= 4


def test_a_notebook_needs_no_style_sheet_and_keeps_its_ink_and_paper(views: dict[str, View]) -> None:
    for view in views.values():
        for tag, attribute, value in Html(fragment(view)).attributes:
            assert attribute != "class"
            if attribute == "style" and tag != "i":
                assert "background" not in value
                assert set(re.findall(r"(?:^|;)color:([^;]+)", value)) <= {"inherit", "#2a9d6a", "#e0524d"}


def test_a_result_that_is_empty_is_still_shown(tmp_path: Path) -> None:
    swept = cs.sweep(["lru", "ttl"], **{**SHORT, "kv_blocks": 3}, out=tmp_path / "s", jobs=1)
    assert not len(swept)
    assert "failed: " in swept._repr_html_()


def test_rows_know_of_no_layout() -> None:
    for path in (ROOT / "sim" / "results" / "view").glob("*.py"):
        taken = {module.split(".")[0] for module in _imported(path)}
        assert not taken & {"rich", "jinja2", "markupsafe", "html"}, path


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module == "continuum_sim")
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_every_count_of_what_a_policy_did_is_in_the_summary() -> None:
    said = {f"pins_{end}" for end in Pins.__struct_fields__}
    for part in (PolicyActivity, Kv, ReplicaSummary):
        said |= set(part.__struct_fields__)
    assert {item.name for item in fields(PolicyCounts)} <= said


def test_every_count_of_the_replicas_adds_up() -> None:
    names = [item.name for item in fields(PolicyCounts)]
    parts = [
        EngineTotals(1, 2.0, 3.0, 4, 5, 6, PolicyCounts(**{name: factor * at for at, name in enumerate(names, 1)}))
        for factor in (1, 100)
    ]
    whole = sum_totals(parts)
    assert [getattr(whole.counts, name) for name in names] == [101 * at for at in range(1, len(names) + 1)]
    assert (whole.steps, whole.end_s, whole.replicas) == (2, 2.0, 2)
    assert whole.plain()["pins_made"] == 101
