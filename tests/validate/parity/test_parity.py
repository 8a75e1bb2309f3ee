"""The simulated scheduler against vLLM's own, and the parts of the comparison that need no vLLM."""

from __future__ import annotations

import json

import numpy as np
import pytest

from continuum_sim.engine.config import EngineConfig
from continuum_sim.setup.notation import parse_arrivals, parse_policy
from continuum_sim.steptime import Fitted
from continuum_sim.traces import check_program
from continuum_sim.traces.schema import Child, Program, SharedPrefix, Turn
from continuum_sim.validate.parity.compare import ParityReport
from continuum_sim.validate.parity.random_cases import random_case
from continuum_sim.validate.parity.tokens import TokenStory
from continuum_sim.validate.parity.vllm_harness import installed_vllm, mirrored_version
from continuum_sim.vllm_defaults import MIRRORED_VERSIONS
from support.cli import cli

STEP_TIME = Fitted(0.006, 3e-5, 4e-8, 2e-9)


def test_random_cases_are_valid_traces_that_fit_and_repeat() -> None:
    for seed in range(50):
        crowded, version = bool(seed % 2), MIRRORED_VERSIONS[seed % 3 > 0]
        case = random_case(np.random.default_rng(seed), controls=True, crowded=crowded, vllm_version=version)
        for program in case.programs:
            check_program(program)
            assert -(-program.max_context_tokens // case.config.block_size) <= case.config.usable_blocks
        assert case.arrivals_s == sorted(case.arrivals_s)
        again = random_case(np.random.default_rng(seed), controls=True, crowded=crowded, vllm_version=version)
        assert case == again


@pytest.mark.parametrize("difference", [None, "step 1 differs"])
def test_its_result_as_json(
    difference: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = ParityReport(7, 6, 1, 0.5, 0.25, {"preemptions": 5}, difference)  # type: ignore[arg-type]
    monkeypatch.setattr("continuum_sim.validate.parity.cli._vllm_version", lambda: "0.32.0")
    monkeypatch.setattr("continuum_sim.validate.parity.compare.compare_on_random_cases", lambda *_, **__: found)
    code, out, _ = cli(capsys, "parity", "--random", "1", "--json")
    told = json.loads(out)
    assert code == (difference is not None)
    assert (told["steps"], told["vllm"], told["policy"], told["difference"]) == (7, "0.32.0", "lru", difference)
    assert (told["events"], told["mirrored"]) == ({"preemptions": 5}, "0.32")


@pytest.mark.parametrize(("installed", "as_if"), [("0.32.1", "0.32"), ("0.33.0+cpu", "0.33"), ("0.40.0", "0.33")])
def test_it_compares_with_the_version_that_is_installed(
    installed: str, as_if: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {}

    def compare(*_: object, **given: object) -> ParityReport:
        asked.update(given)
        return ParityReport(events={"resumed_turns": 3})

    monkeypatch.setattr("continuum_sim.validate.parity.vllm_harness.installed_vllm", lambda: installed)
    monkeypatch.setattr("continuum_sim.validate.parity.compare.compare_on_random_cases", compare)
    code, out, _ = cli(capsys, "parity", "--random", "1")
    assert (code, asked["vllm_version"]) == (0, as_if)
    assert f"vLLM {installed}" in out
    assert ("is not mirrored yet, as if it were 0.33" in out) == (installed == "0.40.0")
    assert "events: 3 resumed turns\n" in out


def test_a_version_older_than_those_mirrored_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("continuum_sim.validate.parity.vllm_harness.installed_vllm", lambda: "0.9.2")
    code, _, err = cli(capsys, "parity", "--random", "1")
    assert code == 2
    assert "vLLM 0.9.2 is older than 0.32" in err


def test_counts_of_several_runs_add_up() -> None:
    both = ParityReport(events={"preemptions": 1}) + ParityReport(events={"preemptions": 2, "aborts": 1})
    assert both.events == {"preemptions": 3, "aborts": 1}


def test_token_story_repeats_what_is_kept_and_shared_and_nothing_else() -> None:
    prefix = SharedPrefix("system", 8)
    turns = (Turn(12, 0, 2, "ls", 1.0), Turn(16, 11, 1))
    one, other = (Program(name, turns, None, prefix) for name in ("a", "b"))
    story = TokenStory()
    first = story.prompt(one, 12, 0)
    samples = [story.sample("a"), story.sample("a")]
    second = story.prompt(one, 16, 11)
    stranger = story.prompt(other, 12, 0)
    assert len(first) == 12
    assert len(second) == 16
    assert second[:11] == first[:11]
    assert not set(second[11:]) & set(first + samples)
    assert stranger[:8] == first[:8]
    assert not set(stranger[8:]) & set(first + second)


@pytest.mark.engine
class TestAgainstVllm:
    @pytest.fixture(autouse=True)
    def _needs_vllm(self) -> None:
        pytest.importorskip("vllm", reason="vLLM is not installed")

    def test_every_step_of_random_traces_agrees(self) -> None:
        from continuum_sim.validate.parity.compare import compare_on_random_cases

        installed = mirrored_version(installed_vllm() or "")
        report = compare_on_random_cases(
            48, parse_policy("lru"), STEP_TIME, seed=1000, controls=True, vllm_version=installed
        )
        assert report.difference is None, str(report.difference)
        assert report.steps > 20_000
        rare = {"wasted_tokens", "deferred_frees"} | ({"held_prefills"} if installed == "0.32" else set())
        assert {kind for kind, number in report.events.items() if not number} <= rare

    def test_scarce_memory_with_preemptions_agrees(self) -> None:
        from continuum_sim.validate.parity.compare import compare_on_trace

        turns = (Turn(200, 0, 700, "ls", 0.3), Turn(1000, 900, 300))
        programs = [Program(f"p{i}", turns) for i in range(6)]
        config = EngineConfig(num_gpu_blocks=160, max_num_batched_tokens=256, max_num_seqs=64, max_model_len=4096)
        report = compare_on_trace(programs, parse_arrivals("burst"), config, parse_policy("lru"), STEP_TIME)
        assert report.difference is None, str(report.difference)
        assert report.events["preemptions"] > 0

    def test_sub_agents_agree(self) -> None:
        from continuum_sim.validate.parity.compare import compare_on_trace

        def job(name: str, *children: Child) -> Program:
            return Program(name, (Turn(200, 0, 300, "task", 0.3), Turn(700, 500, 200)), children=children)

        programs = [
            job(f"p{i}", *(Child(job(f"p{i}/{k}", Child(job(f"p{i}/{k}/0"), 1)), 0, 1) for k in "ab")) for i in range(3)
        ]
        config = EngineConfig(num_gpu_blocks=160, max_num_batched_tokens=256, max_num_seqs=64, max_model_len=4096)
        report = compare_on_trace(programs, parse_arrivals("burst"), config, parse_policy("lru"), STEP_TIME)
        assert report.difference is None, str(report.difference)
        assert report.turns == 3 * 5 * 2
        assert report.events["preemptions"] > 0

    def test_a_wrong_scheduler_is_caught_and_shown(self) -> None:
        """A simulated engine one block short must not pass for vLLM's."""
        from continuum_sim.validate.parity.compare import compare_on_trace
        from continuum_sim.validate.parity.shadow import VllmShadow

        programs = [Program("p", (Turn(100, 0, 20),))]
        config = EngineConfig(num_gpu_blocks=50, max_num_batched_tokens=256, max_num_seqs=64, max_model_len=4096)
        original = VllmShadow.__init__

        def shrunk(self: VllmShadow, config: EngineConfig, *args: object, **named: object) -> None:
            original(self, EngineConfig(49, 16, 256, 64, 4096), *args, **named)  # type: ignore[arg-type]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(VllmShadow, "__init__", shrunk)
            report = compare_on_trace(programs, parse_arrivals("burst"), config, parse_policy("lru"), STEP_TIME)
        assert report.difference is not None
        assert "free_blocks" in str(report.difference)
        assert "simulated" in str(report.difference)
