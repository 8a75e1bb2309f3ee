"""User settings, the identity of requests, and everything else that needs no vLLM."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from continuum_sim.engine.rebuild import RebuildTime, fit_rebuild_time
from continuum_sim.errors import ConfigError
from continuum_sim.results.decisions import DecisionRecord, read_decisions
from continuum_sim.steptime.batch import StepBatch
from continuum_sim.steptime.fitted import Fitted, save_fitted
from continuum_sim.validate.plugin.identity import TurnIdentity, identify
from continuum_sim.validate.plugin.internals import check_instance, is_tested
from continuum_sim.validate.plugin.journal import Journal, for_rank
from continuum_sim.validate.plugin.rebuild import LearntRebuild, make_rebuild
from continuum_sim.validate.plugin.settings import ENVIRONMENT, PluginSettings, read_settings


def settings(**section: Any) -> PluginSettings:
    return read_settings({"continuum": {"policy": "ttl", **section}}, {})


def test_importing_the_package_does_not_import_vllm() -> None:
    code = "import sys, continuum_sim.validate.plugin as p; print('vllm' in sys.modules, p.SCHEDULER_CLS)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["False", "continuum_sim.validate.plugin.ContinuumScheduler"]


class TestSettings:
    def test_reads_every_key(self, tmp_path: Path) -> None:
        found = settings(
            policy="ttl-static:ttl=3",
            decisions=str(tmp_path / "run.jsonl"),
            rebuild={"constant_s": 0.1, "linear_s": 2e-4, "quadratic_s": 0},
            forget_after_s=60,
        )
        assert found.make_policy().name == "ttl-static:ttl=3.0"
        assert found.counts == tmp_path / "run.counts.json"
        assert found.rebuild == RebuildTime(0.1, 2e-4, 0.0)
        assert (found.forget_after_s, found.counts_period_s) == (60.0, 5.0)

    def test_null_means_never_forget(self) -> None:
        assert settings(forget_after_s=None).forget_after_s == math.inf

    def test_environment_is_the_fallback_only(self) -> None:
        environ = {ENVIRONMENT: json.dumps({"policy": "lru"})}
        assert read_settings({}, environ).policy == "lru"
        assert read_settings({"continuum": {"policy": "ttl"}}, environ).policy == "ttl"

    @pytest.mark.parametrize(
        ("section", "message"),
        [
            ({"polcy": "ttl"}, "did you mean 'policy'"),
            ({"policy": "ttl", "decision": "x"}, "did you mean 'decisions'"),
            ({"policy": ""}, "policy is ''"),
            ({"policy": "ttl", "decisions": 3}, "decisions is 3, expected a path"),
            ({"policy": "ttl", "forget_after_s": 0}, "forget_after_s is 0.0, expected more than 0"),
            ({"policy": "ttl", "forget_after_s": True}, "forget_after_s is True, expected a number"),
            ({"policy": "ttl", "rebuild": {"linear_s": 1}}, "constant_s, linear_s, quadratic_s"),
            ({"policy": "ttl", "rebuild": {"constant_s": 0, "linear_s": "1", "quadratic_s": 0}}, "rebuild.linear_s"),
            (
                {"policy": "ttl", "step_time": "f", "rebuild": {"constant_s": 1, "linear_s": 1, "quadratic_s": 1}},
                "give one of them",
            ),
            ([], "expected a JSON object"),
        ],
    )
    def test_refuses(self, section: object, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            read_settings({"continuum": section}, {})

    def test_refuses_to_run_without_a_policy_and_says_how_to_name_one(self) -> None:
        with pytest.raises(ConfigError, match="--additional-config"):
            read_settings({}, {})

    @pytest.mark.parametrize(
        ("policy", "message"),
        [
            ("oracle-ttl", "looks ahead, so it runs in the simulator only"),
            ("tokencake", "moves contexts to host memory, which the plug-in cannot have vLLM do"),
            ("tttl", "did you mean 'ttl'"),
            ("ttl:colt_start=3", "did you mean 'cold_start'"),
        ],
    )
    def test_refuses_policies(self, policy: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            settings(policy=policy).make_policy()


def request(extra: object = None, session_id: str | None = None, resumable: bool = False) -> SimpleNamespace:
    params = SimpleNamespace(extra_args=extra)
    return SimpleNamespace(sampling_params=params, session_id=session_id, resumable=resumable)


class TestIdentity:
    def identify(self, made: SimpleNamespace) -> tuple[TurnIdentity | None, list[str]]:
        complaints: list[str] = []
        return identify(made, complaints.append), complaints

    @pytest.mark.parametrize("extra", [None, {}, {"tool": "ls"}, {"program_id": ""}, {"program_id": None}])
    def test_a_request_without_a_program_is_nobodys(self, extra: object) -> None:
        assert self.identify(request(extra)) == (None, [])

    def test_reads_all_fields(self) -> None:
        extra = {"program_id": 7, "tool": "ls", "last_turn": True, "previous_tool": "cat", "kept_tokens": 40}
        extra["parent"] = "6"
        assert self.identify(request(extra)) == (TurnIdentity("7", "ls", True, "cat", 40, "6"), [])

    def test_session_id_names_the_program(self) -> None:
        found, _ = self.identify(request({"program_id": "a", "tool": "ls"}, session_id="b"))
        assert found == TurnIdentity("b", "ls")

    def test_streaming_sessions_and_pooling_are_left_alone(self) -> None:
        assert self.identify(request({"program_id": "a"}, resumable=True))[0] is None
        assert identify(SimpleNamespace(sampling_params=None), pytest.fail) is None

    @pytest.mark.parametrize("value", [True, 1, 1.0, "true", "True", "1"])
    def test_last_turn_however_http_carries_it(self, value: object) -> None:
        found, complaints = self.identify(request({"program_id": "a", "last_turn": value}))
        assert found is not None
        assert found.last_turn
        assert not complaints

    @pytest.mark.parametrize(
        ("key", "value"), [("last_turn", "perhaps"), ("tool", ["ls"]), ("kept_tokens", -1), ("kept_tokens", "many")]
    )
    def test_a_bad_field_is_complained_of_and_ignored(self, key: str, value: object) -> None:
        found, complaints = self.identify(request({"program_id": "a", key: value}))
        assert found == TurnIdentity("a")
        assert len(complaints) == 1
        assert key in complaints[0]


class TestRebuild:
    STEP_TIME = Fitted(0.004, 1e-5, 1e-8, 3e-10)

    def test_given_coefficients_are_used_as_they_are(self) -> None:
        rebuild = {"constant_s": 1, "linear_s": 2, "quadratic_s": 3}
        assert make_rebuild(settings(rebuild=rebuild), 512, 4096)(10) == 1 + 2 * 10 + 3 * 100

    def test_a_calibration_gives_what_the_simulator_gets_from_it(self, tmp_path: Path) -> None:
        save_fitted(self.STEP_TIME, tmp_path / "fit.json")
        found = make_rebuild(settings(step_time=str(tmp_path / "fit.json")), 512, 4096)
        assert found == fit_rebuild_time(self.STEP_TIME, 512, 4096)

    @pytest.mark.parametrize("ahead", [0, 1])
    def test_learns_from_steps_synchronous_or_one_ahead(self, ahead: int) -> None:
        """Steps of known length teach R(C), whether each is scheduled before or after its predecessor ran."""
        clock_s = 0.0
        learnt = LearntRebuild(512, 4096, lambda: clock_s)
        assert learnt(1000) == 0.0
        steps = [(chunk, start) for chunk in (64, 200, 512) for start in (0, 700, 2000)] * 4
        requests = [
            {
                "a": SimpleNamespace(num_computed_tokens=start + chunk, num_prompt_tokens=4000),
                "b": SimpleNamespace(num_computed_tokens=901 + start, num_prompt_tokens=500),
            }
            for chunk, start in steps
        ]
        for number, (chunk, start) in enumerate(steps):
            if number == 0 or not ahead:
                learnt.step_scheduled(requests[number], {"a": chunk, "b": 1})
            if ahead and number + 1 < len(steps):
                learnt.step_scheduled(requests[number + 1], {"a": steps[number + 1][0], "b": 1})
            pairs = chunk * start + chunk * (chunk + 1) // 2
            clock_s += self.STEP_TIME.step_s(StepBatch(1, chunk, start, pairs, 1, 901 + start))
            learnt.step_ran()
        wanted = fit_rebuild_time(self.STEP_TIME, 512, 4096)
        for context in (100, 1500, 4000):
            assert learnt(context) == pytest.approx(wanted(context), rel=1e-3)


class TestJournal:
    def test_lines_are_on_disk_at_once_and_added_to_earlier_ones(self, tmp_path: Path) -> None:
        record = DecisionRecord(1.5, 3, "a", 0, "pin", {"ttl_s": 2.0})
        first = Journal(tmp_path / "d.jsonl", None, 5.0, pytest.fail)
        first.decided(record)
        assert read_decisions(tmp_path / "d.jsonl") == [record]
        Journal(tmp_path / "d.jsonl", None, 5.0, pytest.fail).decided(record)
        assert read_decisions(tmp_path / "d.jsonl") == [record, record]

    def test_counts_are_due_once_a_period_and_replaced_whole(self, tmp_path: Path) -> None:
        clock_s = 100.0
        journal = Journal(None, tmp_path / "c.json", 5.0, pytest.fail, lambda: clock_s)
        assert journal.counts_due()
        journal.write_counts({"n": 1})
        assert not journal.counts_due()
        clock_s += 5.0
        assert journal.counts_due()
        journal.write_counts({"n": 2})
        assert json.loads((tmp_path / "c.json").read_text()) == {"n": 2}
        assert [path.name for path in tmp_path.iterdir()] == ["c.json"]

    def test_a_failing_disk_is_complained_of_once_and_stops_nothing(self, tmp_path: Path) -> None:
        complaints: list[str] = []
        (tmp_path / "there").mkdir()
        journal = Journal(Path("/dev/full"), tmp_path / "there" / "c.json", 5.0, complaints.append)
        (tmp_path / "there").rmdir()
        for _ in range(2):
            journal.decided(DecisionRecord(0.0, 0, "a", 0, "arrive", {}))
            journal.write_counts({})
        assert len(complaints) == 2
        assert not journal.logs

    def test_refuses_a_place_that_does_not_exist(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"decision log .* cannot be opened"):
            Journal(tmp_path / "no" / "d.jsonl", None, 5.0, pytest.fail)
        with pytest.raises(ConfigError, match="does not exist; make it first"):
            Journal(None, tmp_path / "no" / "c.json", 5.0, pytest.fail)

    def test_every_data_parallel_engine_writes_its_own_file(self) -> None:
        path = Path("/x/run.counts.json")
        assert for_rank(path, 0) == path
        assert for_rank(path, 2) == Path("/x/run.dp2.counts.json")
        assert for_rank(None, 2) is None


def test_a_scheduler_built_differently_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"attribute kv_holding_waiting of the scheduler; .*not found") as caught:
        check_instance(SimpleNamespace(waiting=[], running=[]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("version", "tested"), [("0.32.0", True), ("0.33.1", True), ("0.34.0", False)])
def test_tested_versions(version: str, tested: bool) -> None:
    assert is_tested(version) is tested
