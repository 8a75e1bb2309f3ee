"""Calibration: the grid, the measurement, resuming after an interruption, the figure."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from continuum_sim.errors import ConfigError
from continuum_sim.setup.accepted import rates_of_file
from continuum_sim.steptime import Calibrated, load_fitted, save_fitted
from continuum_sim.steptime.batch import StepBatch
from continuum_sim.validate.calibration import command
from continuum_sim.validate.calibration.calibrate import calibrate, delays_of, write_calibration
from continuum_sim.validate.calibration.delays import ClientDelays, read_delays
from continuum_sim.validate.calibration.measure import Asked, Measured, PointAnswers
from continuum_sim.validate.calibration.points import Point, plan_points
from continuum_sim.validate.calibration.probes import _decodes
from continuum_sim.validate.engines.interface import Drafting, EngineError, EngineFacts, TurnAnswer, TurnRequest
from continuum_sim.validate.engines.options import EngineOptions
from support.fake_engine import FakeEngines, facts
from support.virtual_time import run_virtually

TRUTH = Calibrated(0.003, 8e-5, 1e-3, 5e-7, 2.6e-8, 6e-5, 3.5e-7, 9e-4)
SMALL = facts(num_gpu_blocks=101, max_model_len=512, max_num_seqs=8)


def measure(engines: FakeEngines, folder: Path, said: list[str] | None = None) -> tuple[Calibrated, list[Measured]]:
    async def run() -> tuple[Calibrated, list[Measured]]:
        engine = await engines(None, {}, folder / "engine", None)
        try:
            return await calibrate(engine, folder / "points.jsonl", ([] if said is None else said).append)
        finally:
            await engine.close()

    return run_virtually(run())


@given(
    st.integers(20, 5000),
    st.sampled_from([16, 32, 128]),
    st.integers(64, 8192),
    st.integers(1, 256),
    st.integers(128, 60_000),
)
def test_every_point_fits_the_engine(blocks: int, block_size: int, chunk: int, seqs: int, longest: int) -> None:
    engine = facts(
        num_gpu_blocks=blocks,
        block_size=block_size,
        max_num_batched_tokens=max(chunk, seqs),
        max_num_seqs=seqs,
        max_model_len=longest,
    )
    points = plan_points(engine)
    assert len(set(points)) == len(points)
    for point in points:
        assert point.kv_tokens(engine.max_num_batched_tokens) <= (blocks - 1) * block_size
        assert point.longest_tokens(engine.max_num_batched_tokens) <= longest
        assert point.decodes <= seqs
        assert point.new >= 0
        assert point.cached % block_size == 0


def test_the_grid_covers_prefill_decode_and_both() -> None:
    points = plan_points(facts(num_gpu_blocks=2000, max_num_batched_tokens=1024, max_model_len=8192))
    assert any(p.new and p.cached and not p.decodes for p in points)
    assert any(p.decodes > 8 and not p.new for p in points)
    assert any(p.decodes and p.new for p in points)
    assert {p.new for p in points if not p.cached and not p.decodes} >= {1, 64, 1024}


def test_an_engine_is_measured_as_it_is(tmp_path: Path) -> None:
    said: list[str] = []
    model, steps = measure(FakeEngines(SMALL, TRUTH), tmp_path, said)
    assert len(steps) > 200
    for step in steps:
        assert model.step_s(step.batch) == pytest.approx(step.seconds, rel=1e-4)
        assert step.seconds == pytest.approx(TRUTH.step_s(step.batch), rel=1e-6)
    assert any("measuring" in line and "about" in line and line.endswith("s") for line in said)
    provenance = model.provenance
    assert provenance["device"] == "none"
    assert provenance["num_gpu_blocks"] == 101
    assert provenance["measured_by"] == "step log"
    assert provenance["residuals"]["mean_absolute_relative_error"] < 1e-4
    assert delays_of(model).mean_gap_s() == pytest.approx(0.0, abs=1e-6)


def test_the_estimate_is_about_right(tmp_path: Path) -> None:
    said: list[str] = []
    measure(FakeEngines(SMALL, TRUTH), tmp_path, said)
    line = next(line for line in said if "measuring" in line)
    told_s = float(line.rpartition("about ")[2].removesuffix(" s"))
    lines = (tmp_path / "engine" / "steps.jsonl").read_text().splitlines()
    took_s = json.loads(lines[-1])[3]
    assert 0.4 * took_s < told_s < 1.5 * took_s


def test_it_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    engines = FakeEngines(SMALL, TRUTH, dies_after=lambda number: None if number else 250)
    with pytest.raises(EngineError, match="died"):
        measure(engines, tmp_path)
    points = tmp_path / "points.jsonl"
    done = len(points.read_text().splitlines()) - 2  # the engine, the delays
    assert done > 3
    with points.open("a") as file:
        file.write('{"point": {"dec')  # cut off in the middle of a line
    before = points.read_text().splitlines()[: done + 2]
    said: list[str] = []
    model, _ = measure(engines, tmp_path, said)
    assert any(f"{done} of {len(plan_points(SMALL))} points are measured already" in line for line in said)
    lines = points.read_text().splitlines()
    assert lines[: done + 2] == before
    assert len(lines) == 2 + len(plan_points(SMALL))
    assert model.c0_s == pytest.approx(TRUTH.c0_s, rel=1e-3)
    assert engines.open == 0


def test_steps_with_drafts_are_fitted_by_their_rows(tmp_path: Path) -> None:
    engines = FakeEngines(replace(SMALL, num_gpu_blocks=401, max_model_len=1024, drafting=Drafting("ngram", 3)), TRUTH)
    engines.acceptance_rates = (0.8, 0.6, 0.4)
    model, steps = measure(engines, tmp_path)
    assert {step.batch.decode_requests for step in steps} >= {4, 8, 12, 16, 24, 32}
    batch = StepBatch(0, 0, 0, 0, 12, 3 * 300)
    assert model.step_s(batch) == pytest.approx(TRUTH.step_s(batch), rel=1e-3)


def test_the_command_measures_which_drafts_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "run_async", run_virtually)
    monkeypatch.setattr(command, "write_calibration", lambda model, steps, out: save_fitted(model, out) or out)
    engines = FakeEngines(replace(SMALL, num_gpu_blocks=401, max_model_len=1024, drafting=Drafting("ngram", 2)), TRUTH)
    engines.acceptance_rates = (0.7, 0.2)
    said: list[str] = []
    out = tmp_path / "fitted.json"
    command.calibrate_engine(out, EngineOptions(model="tiny"), engines, seed=0, force=False, say=said.append)
    told = json.loads(out.read_text())["provenance"]["acceptance"]
    assert told["rates"] == pytest.approx([0.7, 0.2], abs=0.02)
    assert told["turn_steps"] > 2_500
    assert any(line.startswith("drafts accepted by position: 0.") for line in said)
    assert rates_of_file(out.read_text(), str(out)) == tuple(told["rates"])


def test_points_of_another_engine_are_refused(tmp_path: Path) -> None:
    measure(FakeEngines(SMALL, TRUTH), tmp_path)
    with pytest.raises(ConfigError, match="max_num_seqs 8 there, 4 here"):
        measure(FakeEngines(facts(num_gpu_blocks=101, max_model_len=512, max_num_seqs=4), TRUTH), tmp_path)
    (tmp_path / "points.jsonl").write_text("hello\n")
    with pytest.raises(ConfigError, match="not a file of ours"):
        measure(FakeEngines(SMALL, TRUTH), tmp_path)


@pytest.mark.usefixtures("rendered")
def test_the_model_and_its_picture_are_written(tmp_path: Path) -> None:
    steps = [Measured(StepBatch(1, n, 0, n * n, d, 9 * d), 0.01 + n * 1e-5) for n in (1, 50, 90) for d in (0, 1, 4)]
    steps += [Measured(StepBatch(0, 0, 0, 0, d, 9 * d), 0.01) for d in (1, 2, 3)]
    picture = write_calibration(TRUTH, steps, tmp_path / "new" / "fitted.json")
    assert load_fitted(tmp_path / "new" / "fitted.json") == TRUTH
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["fitted.json", "fitted.png"]


class SeenFromOutside:
    """A server on a machine that is busy while the round trip is measured, and fast for the first prefill after it."""

    def __init__(self) -> None:
        self.facts = SMALL
        self.step_log = None
        self.measured = False

    async def turn(self, request: TurnRequest) -> TurnAnswer:
        start_s = asyncio.get_running_loop().time()
        first_s = 0.05
        if len(request.prompt_token_ids) == 1:
            self.measured = True
        elif self.measured:
            self.measured, first_s = False, 0.02
        times = tuple(start_s + first_s + 0.01 * number for number in range(request.output_tokens))
        await asyncio.sleep(times[-1] - start_s)
        return TurnAnswer([20] * request.output_tokens, times[0], times[-1], token_times_s=times)

    async def forget(self) -> None:
        pass

    async def close(self) -> None:
        pass


def test_a_prefill_that_drowns_in_the_round_trip_does_not_end_a_calibration(tmp_path: Path) -> None:
    said: list[str] = []
    model, _ = run_virtually(calibrate(SeenFromOutside(), tmp_path / "points.jsonl", said.append))
    assert any(line.startswith("measuring") for line in said)
    assert model.step_s(StepBatch(0, 0, 0, 0, 1, 64)) == pytest.approx(0.01, rel=0.05)


def test_delays_come_back_from_json() -> None:
    delays = ClientDelays((0.001, 0.002), (0.003,), (0.0,))
    assert read_delays(json.loads(json.dumps(delays.describe()))) == delays
    assert read_delays(None) == ClientDelays()
    assert delays.mean_gap_s() == pytest.approx(0.0045)
    with pytest.raises(ConfigError, match="client delays"):
        read_delays({"submit_s": 3})


def test_facts_describe_the_engine_the_simulator_mirrors() -> None:
    config = facts(watermark=0.01).config()
    assert (config.num_gpu_blocks, config.block_size, config.watermark) == (201, 16, 0.01)
    assert EngineFacts(**asdict(facts())) == facts()


def test_from_outside_a_decoding_batch_is_timed_while_all_decode() -> None:
    def asked(first_s: float, tokens: int) -> Asked:
        times = tuple(first_s + i / 64 for i in range(tokens))
        return Asked(0.0, TurnAnswer([0] * tokens, times[0], times[-1], token_times_s=times))

    (step,) = _decodes(Point(decodes=2, context=100), PointAnswers([asked(1.0, 30), asked(1.0 + 10 / 64, 30)], []))
    assert step.seconds == pytest.approx(1 / 64)
    # From the second turn's first token to the first turn's last: tokens 11 to 29 of one, 1 to 19 of the other.
    assert step.batch == StepBatch(0, 0, 0, 0, 2, 2 * 100 + 20 + 10)
