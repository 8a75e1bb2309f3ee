"""What CI leans on: lower bounds that are the ones tested, and a choice by date that leaves nothing out for long."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DAY = date(2026, 11, 28)

pytest_plugins = ["pytester"]


@pytest.fixture
def lowest(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run .ci/lowest on a pyproject.toml, ours unless it is changed."""

    def run(*arguments: str, old: str = "", new: str = "") -> subprocess.CompletedProcess[str]:
        script, project = tmp_path / ".ci" / "lowest", (ROOT / "pyproject.toml").read_text("utf-8")
        assert old in project
        script.parent.mkdir(exist_ok=True)
        script.write_text((ROOT / ".ci" / "lowest").read_text("utf-8"), "utf-8")
        (tmp_path / "pyproject.toml").write_text(project.replace(old, new), "utf-8")
        return subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, check=False)

    return run


@pytest.fixture(autouse=True)
def of_no_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tests run by these tests be chosen by none of CI's own settings."""
    for name in ("CONTINUUM_CI_DATE", "CONTINUUM_CI_SHARE", "CONTINUUM_EXAMPLES"):
        monkeypatch.delenv(name, raising=False)


def test_the_lowest_versions_are_pyprojects(lowest: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    pins = lowest().stdout.split()
    assert {"scipy==1.15", "joblib==1.5", "ray==2.45", "pytest==8.2"} <= set(pins)
    assert not [pin for pin in pins if pin.startswith(("vllm", "continuum"))]
    assert "scipy==1.16" in lowest(old="scipy>=1.15", new="scipy>=1.16").stdout.split()


def test_a_dependency_needs_one_lower_bound(lowest: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    assert lowest(old="joblib>=1.5", new="joblib").stderr == "pyproject.toml: joblib has no lower bound\n"
    two = lowest(old='"selenium>=4.20"', new='"selenium>=4.20", "scipy>=1.14"')
    assert two.stderr == "pyproject.toml: scipy has two lower bounds: 1.15 and 1.14\n"


def test_what_is_installed_is_compared(lowest: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    assert "scipy " in lowest("--check", old="scipy>=1.15", new="scipy>=0.1").stderr


def test_each_dependency_has_its_day_alone(lowest: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    found = {lowest("--of-the-day", str(DAY + timedelta(days))).stdout for days in range(12)}
    assert len(found) == 12
    assert "scipy==1.15\n" in found
    assert found < {f"{pin}\n" for pin in lowest().stdout.split()}


def test_every_test_that_repeats_has_its_day(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makeconftest((ROOT / "tests" / "conftest.py").read_text("utf-8"))
    pytester.makeini("[pytest]\nmarkers =\n    repeats(share=4): of them a share")
    pytester.makepyfile(
        "import pytest\n"
        "@pytest.mark.repeats(share=3)\n@pytest.mark.parametrize('case', range(30))\ndef test_one(case): pass\n"
        "def test_two(): pass\n"
    )

    def ran() -> set[str]:
        lines = pytester.runpytest_inprocess("-v", "-p", "no:cacheprovider").outlines
        return {line.split()[0] for line in lines if "PASSED" in line}

    everything = ran()
    assert len(everything) == 31
    days = []
    for offset in range(3):
        monkeypatch.setenv("CONTINUUM_CI_DATE", str(DAY + timedelta(offset)))
        days.append(ran())
        assert "sampled by date: CONTINUUM_CI_DATE=" in "\n".join(pytester.runpytest_inprocess().outlines)
    assert set.union(*days) == everything
    assert set.intersection(*days) == {"test_every_test_that_repeats_has_its_day.py::test_two"}
    assert max(map(len, days)) < 20


def test_properties_can_be_tried_on_more_examples(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makeconftest((ROOT / "tests" / "conftest.py").read_text("utf-8"))
    pytester.makepyfile(
        "from hypothesis import given, settings, stateful, strategies as st\nseen, begun = [], []\n"
        "@settings(max_examples=7)\n@given(st.integers())\ndef test_one(n): seen.append(n)\n"
        "@given(st.integers())\ndef test_two(n): seen.append(n)\n"
        "class Machine(stateful.RuleBasedStateMachine):\n"
        "    @stateful.initialize(n=st.integers())\n    def begin(self, n): begun.append(n)\n"
        "    @stateful.rule(n=st.integers())\n    def step(self, n): pass\n"
        "Machine.TestCase.settings = settings(max_examples=3, stateful_step_count=2)\nTestMachine = Machine.TestCase\n"
        "def test_count(): print('examples:', len(seen), len(begun))\n"
    )

    def examples() -> list[int]:
        out = "\n".join(pytester.runpytest_subprocess("-s", "-p", "no:cacheprovider").outlines)
        (counts,) = re.findall(r"examples: (\d+) (\d+)", out)
        return [int(count) for count in counts]

    assert examples() == [107, 3]
    monkeypatch.setenv("CONTINUUM_EXAMPLES", "10")
    tried, machines = examples()
    assert tried == 1070
    assert 30 <= machines < 60, "hypothesis may begin some that it does not count"


def test_the_readmes_commands_are_found() -> None:
    def found(function: str) -> str:
        script = f"cd {ROOT}; work=/tmp; . .ci/environments.sh; {function}"
        return subprocess.run(["bash", "-ec", script], capture_output=True, text=True, check=True).stdout.strip()

    assert found("readme_installation").endswith("pip install -e '.[dev]'")
    assert found("readme_tests").endswith("pytest -n auto -m 'not slow'")
    assert "pip install ." in found("readme_command 'Install and run'")


def test_a_vllm_release_that_cannot_be_fetched_is_said_so(tmp_path: Path) -> None:
    offline = tmp_path / "python"
    offline.write_text("#!/bin/sh\necho 'no such version' >&2; exit 1\n", "utf-8")
    offline.chmod(0o755)
    script = [ROOT / ".ci" / "vllm-release", offline, "9.9.9", tmp_path / "into"]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("no such version\nvLLM 9.9.9 could not be downloaded")
    assert not (tmp_path / "into").exists()


def test_functions_that_a_release_changes_are_named(tmp_path: Path) -> None:
    before = "class Scheduler:\n def same(self): return 1\n def old(self): pass\n def plan(self): return 1\n"
    after = "class Scheduler:\n def same(self):\n  'Said.'\n  return 1\n def plan(self): return 2\ndef more(): pass\n"
    for name, text in (("base", before), ("new", after)):
        file = tmp_path / name / "sched" / "scheduler.py"
        file.parent.mkdir(parents=True)
        file.write_text(text, "utf-8")
    changes = runpy.run_path(str(ROOT / ".ci" / "parity-release"))["changes"]
    assert changes(tmp_path / "base", tmp_path / "new") == [
        "sched/scheduler.py: changed Scheduler.plan; new more; gone Scheduler.old"
    ]


@pytest.mark.parametrize(("ends", "said"), [("true", "passed"), ("false", "one: break (exit code 1)")])
def test_a_step_that_fails_fails_the_run_and_is_named(tmp_path: Path, ends: str, said: str) -> None:
    script = f"""
        set -euo pipefail; set -m; work={tmp_path}/work; mkdir "$work"; declare -A lanes=(); lane=main
        . {ROOT}/.ci/steps.sh; trap clean_up EXIT
        broken() {{ {ends}; echo "after"; }}
        one() {{ step "break" broken; step "more" echo later; }}
        two() {{ step "other" echo other; }}
        lane one one; lane two two; finish one two; stop_if_failed; times; echo passed
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == (0 if ends == "true" else 1), done.stdout + done.stderr
    assert said in done.stdout
    assert ("later" in done.stdout) == ("after" in done.stdout) == (ends == "true")
    assert "=== two: other" in done.stdout
    assert " s  two: other" in done.stdout
    assert not (tmp_path / "work").exists()
