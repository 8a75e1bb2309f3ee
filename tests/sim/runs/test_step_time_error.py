"""Step times with an error: one draw a seed, the same for every policy, and whether verdicts survive it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import continuum_sim as cs
from continuum_sim.hardware import find_gpu
from continuum_sim.results.survival import AtEnds
from continuum_sim.setup.resolve import resolve
from continuum_sim.setup.run_config import RunConfig
from continuum_sim.steptime.common import error_of, with_factor, without_error
from continuum_sim.steptime.uncertain import ends
from support.programs import program, turn

TRACE = [program(f"p{at}", *[turn(3000 + 800 * step, 40, gap=1.0) for step in range(3)], at=None) for at in range(6)]
LOAD: dict[str, Any] = {"trace": TRACE, "arrivals": "poisson:rate=2", "kv_blocks": 1200, "max_model_len": 16_000}
UNSURE = "roofline:error=0.3"


def factors(**more: Any) -> dict[str, float]:
    told = resolve(RunConfig(**{**LOAD, "step_time": UNSURE, **more})).step_time.describe()
    found: dict[str, float] = told["factors"]
    return found


def test_the_seed_draws_and_nothing_else_does() -> None:
    assert factors(seed=1) == factors(seed=1, policy="ttl") == factors(seed=1, gpu="h100")
    assert len({factors(seed=seed)["prompts"] for seed in range(5)}) == 5


def test_stages_and_replicas_share_a_draw() -> None:
    asked = RunConfig(
        **{**LOAD, "kv_blocks": None}, step_time=UNSURE, pipeline_parallel_size=2, replicas="h100:1,b200:1"
    )
    told = [stage for replica in resolve(asked).replicas for stage in replica.step_time.describe()["stages"]]
    assert len(told) == 4
    assert all(stage["factors"] == told[0]["factors"] for stage in told)


def test_a_run_is_repeatable_and_its_manifest_holds_the_draw(tmp_path: Path) -> None:
    first = cs.run(policy="lru", **LOAD, step_time=UNSURE, seed=3, out=tmp_path / "run")
    again = cs.run(policy="lru", **LOAD, step_time=UNSURE, seed=3)
    assert first.summary.jct_s == again.summary.jct_s
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["step_time"]["factors"] == factors(seed=3)
    assert manifest["step_time"]["error"] == 0.3
    assert any("drawn by the seed" in note for note in first.summary.notes)


def test_a_factor_stretches_a_run_of_steps() -> None:
    load = {**LOAD, "trace": TRACE[:1], "arrivals": "burst", "limit": 1}
    once, twice = (cs.run(policy="lru", **load, step_time=f"roofline:factor={factor}") for factor in (1, 2))
    tools_s = once.summary.time_s.tool
    assert twice.summary.jct_s.mean - tools_s == pytest.approx(2 * (once.summary.jct_s.mean - tools_s), rel=1e-6)


def test_few_seeds_are_run_at_both_ends_and_many_draw_their_own() -> None:
    policies = ["lru", "ttl"]
    few = cs.compare(policies, [0], **LOAD, step_time=UNSURE)
    (item,) = few.at_ends
    low, high = ends(0.3)
    assert (item.policy, item.low_factor, item.high_factor) == ("ttl", low, high)
    at_low = cs.compare(policies, [0], **LOAD, step_time=f"roofline:factor={low!r}")
    assert item.low_ratio == at_low.paired[0].ratio
    assert item.ratio == few.paired[0].ratio
    assert item.line() in str(few.view())
    assert json.loads(few.to_json())["at_ends"][0]["ratio"] == item.ratio
    assert not cs.compare(policies, range(5), **LOAD, step_time=UNSURE).at_ends
    assert not cs.compare(policies, [0], **LOAD).at_ends


def test_a_difference_survives_that_stays_on_its_side() -> None:
    item = AtEnds(
        policy="ttl", error=0.05, seed=0, ratio=0.8, low_factor=0.92, low_ratio=0.9, high_factor=1.08, high_ratio=0.7,
        min_effect=0.01,
    )  # fmt: skip
    assert item.survives
    assert "faster than the baseline (0.800), which survives an error of 5.0 % in step times" in item.line()
    assert not replace(item, low_ratio=0.995).survives
    assert "does not survive" in replace(item, high_ratio=1.1).line()
    assert replace(item, ratio=1.0, low_ratio=0.995, high_ratio=1.005).survives


def test_an_error_without_a_value_is_the_known_one() -> None:
    assert error_of("roofline:error", find_gpu("h100")) == 0.057
    assert factors(step_time="roofline:error") == factors(step_time="roofline:error=0.057")
    for spec, gpu in (("roofline:error", "rtx-4090"), ("fitted:file,error", "h100")):
        with pytest.raises(cs.ConfigError, match=r"step times on .* is not known: give it, as in error=0\.1"):
            error_of(spec, find_gpu(gpu))


def test_the_notation_of_a_spec_is_kept() -> None:
    assert without_error("fitted:a, b.json,error=0.05") == "fitted:a, b.json"
    assert (
        without_error("roofline:error=0.1")
        == without_error("roofline:error")
        == without_error("roofline")
        == "roofline"
    )
    assert with_factor("roofline:error=0.1,factor=2,host_s=0", 0.5) == "roofline:factor=1.0,host_s=0"
