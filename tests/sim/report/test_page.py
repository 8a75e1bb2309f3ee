"""The report as a file: its contents, that it is self-contained, and what it says about large runs."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import continuum_sim as cs
from continuum_sim.cli import main
from continuum_sim.report.timeline_data import timeline_data
from continuum_sim.results.numbers import seconds
from continuum_sim.traces import Program, Turn

SHORT: dict[str, Any] = {"limit": 12, "max_turns": 8, "arrivals": "poisson:rate=2", "kv_blocks": 1500}


class Page(HTMLParser):
    """A page as its reader sees it: words, tags with their references, and the data of the timeline."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.words: list[str] = []
        self._data: list[str] = []
        self._inside: tuple[str, dict[str, str | None]] = ("", {})
        self.feed(html)
        self.close()
        self.text = " ".join(" ".join(self.words).split())
        self.data: list[dict[str, Any]] = json.loads("".join(self._data) or "[]")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._inside = (tag, dict(attrs))
        self.references += [value for name, value in attrs if name in ("src", "href", "action", "data") and value]

    def handle_data(self, data: str) -> None:
        tag, attributes = self._inside
        if tag == "script" and attributes.get("type") == "application/json":
            self._data.append(data)
        elif tag not in ("script", "style"):
            self.words.append(data)


def numbers(column: list[str]) -> np.ndarray:
    kind, text = column
    return np.frombuffer(b64decode(text), dtype=f"<{kind}")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "ttl"
    cs.run(policy="ttl", **SHORT, out=out, decisions=True)
    return out


def report(directory: Path, **options: Any) -> str:
    return cs.write_report(directory, directory.parent / "page.html", **options).read_text("utf-8")


def test_it_says_what_was_run_and_what_came_out(directory: Path) -> None:
    page = Page(report(directory, pictures=False))
    run = cs.load_run(directory)
    for word in (
        "ttl on swebench.jsonl",
        "arrivals poisson:rate=2, seed 0",
        seconds(run.summary.jct_s.mean),
        f"{run.summary.pins.made:,} made",
        run.manifest["trace"]["sha256"],
        run.manifest["policy"]["retention"],
        "No command was recorded",
        *run.summary.notes,
    ):
        assert word in page.text, word


def test_the_command_is_there_to_be_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["run", "--policy", "order=program-fifo,retention=ttl-static:ttl=2", "--limit", "4", "--out"]
    for given in ([*arguments, str(tmp_path / "a run")], ["report", str(tmp_path / "a run"), "--no-pictures"]):
        with pytest.raises(SystemExit) as exited:
            main(given)
        assert exited.value.code == 0
    assert "wrote" in capsys.readouterr().err
    page = Page((tmp_path / "a run" / "report.html").read_text("utf-8"))
    assert f"continuum-sim {' '.join(arguments)} '{tmp_path / 'a run'}'" in page.text


def test_nothing_outside_of_the_file_is_needed(directory: Path) -> None:
    html = report(directory)
    page = Page(html)
    assert [reference[:40] for reference in page.references if not reference.startswith("data:")] == []
    assert not {"iframe", "object", "embed"} & set(page.tags)
    style = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    assert "url(" not in style
    assert "@import" not in style
    assert "default-src 'none'" in html
    assert page.tags.count("img") > 0, "figures are inside"


def test_the_timeline_holds_the_tables(directory: Path) -> None:
    (data,) = Page(report(directory, pictures=False)).data
    run = cs.load_run(directory)
    turns = run.turns.assign(
        number=run.turns["program"].map({name: i for i, name in enumerate(data["programs"]["names"])})
    ).sort_values(["number", "turn"])
    held = data["turns"]
    assert (numbers(held["program"]) == turns["number"]).all()
    assert (numbers(held["arrival"]) == turns["arrival_s"]).all()
    for name in ("prompt_tokens", "output_tokens", "cached_tokens", "recomputed_tokens", "preemptions"):
        assert (numbers(held[name]) == turns[name]).all(), name
    spans = sum(numbers(held[part]).astype(float) for part in ("queued", "prefill", "decode"))
    assert spans == pytest.approx((turns["finish_s"] - turns["arrival_s"]).to_numpy(), rel=1e-6)
    assert len(numbers(data["pins"]["program"])) == run.summary.pins.made > 0
    edges_s = numbers(data["states"]["edges"])
    ends = ("arrival_s", "scheduled_s", "first_token_s", "finish_s")
    lasted_s = {
        state: (turns[to] - turns[at]).sum()
        for state, at, to in zip(("queued", "prefill", "decode"), ends, ends[1:], strict=False)
    }
    for state, state_s in {**lasted_s, "tool": turns["tool_s"].sum()}.items():
        area = float((numbers(data["states"][state]) * np.diff(edges_s)).sum())
        assert area == pytest.approx(state_s, rel=1e-4), state
    engine = data["engine"]
    bins_s = np.diff(numbers(engine["edges"]))
    stretches_s = run.timeline["end_s"] - run.timeline["start_s"]
    for curve, column in (("running", "running"), ("waiting", "waiting")):
        area = float((numbers(engine[curve]) * bins_s).sum())
        assert area == pytest.approx(float((run.timeline[column] * stretches_s).sum()), rel=1e-4)
    blocks = sum(numbers(engine[f"kv_{state}"]).astype(float) for state in ("running", "pinned", "cached"))
    assert (blocks <= data["usable_blocks"] + 1e-2).all()
    assert data["notes"] == []


def test_the_engines_of_a_cluster_add_up(tmp_path: Path) -> None:
    cs.run(policy="ttl", **SHORT, replicas=2, router="round-robin", out=tmp_path / "run", decisions=True)
    page = Page(cs.write_report(tmp_path / "run", pictures=False).read_text("utf-8"))
    run = cs.load_run(tmp_path / "run")
    assert f"Replicas, router {run.summary.router}" in page.text
    (data,) = page.data
    assert data["usable_blocks"] == 2 * 1499
    assert sorted(numbers(data["turns"]["replica"])) == sorted(run.turns["replica"])
    engine = data["engine"]
    bins_s = np.diff(numbers(engine["edges"]))
    lasting = run.timeline["end_s"] - run.timeline["start_s"]
    area = float((numbers(engine["running"]) * bins_s).sum())
    assert area == pytest.approx(float((run.timeline["running"] * lasting).sum()), rel=1e-4)
    blocks = sum(numbers(engine[f"kv_{state}"]).astype(float) for state in ("running", "pinned", "cached"))
    assert (blocks <= data["usable_blocks"] + 1e-2).all()
    assert blocks.max() > 1499, "both engines are in it"


def test_names_of_the_trace_stay_text(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script>&<b>"
    programs = [Program(evil, (Turn(100, 0, 5, evil, 1.0), Turn(120, 105, 5))), Program("b", (Turn(90, 0, 5),))]
    cs.run(programs, policy="ttl", arrivals="poisson:rate=1", out=tmp_path / "run", decisions=True)
    page = Page(cs.write_report(tmp_path / "run", pictures=False).read_text("utf-8"))
    assert evil in page.data[0]["programs"]["names"]
    assert evil in page.data[0]["tools"]
    assert page.tags.count("script") == 2
    assert "b" not in page.tags


def test_a_large_run_is_capped_and_says_so(directory: Path) -> None:
    run = cs.load_run(directory)
    data = timeline_data(run, most_turns=60, most_bins=50)
    names = data["programs"]["names"]
    slowest = run.programs.sort_values("jct_s", ascending=False)["program"].head(10)
    assert set(slowest) <= set(names)
    assert len(names) < 12
    assert data["programs"]["of"] == 12
    assert f"{len(names)} of 12 programs are drawn one by one" in data["notes"][0]
    assert [note for note in data["notes"] if "each point is the average over" in note] == data["notes"][1:]
    assert len(numbers(data["states"]["edges"])) == 51
    edges_s = numbers(data["states"]["edges"])
    area = float((numbers(data["states"]["decode"]) * np.diff(edges_s)).sum())
    decode_s = (run.turns["finish_s"] - run.turns["first_token_s"]).sum()
    assert area == pytest.approx(decode_s, rel=1e-4), "the curves are of the whole run"


def test_a_run_without_a_decision_log_says_that_pins_are_missing(tmp_path: Path) -> None:
    cs.run(policy="ttl", **SHORT, out=tmp_path / "run")
    (data,) = Page(cs.write_report(tmp_path / "run", pictures=False).read_text("utf-8")).data
    assert data["pins"] is None
    assert "no decisions.jsonl (see --decisions)" in data["notes"][-1]


def test_a_comparison_has_every_policy_and_difference(tmp_path: Path) -> None:
    result = cs.compare(["lru", "ttl"], [0, 1], **SHORT, out=tmp_path / "c")
    page = Page(cs.write_report(tmp_path / "c", pictures=False).read_text("utf-8"))
    assert [(run["name"], run["seed"]) for run in page.data] == [("lru", 0), ("ttl", 0)]
    for row in result.rows:
        bounds = f"{seconds(row.jct_mean_low_s)} … {seconds(row.jct_mean_high_s)}"
        assert f"{row.policy} {seconds(row.jct_mean_s)} {bounds} {seconds(row.jct_p50_s)}" in page.text
    for item in result.paired:
        assert f"{item.ratio:.3f}" in page.text
    assert "JCT against lru" in page.text


def test_a_comparison_of_one_seed_has_no_intervals(tmp_path: Path) -> None:
    cs.compare(["lru", "ttl"], [0], limit=3, max_turns=3, out=tmp_path / "c")
    page = cs.write_report(tmp_path / "c", pictures=False).read_text("utf-8")
    assert "too few seeds" in page
    assert "One run has no interval: give several seeds (--seeds)." in page
    assert "nan …" not in Page(page).text


def test_the_same_run_gives_the_same_page(directory: Path) -> None:
    assert report(directory) == report(directory)


@pytest.mark.parametrize("lacking", ["summary.json", "turns.parquet", "timeline.parquet"])
def test_what_is_no_run_is_refused_and_nothing_is_left(directory: Path, tmp_path: Path, lacking: str) -> None:
    (tmp_path / "run").mkdir()
    for path in directory.iterdir():
        (tmp_path / "run" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "run" / lacking).unlink()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(cs.ConfigError):
        cs.write_report(tmp_path / "run", pictures=False)
    assert sorted(tmp_path.rglob("*")) == before
