"""Speculative decoding against vLLM's own schedulers."""

from __future__ import annotations

import numpy as np
import pytest

from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.speculation.config import METHODS, SpeculationConfig
from continuum_sim.setup.notation import parse_arrivals, parse_policy
from continuum_sim.steptime import Fitted
from continuum_sim.traces.schema import Program, Turn
from continuum_sim.validate.parity.pairs import acting, steps_together
from continuum_sim.validate.parity.random_cases import random_case
from continuum_sim.validate.parity.vllm_harness import installed_vllm, mirrored_version
from continuum_sim.vllm_defaults import MIRRORED_VERSIONS
from continuum_sim.world.clients import PATIENT

STEP_TIME = Fitted(0.006, 3e-5, 4e-8, 2e-9)


def test_random_cases_draft_with_every_method() -> None:
    seen = set()
    for seed in range(60):
        plain, drafted = (random_case(np.random.default_rng(seed), drafts=drafts) for drafts in (False, True))
        assert plain.programs == drafted.programs, "drafts are drawn last"
        assert drafted.config.speculation is not None
        seen.add(drafted.config.speculation.method)
    assert seen == set(METHODS)


def test_settings_that_exclude_each_other_are_no_pair() -> None:
    acts = acting(EngineConfig(100, speculation=SpeculationConfig("ngram", 1, (0.5,))), PATIENT)
    pairs = steps_together(acts, 7)
    assert not any(set(pair) == {"--no-enable-prefix-caching", "--kv-offloading-size"} for pair in pairs)
    assert any(set(pair) == {"--speculative-config", "--watermark"} for pair in pairs)


@pytest.mark.engine
class TestAgainstVllm:
    @pytest.fixture(autouse=True)
    def _needs_vllm(self) -> None:
        pytest.importorskip("vllm", reason="vLLM is not installed")

    @pytest.mark.parametrize("ahead", [False, True])
    @pytest.mark.parametrize("method", METHODS)
    def test_scarce_memory_agrees(self, method: str, ahead: bool) -> None:
        from continuum_sim.validate.parity.compare import compare_on_trace

        version = mirrored_version(installed_vllm() or MIRRORED_VERSIONS[0])
        speculation = SpeculationConfig(method, 3, (0.8, 0.5, 0.3))
        if ahead and not speculation.plans_ahead(version):
            pytest.skip("vLLM plans no step ahead with these drafts")
        turns = (Turn(200, 0, 700, "ls", 0.3), Turn(1000, 900, 300))
        programs = [Program(f"p{i}", turns) for i in range(6)]
        config = EngineConfig(
            num_gpu_blocks=160,
            max_num_batched_tokens=256,
            max_num_seqs=64,
            max_model_len=2000,
            speculation=speculation,
            async_scheduling=ahead,
            vllm_version=version,
        )
        report = compare_on_trace(programs, parse_arrivals("burst"), config, parse_policy("lru"), STEP_TIME)
        assert report.difference is None, str(report.difference)
        assert report.events["preemptions"] > 0
        assert report.events["accepted_drafts"] > 1_000
        assert report.events["rejected_drafts"] > 1_000
