"""Engines held to another machine's pace: the mechanism by hand, and whole validations at a pace."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from continuum_sim.cli import main
from continuum_sim.errors import ConfigError
from continuum_sim.steptime import Calibrated
from continuum_sim.steptime.batch import StepBatch
from continuum_sim.traces import find_trace, read_programs
from continuum_sim.traces.arrivals import Poisson
from continuum_sim.traces.scale import Scale
from continuum_sim.validate.report.write import write_report
from continuum_sim.validate.session.files import DELAYS, STEP_TIME, SessionFiles
from continuum_sim.validate.session.pace import Pace, Pacer, how_kept, parse_pace
from continuum_sim.validate.session.validation import Validation, run_validation
from continuum_sim.validate.session.workload import make_workload
from continuum_sim.validate.steplog import TimedStep
from support.fake_engine import FakeEngines, facts
from support.virtual_time import run_virtually

DECODE = StepBatch(0, 0, 0, 0, 1, 100)
TENTH = Calibrated(0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0)
"""Every step takes a tenth of a second."""
PACE = Pace("roofline", "Llama-3.1-8B", "RTX-4090")


@dataclass
class Desk:
    """A clock that advances when something computes or sleeps."""

    now_s: float = 5.0
    slept_s: list[float] = field(default_factory=list)

    def pacer(self) -> Pacer:
        return Pacer(TENTH, lambda: self.now_s, self.sleep)

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds

    def step(self, pacer: Pacer, computing_s: float) -> float:
        """Run one step; return when it ended."""
        start_s = self.now_s
        self.now_s += computing_s
        pacer.hold(start_s, DECODE)
        return self.now_s


def test_a_step_waits_until_its_time_is_over() -> None:
    desk = Desk()
    assert desk.step(desk.pacer(), 0.03) == pytest.approx(5.1)
    assert desk.slept_s == [pytest.approx(0.07)]


def test_the_next_step_begins_where_the_last_one_was_due() -> None:
    """Time between two steps, for results and scheduling, is part of the second step's time."""
    desk = Desk()
    pacer = desk.pacer()
    desk.step(pacer, 0.03)
    desk.now_s += 0.02
    assert desk.step(pacer, 0.03) == pytest.approx(5.2)


def test_a_late_step_is_made_up_for() -> None:
    desk = Desk()
    pacer = desk.pacer()
    assert desk.step(pacer, 0.13) == pytest.approx(5.13)
    assert desk.step(pacer, 0.02) == pytest.approx(5.2)


def test_an_engine_that_is_too_slow_does_not_sprint_afterwards() -> None:
    desk = Desk()
    pacer = desk.pacer()
    assert desk.step(pacer, 0.5) == pytest.approx(5.5)
    # 0.4 s behind, of which 50 ms may be caught up.
    assert desk.step(pacer, 0.0) == pytest.approx(5.55)
    assert desk.step(pacer, 0.0) == pytest.approx(5.65)


def test_after_a_rest_a_step_begins_when_it_is_scheduled() -> None:
    desk = Desk()
    pacer = desk.pacer()
    desk.step(pacer, 0.03)
    pacer.rest()
    desk.now_s = 7.0
    assert desk.step(pacer, 0.03) == pytest.approx(7.1)


def test_a_step_planned_while_another_runs_begins_when_that_one_is_due() -> None:
    desk = Desk()
    pacer = desk.pacer()
    desk.step(pacer, 0.03)  # due at 5.1; meanwhile the next one was planned, at 5.01
    desk.now_s += 0.02
    pacer.hold(5.01, DECODE)
    assert desk.now_s == pytest.approx(5.2)
    # Nothing is left then but a step planned at 5.15 that turns out to be wasted: it still follows at once.
    pacer.rest()
    pacer.hold(5.15, DECODE)
    assert desk.now_s == pytest.approx(5.3)


def test_paces_are_read_from_text() -> None:
    assert parse_pace("llama-3.1-8b@4090") == PACE
    four = parse_pace("llama-3.1-70b@4xh100", "roofline:host_overhead_s=0.001")
    assert (four.model, four.gpu, four.tensor_parallel_size) == ("Llama-3.1-70B", "H100", 4)
    assert str(four) == "Llama-3.1-70B on 4 x H100 (roofline:host_overhead_s=0.001)"
    assert four.times().step_s(DECODE) > 0.001


@pytest.mark.parametrize(
    ("text", "step_time", "says"),
    [
        ("llama-3.1-8b", "roofline", "MODEL@GPU"),
        ("@h100", "roofline", "MODEL@GPU"),
        ("llama-3.1-8b@", "roofline", "MODEL@GPU"),
        ("llama-3.1-8b@h10", "roofline", "H100"),
        ("lama-3.1-8b@h100", "roofline", "Llama-3.1-8B"),
        ("llama-3.1-8b@h100", "rooftop", "roofline"),
    ],
)
def test_what_is_no_pace_is_refused_with_a_remedy(text: str, step_time: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_pace(text, step_time)


def test_a_server_keeps_its_own_pace(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["validate", "--policies", "lru", "--base-url", "http://localhost:1", "--pace", "llama-3.1-8b@h100"])
    assert ended.value.code == 2
    assert "--pace: the server of --base-url runs at its own pace" in capsys.readouterr().err


def test_how_the_pace_was_kept_is_counted() -> None:
    steps = [TimedStep(0.0, seconds, DECODE) for seconds in (0.1, 0.104, 0.106, 0.11)]
    assert "50.0% of 4 steps ended more than 5% late, all together took +5.00%" in how_kept(PACE, TENTH, steps)


def session() -> Validation:
    trace = read_programs(find_trace("swebench"), limit=5, max_turns=6)
    return Validation(
        workload=make_workload(list(Scale(16, 8).apply(trace)), Poisson(2.0), 0),
        policies=("lru", "ttl-static:ttl=0.1"),
        repeats=1,
        seed=0,
        draws=2,
        step_time=None,
        pace=PACE,
        settings={"seed": 0, "repeats": 1},
    )


def test_at_a_pace_nothing_is_calibrated_and_an_engine_that_keeps_it_shows_no_error(tmp_path: Path) -> None:
    engines = FakeEngines(facts(num_gpu_blocks=81, max_model_len=1024), PACE.times())
    files = SessionFiles(tmp_path / "out")
    said: list[str] = []
    run_validation(session(), engines, files, say=said.append, runner=run_virtually)
    assert engines.started == [None, "lru", "ttl-static:ttl=0.1"]
    assert not (files.root / STEP_TIME).exists()
    assert json.loads((files.root / DELAYS).read_text())["median_submit_s"] == pytest.approx(0.0, abs=1e-6)
    assert json.loads((files.root / "predictions.json").read_text())["step_time"]["kind"] == "roofline"
    report = write_report(session(), files, 0.05)
    assert report.notes[0].startswith("the engine was held to the pace of Llama-3.1-8B on RTX-4090 (roofline): 0.0%")
    for policy in report.policies:
        assert policy.jct_s["mean"].error == pytest.approx(0.0, abs=1e-5)
        assert policy.engine_pace == pytest.approx(1.0, abs=1e-6)
    # The survey and the predictions are not repeated.
    run_validation(session(), engines, files, say=said.append, runner=run_virtually, resume=True)
    assert len(engines.started) == 3
