"""Whole validations against engines whose truth is known: the validator must find the right error, and none where
there is none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby
from pathlib import Path

import pytest

from continuum_sim.errors import ConfigError
from continuum_sim.steptime import Calibrated, save_fitted
from continuum_sim.traces import find_trace, read_programs
from continuum_sim.traces.arrivals import Poisson
from continuum_sim.traces.scale import Scale
from continuum_sim.validate.engines.interface import Drafting, EngineError
from continuum_sim.validate.judge.assess import ValidationReport
from continuum_sim.validate.report.write import write_report
from continuum_sim.validate.session.files import SessionFiles
from continuum_sim.validate.session.validation import Validation, run_validation, schedule
from continuum_sim.validate.session.workload import make_workload
from support.fake_engine import FakeEngines, facts
from support.views import Html, lacking, on_terminal
from support.virtual_time import run_virtually

TRUTH = Calibrated(0.003, 8e-5, 1e-3, 5e-7, 2.6e-8, 6e-5, 3.5e-7, 0)
SCARCE = facts(num_gpu_blocks=81, max_model_len=1024)
POLICIES = ("lru", "program-fifo", "ttl-static:ttl=0.1")


@dataclass
class Lab:
    """One experiment and its directory."""

    root: Path
    policies: tuple[str, ...] = POLICIES
    repeats: int = 2
    settings: dict[str, object] = field(default_factory=lambda: {"seed": 0})
    said: list[str] = field(default_factory=list)

    def session(self) -> Validation:
        trace = read_programs(find_trace("swebench"), limit=6, max_turns=8)
        model = self.root / "model.json"
        if not model.exists():
            self.root.mkdir(parents=True, exist_ok=True)
            save_fitted(TRUTH, model)
        return Validation(
            workload=make_workload(list(Scale(16, 8).apply(trace)), Poisson(2.0), 0),
            policies=self.policies,
            repeats=self.repeats,
            seed=0,
            draws=2,
            step_time=model,
            settings={**self.settings, "repeats": self.repeats, "policies": list(self.policies)},
        )

    @property
    def files(self) -> SessionFiles:
        return SessionFiles(self.root / "out")

    def run(self, engines: FakeEngines, *, resume: bool = False) -> None:
        run_validation(self.session(), engines, self.files, say=self.said.append, runner=run_virtually, resume=resume)

    def report(self, tolerance: float = 0.05) -> ValidationReport:
        return write_report(self.session(), self.files, tolerance)


def engines(
    pace: Callable[[int], float] = lambda number: 1.0,
    dies_after: Callable[[int], int | None] = lambda number: None,
    refuses: Callable[[int], str | None] = lambda number: None,
) -> FakeEngines:
    return FakeEngines(SCARCE, TRUTH, pace, dies_after, refuses)


def test_an_engine_that_is_the_simulator_shows_no_error(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.run(fakes := engines())
    report = lab.report()
    assert fakes.open == 0
    assert report.passed
    assert [policy.policy for policy in report.policies] == list(POLICIES)
    for policy in report.policies:
        assert policy.repeats == 2
        assert policy.programs == 6
        assert policy.cached_equal == policy.cached_equal_repeats == 1.0
        assert policy.fates_equal == policy.fates_equal_repeats == 1.0
        assert policy.engine_pace == pytest.approx(1.0, abs=1e-6)
        assert policy.noise == pytest.approx(0.0, abs=1e-6)
        for number in (*policy.jct_s.values(), policy.ttft_mean_s, policy.ttft_p95_s, policy.output_tokens_per_s):
            assert number.error == pytest.approx(0.0, abs=1e-5)
        for number in (policy.cached_tokens, policy.preemptions, *policy.pins.values()):
            assert number is not None
            assert number.simulated == number.measured.value
    pins = report.policies[2].pins
    assert pins["pins_made"].measured.value > 10
    assert report.ranking.winner_holds
    assert report.ranking.kendall_tau == pytest.approx(1.0)
    assert report.ranking.simulated[0] == "ttl-static:ttl=0.1"
    assert all(improvement.same_sign for improvement in report.ranking.improvements)
    assert report.steps is not None
    assert report.steps["median_absolute_relative_error"] < 1e-6


def test_a_slow_engine_misses_the_tolerance_and_the_step_times_are_to_blame(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.run(engines(pace=lambda number: 1.3))
    report = lab.report()
    assert not report.passed
    for policy in report.policies:
        assert not policy.within_tolerance
        assert policy.jct_s["mean"].error < -0.1
        assert policy.engine_pace == pytest.approx(1.3, rel=1e-3)
        again = policy.reenacted
        assert again is not None
        assert (again.same_steps, again.cached_equal, again.fates_equal) == (1.0, 1.0, 1.0)
        assert again.jct_error == pytest.approx(0.0, abs=1e-6)
        split = policy.error_split
        assert split is not None
        parts = split.step_time + split.timing + split.scheduling + split.cache
        assert parts == pytest.approx(policy.jct_s["mean"].error)
        assert split.step_time == pytest.approx(policy.jct_s["mean"].error, abs=0.01)
    assert lab.report(tolerance=0.5).passed


def test_a_policy_that_is_not_run_is_found_out(tmp_path: Path) -> None:
    """The engine always runs lru: cached tokens and pins reveal it, not the step times."""

    class Stubborn(FakeEngines):
        async def __call__(self, policy, settings, folder, like):  # type: ignore[no-untyped-def]
            return await super().__call__("lru", settings, folder, like)

    lab = Lab(tmp_path, policies=("lru", "ttl-static:ttl=0.1"))
    lab.run(Stubborn(SCARCE, TRUTH))
    honest, other = lab.report().policies
    assert honest.within_tolerance
    assert not other.within_tolerance
    assert other.cached_equal is not None
    assert other.cached_equal < 0.95
    assert other.fates_equal is not None
    assert other.fates_equal < 0.5
    assert other.pins["pins_made"].measured.value == 0 < other.pins["pins_made"].simulated
    split = other.error_split
    assert split is not None
    assert abs(split.step_time) < 0.01
    assert split.scheduling + split.cache < -0.02
    assert honest.reenacted is not None
    assert honest.reenacted.same_steps == 1.0
    assert other.reenacted is not None
    assert other.reenacted.same_steps < 0.9
    assert other.reenacted.cached_equal < 1.0


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_unsteady_engine_is_followed_step_by_step_with_its_own_step_times(
    tmp_path: Path, asynchronous: bool
) -> None:
    """Every step takes a random time, so prediction and run diverge; reenacting the run must not."""
    lab = Lab(tmp_path, policies=("lru", "program-fifo", "ttl-static:ttl=0.1", "ttl:cold_start=5"))
    fakes = engines()
    fakes.facts = replace(SCARCE, async_scheduling=asynchronous, async_forced="by force" if asynchronous else None)
    fakes.jitter = 0.3
    fakes.planning_s = 0.01  # turns come in between
    lab.run(fakes)
    report = lab.report(tolerance=1.0)
    assert ("by force" in lab.said) is asynchronous
    assert (report.notes[-1:] == ["by force"]) is asynchronous
    assert any(policy.cached_equal != 1.0 for policy in report.policies)
    for policy in report.policies:
        again = policy.reenacted
        assert again is not None
        assert (again.same_steps, again.cached_equal, again.fates_equal) == (1.0, 1.0, 1.0)
        assert again.jct_error == pytest.approx(0.0, abs=1e-6)
        split = policy.error_split
        assert split is not None
        assert split.scheduling == pytest.approx(0.0, abs=1e-6)
        assert split.cache == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_drafts_are_predicted_from_what_the_survey_measured_and_followed_step_by_step(
    tmp_path: Path, asynchronous: bool
) -> None:
    """Each engine accepts other drafts of other turns, at the same rates."""
    lab = Lab(tmp_path, policies=("program-fifo",), repeats=3)
    fakes = engines()
    fakes.facts = replace(SCARCE, async_scheduling=asynchronous, drafting=Drafting("ngram_gpu", 2))
    fakes.acceptance_rates = (0.8, 0.5)
    lab.run(fakes)
    assert fakes.open == 0
    told = json.loads((lab.files.root / "engine.json").read_text())["drafting"]["acceptance_rates"]
    assert told == pytest.approx([0.8, 0.5], abs=0.04)
    measured = json.loads((lab.files.root / "acceptance.json").read_text())
    assert measured["rates"] == told
    report = lab.report()
    (policy,) = report.policies
    assert policy.drafts["tokens_per_step"].measured.value == pytest.approx(2.3, abs=0.1)
    assert policy.drafts["tokens_per_step"].error == pytest.approx(0.0, abs=0.03)
    assert policy.steps is not None
    assert policy.steps.error == pytest.approx(0.0, abs=0.05)
    assert policy.within_tolerance
    again = policy.reenacted
    assert again is not None
    assert (again.same_steps, again.cached_equal, again.fates_equal) == (1.0, 1.0, 1.0)
    assert again.jct_error == pytest.approx(0.0, abs=1e-6)
    assert "tokens of a turn's step" in on_terminal(report.view(), 160)


def test_given_acceptance_is_not_measured(tmp_path: Path) -> None:
    lab = Lab(tmp_path, policies=("lru",), repeats=1)
    fakes = engines()
    fakes.facts = replace(SCARCE, drafting=Drafting("ngram", 2, (0.8, 0.5)))
    fakes.acceptance_rates = (0.8, 0.5)
    lab.run(fakes)
    assert not (lab.files.root / "acceptance.json").exists()
    assert lab.report(tolerance=0.2).passed


def test_noise_beyond_the_tolerance_is_said(tmp_path: Path) -> None:
    lab = Lab(tmp_path, policies=("lru",))
    lab.run(engines(pace=lambda number: (1.0, 0.9, 1.1)[number]))
    report = lab.report()
    (policy,) = report.policies
    assert policy.noise > 0.1
    assert policy.jct_s["mean"].measured.low < policy.jct_s["mean"].measured.value < policy.jct_s["mean"].measured.high
    assert any("too noisy" in note for note in report.notes)
    assert any("noise" in note for note in policy.notes)


def test_predictions_are_there_before_the_first_run_and_stay(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.run(engines(), resume=False)
    root = lab.files.root
    text = (root / "predictions.json").read_bytes()
    digest, name = (root / "predictions.json.sha256").read_text().split()
    assert (digest, name) == (hashlib.sha256(text).hexdigest(), "predictions.json")
    predictions = json.loads(text)
    written = datetime.fromisoformat(predictions["written_at"])
    started = [datetime.fromisoformat(run["started_at"]) for _, _, run in lab.files.finished()]
    assert len(started) == 6
    assert written < min(started)
    assert list(predictions["policies"]) == list(POLICIES)
    for folder, hashes in predictions["files"].items():
        for file, told in hashes.items():
            assert hashlib.sha256((root / folder / file).read_bytes()).hexdigest() == told
    before = (root / "predictions.json").stat().st_mtime_ns
    lab.run(engines(), resume=True)
    assert (root / "predictions.json").stat().st_mtime_ns == before


def test_changed_predictions_are_refused(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.run(engines())
    path = lab.files.root / "predictions.json"
    path.write_text(path.read_text().replace("mean_jct_s", "Mean_jct_s", 1))
    with pytest.raises(ConfigError, match="changed after it was written"):
        lab.report()


def test_policies_alternate_and_none_is_always_first() -> None:
    keys = list(schedule(POLICIES, 3))
    rounds = [[key.policy for key in run] for _, run in groupby(keys, key=lambda key: key.repeat)]
    assert rounds == [[*POLICIES[i:], *POLICIES[:i]] for i in range(3)]


def test_an_engine_that_dies_keeps_what_was_finished_and_resume_goes_on(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    dying = engines(dies_after=lambda number: 40 if number == 4 else None)  # survey, three runs, then this one
    with pytest.raises(EngineError, match="died"):
        lab.run(dying)
    assert dying.open == 0
    finished = {folder.name: (folder / "turns.parquet").stat().st_mtime_ns for _, folder, _ in lab.files.finished()}
    assert len(finished) == 3
    with pytest.raises(ConfigError, match="--resume"):
        lab.run(engines())
    fresh = engines()
    lab.said.clear()
    lab.run(fresh, resume=True)
    # Round 0 is complete; round 1 starts one policy further on. No survey, because its results are kept.
    assert fresh.started == ["program-fifo", "ttl-static:ttl=0.1", "lru"]
    assert sum("finished before" in line for line in lab.said) == 3
    for _, folder, _ in lab.files.finished():
        if folder.name in finished:
            assert (folder / "turns.parquet").stat().st_mtime_ns == finished[folder.name]
    assert not list(lab.files.runs.glob("*.unfinished"))
    assert lab.report().passed


def test_repeats_can_be_added_but_nothing_else_changed(tmp_path: Path) -> None:
    lab = Lab(tmp_path, repeats=1)
    lab.run(engines())
    lab.repeats = 2
    lab.run(more := engines(), resume=True)
    assert len(more.started) == 3
    lab.settings = {"seed": 1}
    with pytest.raises(ConfigError, match=r"started with seed 0, not 1"):
        lab.run(engines(), resume=True)
    lab.settings = {"seed": 0}
    lab.repeats = 1
    with pytest.raises(ConfigError, match=r"--repeats 1: .* holds runs of 2 repeats, and its report is over all"):
        lab.run(engines(), resume=True)


def test_a_validation_knows_its_repeats_and_one_of_an_earlier_version_too(tmp_path: Path) -> None:
    lab = Lab(tmp_path, policies=("lru",), repeats=1)
    assert lab.files.repeats() == 0
    lab.run(engines())
    lab.repeats = 2
    lab.run(engines(), resume=True)
    assert lab.files.manifest()["repeats"] == 2
    manifest = lab.files.root / "manifest.json"
    before = {**lab.files.manifest(), "repeats": 1}  # earlier versions kept the number requested first
    manifest.write_text(json.dumps(before))
    assert lab.files.repeats() == 2
    lab.settings = {"seed": 0, "server": {"vocab_size": 7}}  # and did not store this
    lab.run(engines(), resume=True)


def test_an_engine_that_does_not_start_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    with pytest.raises(EngineError, match="no memory"):
        lab.run(engines(refuses=lambda number: "no memory"))
    lab.settings = {"seed": 0, "kv_blocks": 90}  # corrected
    lab.run(engines())
    assert lab.report().passed


def test_an_engine_of_another_size_is_refused(tmp_path: Path) -> None:
    class Shrinking(FakeEngines):
        async def __call__(self, policy, settings, folder, like):  # type: ignore[no-untyped-def]
            if policy is not None:
                self.facts = facts(num_gpu_blocks=80, max_model_len=1024)
            return await super().__call__(policy, settings, folder, like)

    lab = Lab(tmp_path)
    fakes = Shrinking(SCARCE, TRUTH)
    with pytest.raises(EngineError, match="not the one surveyed"):
        lab.run(fakes)
    assert fakes.open == 0


def test_a_program_that_does_not_fit_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    small = FakeEngines(facts(num_gpu_blocks=5, max_model_len=1024), TRUTH)
    with pytest.raises(ConfigError, match=r"needs \d+ KV blocks"):
        lab.run(small)
    assert small.started == [None]
    assert small.open == 0
    assert not (lab.files.root / "predictions.json").exists()


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.files.root.mkdir()
    (lab.files.root / "thesis.tex").write_text("dear")
    with pytest.raises(ConfigError, match="taken by something else"):
        lab.run(engines())
    assert [path.name for path in lab.files.root.iterdir()] == ["thesis.tex"]


def test_the_session_calibrates_where_no_model_is_given(tmp_path: Path) -> None:
    lab = Lab(tmp_path, policies=("lru",), repeats=1)
    session = lab.session()
    session = Validation(**{**vars(session), "step_time": None})
    run_validation(session, engines(), lab.files, say=lab.said.append, runner=run_virtually)
    report = lab.report()
    assert report.passed
    assert report.policies[0].jct_s["mean"].error == pytest.approx(0.0, abs=1e-3)
    root = lab.files.root
    assert (root / "fitted.png").exists()
    assert json.loads((root / "fitted.json").read_text())["provenance"]["date"]


@pytest.mark.usefixtures("rendered")
def test_the_report_is_written_for_people_and_programs(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.run(engines())
    report = lab.report()
    root = lab.files.root
    told = json.loads((root / "report.json").read_text())
    assert told["passed"] is True
    assert told["policies"][0]["jct_s"]["p95"]["simulated"] == report.policies[0].jct_s["p95"].simulated
    page = (root / "report.html").read_text()
    for word in (*POLICIES, "Kendall", "data:image/png;base64", "repeat noise", "Pins", "simulator"):
        assert word in page
    assert 'src="http' not in page  # self-contained
    view = report.view()
    for shown in (on_terminal(view, 240), Html(page).text, Html(report._repr_html_()).text):
        assert lacking(view, shown) == []
    for name in ("jct", "programs", "distribution", "error_split", "steps"):
        assert (root / "pictures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
