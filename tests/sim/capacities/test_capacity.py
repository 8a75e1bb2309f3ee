"""What a service sustains, through public entry points, on a small engine whose cache thrashes when it is crowded."""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

import continuum_sim as cs
import continuum_sim.capacities.run as door
from continuum_sim.capacities import measure
from continuum_sim.capacities.probe import Watch, observe
from continuum_sim.capacities.result import CurvePoint, FromEmptyRate, PlainRate, RecoverableRate
from continuum_sim.capacities.task import run_task
from continuum_sim.results.summary import Quantiles
from continuum_sim.results.view.capacity import load_line
from continuum_sim.setup.resolve import resolve
from continuum_sim.setup.run_config import RunConfig
from continuum_sim.steady.recovery import recovery
from continuum_sim.traces.schema import Program
from continuum_sim.traces.write import write_programs
from support.cli import cli, printed, refused
from support.programs import program, turn


def agent(name: str, first: int, step: int) -> Program:
    """Mostly prefill, so that losing a context is expensive; 0.5 s of tools between turns."""
    return program(name, *[turn(first + step * at, 8, gap=0.5) for at in range(4)], at=None)


TRACE = [agent(f"p{at}", 2400 + 300 * at, 2000 + 100 * (at % 3)) for at in range(5)]
ENGINE: dict[str, Any] = {"kv_blocks": 2600, "max_model_len": 20_000}
LITTLE: dict[str, Any] = {"seeds": range(2), "programs": 200, "burst": 25, "horizon": 250, "jobs": 1}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trace as a file."""
    place = tmp_path_factory.mktemp("trace") / "agents.jsonl"
    write_programs(place, TRACE)
    return place


@pytest.fixture(scope="module")
def kept(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the capacity of stock vLLM."""
    out = tmp_path_factory.mktemp("capacity") / "found"
    cs.capacity(["lru"], trace=str(file), out=out, **LITTLE, **ENGINE)
    return out


@pytest.fixture
def found(kept: Path) -> cs.CapacityResult:
    """The same, read back."""
    return cs.load_capacity(kept)


def command(file: Path, *more: object) -> list[object]:
    """The same as a user types it."""
    engine = ("--trace", file, "--kv-blocks", 2600, "--max-model-len", 20_000, "--jobs", 1)
    return ["capacity", *engine, "--seeds", "0-1", "--programs", 200, "--burst", 25, "--horizon", 250, *more]


def test_a_crowded_cache_serves_less_and_a_burst_shows_it(found: cs.CapacityResult) -> None:
    (lru,) = found.policies
    assert 3 < found.fits < 6
    curve = {point.n: point.per_s for point in lru.service_curve}
    assert lru.peak_per_s == max(curve.values())
    floor = [per_s for n, per_s in curve.items() if n >= 5 * found.fits]
    assert min(floor) <= lru.congested_per_s.value <= max(floor)
    assert lru.congested_per_s.value < 0.8 * lru.peak_per_s
    recoverable, empty = lru.recoverable_per_s, lru.from_empty_per_s
    assert recoverable.value is not None
    assert empty.value is not None
    assert empty.median is not None
    assert recoverable.value == pytest.approx(recoverable.predicted, rel=0.1)
    assert recoverable.value < empty.value < empty.median < lru.peak_per_s
    assert empty.low is not None
    assert empty.high is not None
    assert empty.low <= empty.value <= empty.high
    assert lru.metastable


def test_a_point_is_the_rate_of_a_closed_run_of_its_own(found: cs.CapacityResult, file: Path) -> None:
    """A run, and so a sweep, of closed arrivals finds the same point as `capacity`."""
    point = found.policies[0].service_curve[-1]
    programs = math.ceil((2 * point.n + 1_000) / len(TRACE)) * len(TRACE)
    run = cs.run(
        str(file), "lru", arrivals=f"closed:workers={point.n}", programs=programs, warmup=0, timeline=False, **ENGINE
    )
    assert msgspec.to_builtins(run.summary.served_per_s) == pytest.approx(
        {"value": point.per_s, "low": point.low, "high": point.high}, rel=1e-3
    )
    slots = point.n / run.summary.jct_s.mean  # Little's law
    assert point.per_s == pytest.approx(slots, rel=0.1)


@pytest.mark.parametrize(("factor", "back"), [(0.8, True), (1.25, False)])
def test_what_is_said_to_recover_has_its_jct_back(
    found: cs.CapacityResult, file: Path, factor: float, back: bool
) -> None:
    """`capacity` counts the programs in the system; comparing JCTs with a run without the burst agrees."""
    value = found.policies[0].recoverable_per_s.value
    assert value is not None
    config = RunConfig(trace=str(file), policy="lru", rate=factor * value, programs=450, burst=25, seed=7, **ENGINE)
    run = resolve(config)
    jct_s, alone_s = ({item.program: item for item in watched(run, burst=burst)} for burst in (True, False))
    names = sorted(alone_s, key=lambda name: alone_s[name].arrival_s)
    told = recovery(
        [alone_s[name].arrival_s for name in names],
        [jct_s[name].jct_s for name in names],
        [alone_s[name].jct_s for name in names],
        0.0,
    )
    assert (told.programs is not None and told.programs <= 250) == back


def watched(run: Any, *, burst: bool) -> list[Any]:
    watch = Watch(samples=True)
    if burst:
        observe(run, watch)
    else:
        from continuum_sim.runs.execute import serve

        serve(run, watch, burst=False)
    return watch.programs


def test_the_same_measurements_are_not_made_again(
    kept: Path, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (kept / "capacity.json").read_bytes()
    made: list[str] = []
    monkeypatch.setattr(door, "run_task", lambda task: made.append(task.kind) or run_task(task))
    assert printed(capsys, *command(file, "--policies", "lru", "--out", kept, "--json")).encode() == before
    assert made == []
    # Another question about the same service measures only what is missing.
    printed(capsys, *command(file, "--policies", "lru", "--out", kept, "--seeds", "0-2", "--rate", "0.3"))
    assert made == ["empty", "burst"]
    printed(capsys, *command(file, "--policies", "lru", "--out", kept))  # as it was, for other tests
    assert made == ["empty", "burst"]
    assert (kept / "capacity.json").read_bytes() == before


def test_what_was_measured_stays_when_it_is_stopped(
    kept: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[str] = []

    def struck(task: Any) -> Any:
        made.append(task.kind)
        if len(made) == 4:
            signal.raise_signal(signal.SIGINT)
        return run_task(task)

    monkeypatch.setattr(door, "run_task", struck)
    out = tmp_path / "stopped"
    again = command(file, "--policies", "lru", "--out", out)
    code, _, err = cli(capsys, *again)
    assert code == 130
    assert f"interrupted after 3 of 14 measurements; what is measured is in {out}" in err
    printed(capsys, *again)
    assert len(made) == 3 + 1 + 11
    assert (out / "capacity.json").read_bytes() == (kept / "capacity.json").read_bytes()


@pytest.mark.slow
def test_processes_change_nothing(kept: Path, file: Path, tmp_path: Path) -> None:
    out = tmp_path / "two"
    cs.capacity(["lru"], trace=str(file), out=out, quick=True, **{**LITTLE, "jobs": 2}, **ENGINE)
    curves = [json.loads((place / "capacity.json").read_text())["policies"][0] for place in (kept, out)]
    assert curves[0]["service_curve"] == curves[1]["service_curve"]
    assert curves[1]["recoverable_per_s"]["value"] == curves[0]["recoverable_per_s"]["predicted"]


def test_what_it_prints(kept: Path, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Uses measurements that exist, so that checking words needs no simulation."""
    again = command(file, "--policies", "lru", "--out", kept)
    text = " ".join(printed(capsys, *again).split())
    assert "lru metastable from 0." in text
    assert "gone within 250 arrivals: 2 seeds, in steps of 4 %; 200 arrivals from an empty engine: 2 seeds" in text
    (lru,) = cs.load_capacity(kept).policies
    assert lru.recoverable_per_s.value is not None
    between = (lru.recoverable_per_s.value + (lru.from_empty_per_s.value or 0)) / 2
    for load, said in (
        (0.9 * lru.recoverable_per_s.value, "sustained: a burst drains"),
        (between, "metastable: it holds from an empty engine, but a burst, or a restart under load, leaves it"),
        (5.0, "too much: it does not hold even from an empty engine"),
    ):
        text = " ".join(printed(capsys, *again, "--rate", load).split())
        assert said in text
    assert "session-gate:limit=" in " ".join(printed(capsys, *again, "--rate", between).split())
    printed(capsys, *again)


def test_a_crowd_stays_in_the_dip_of_a_curve_that_rises_again(found: cs.CapacityResult) -> None:
    points = [
        CurvePoint(n=n, per_s=per_s, low=0, high=9) for n, per_s in ((10, 0.5), (20, 0.62), (40, 0.45), (99, 0.61))
    ]
    item = replace(
        found.policies[0],
        service_curve=points,
        peak_programs=20,
        recoverable_per_s=RecoverableRate(value=0.44, predicted=0.44),
        from_empty_per_s=FromEmptyRate(value=0.6, predicted=0.6, median=0.61, predicted_median=0.61),
        congested_per_s=PlainRate(value=0.61, low=0.6, high=0.62),
    )
    assert "leaves it congested at 0.450 programs/s" in load_line(item, 0.5)
    lower = replace(item, congested_per_s=PlainRate(value=0.47, low=0.4, high=0.5))
    assert "leaves it congested at 0.470 programs/s" in load_line(lower, 0.5)


@pytest.mark.slow
def test_whether_a_verdict_survives_an_error_of_step_times(found: cs.CapacityResult) -> None:
    (lru,) = found.policies
    lru = replace(
        lru,
        recoverable_per_s=RecoverableRate(value=1.0, predicted=1.0),
        from_empty_per_s=FromEmptyRate(value=2.0, predicted=2.0, median=2.5, predicted_median=2.5),
    )

    def said(load_per_s: float) -> str:
        asked = replace(found, policies=[lru], rate_per_s=load_per_s, step_time_error=0.05)
        return str(asked.view())

    assert "that survives an error of 5.0 % in step times" in said(0.9)
    assert "does not survive an error of 5.0 % in step times: metastable at × 1.084" in said(0.95)
    assert "does not survive an error of 5.0 % in step times: sustained at × 0.920" in said(1.05)
    assert "survive" not in str(replace(found, rate_per_s=0.9).view())


def test_rates_are_measured_without_the_error(file: Path) -> None:
    load: dict[str, Any] = {"trace": str(file), "quick": True, **LITTLE, **ENGINE}
    plain = cs.capacity(["lru"], **load)
    unsure = cs.capacity(["lru"], **load, step_time="roofline:error=0.05")
    assert unsure.step_time_error == 0.05
    assert unsure.policies == plain.policies


def test_objectives_are_kept_as_well(kept: Path, file: Path) -> None:
    ask: dict[str, Any] = {"trace": str(file), "out": kept, **LITTLE, **ENGINE}
    (free,) = cs.load_capacity(kept).policies
    (kept_to,) = cs.capacity(["lru"], slo={"mean_jct": 3.2}, **ask).policies
    assert kept_to.from_empty_per_s.median is not None
    assert free.from_empty_per_s.median is not None
    assert kept_to.from_empty_per_s.median < 0.9 * free.from_empty_per_s.median
    never = cs.capacity(["lru"], slo="p50_ttft=1e-6", **ask)
    assert never.policies[0].from_empty_per_s.value is None
    assert never.policies[0].recoverable_per_s.value is None
    assert "no rate keeps p50_ttft=1e-06" in str(never.view())
    cs.capacity(["lru"], **ask)


def test_objectives_are_about_what_a_run_says() -> None:
    settings: dict[str, Any] = {"limit": 6, "max_turns": 5, "kv_blocks": 1500, "arrivals": "poisson:rate=2"}
    watch = Watch(samples=True)
    observe(resolve(RunConfig(policy="lru", **settings)), watch, alone=True)
    samples = measure._samples(watch, 0.0)
    summary = cs.run(policy="lru", **settings).summary
    for name, said in (("tpot", summary.tpot_s), ("e2el", summary.e2el_s), ("slowdown", summary.slowdown)):
        assert isinstance(said, Quantiles)
        assert msgspec.structs.astuple(Quantiles.of(samples[name])) == pytest.approx(msgspec.structs.astuple(said)), (
            name
        )


def test_the_curve_can_be_drawn(kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed(capsys, "figures", kept, "--out", tmp_path, "--format", "svg")
    assert {path.stem for path in tmp_path.glob("*.svg")} == {"service-curve"}
    rows = (tmp_path / "service-curve.csv").read_text().splitlines()
    assert rows[0].startswith("policy,n,per_s,low,high")
    assert len(rows) == 1 + len(cs.load_capacity(kept).policies[0].service_curve)


def test_frames_for_a_notebook(found: cs.CapacityResult) -> None:
    assert list(found.table.index) == ["lru"]
    assert found.table.loc["lru", "recoverable_per_s_value"] == found.policies[0].recoverable_per_s.value
    assert np.all(np.diff(found.curves["n"]) > 0)
    assert "<table" in found._repr_html_()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--slo", "p95_jtc=300"), "'p95_jtc'"),
        (("--slo", "p95_jct=soon"), "slo: p95_jct is 'soon', expected a number of seconds above 0"),
        (("--slo", "p95_jct=3,p95_jct=4"), "expected objectives, each once"),
        (("--rate", "0"), "rate is 0"),
        (("--programs", "10"), "programs is 10, expected a whole number from 200"),
        (("--burst", "0"), "burst is 0, expected a whole number from 1"),
        (("--seeds", "0,0"), "a seed appears twice"),
        (("--policies", "lru,lru"), "policy 'lru' appears twice"),
        (("--policies", "lur"), "'lur'"),
        (("--backend", "slurm"), "--backend is 'slurm', expected local, dask or ray"),
        (("--force",), "say which with --out DIR"),
    ],
)
def test_what_cannot_be_is_refused(
    more: tuple[str, ...], said: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(capsys, *command(file, *more))


def test_settings_of_the_load_are_its_own_affair() -> None:
    for name, value in (("arrivals", "burst"), ("warmup", 3), ("start", "loaded")):
        with pytest.raises(cs.ConfigError, match=name):
            cs.capacity(["lru"], trace=TRACE, **{name: value}, **ENGINE)  # type: ignore[arg-type]


def test_other_results_are_never_touched(kept: Path, file: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert "holds files that are not results of `capacity`" in refused(capsys, *command(file, "--out", tmp_path))
    assert "holds files that are not results of `capacity`" in refused(
        capsys, *command(file, "--out", tmp_path, "--force")
    )
    manifest = tmp_path / "old" / "manifest.json"
    manifest.parent.mkdir()
    then = json.loads((kept / "manifest.json").read_text())
    manifest.write_text(json.dumps({**then, "versions": {"continuum-sim": "0.0.1"}}))
    assert "was made by another version (0.0.1" in refused(capsys, *command(file, "--out", manifest.parent))
    (tmp_path / "bad").mkdir()
    for name in ("manifest.json", "capacity.json"):
        text = (kept / name).read_text().replace('"policies": [', '"policies": 3, "x": [')
        (tmp_path / "bad" / name).write_text(text)
    with pytest.raises(cs.ConfigError, match="policies"):
        cs.load_capacity(tmp_path / "bad")
    with pytest.raises(cs.ConfigError, match="has no capacity.json"):
        cs.load_capacity(manifest.parent)
