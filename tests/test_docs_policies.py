"""The example of docs/policies.md runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from continuum_sim.policies import PRESETS
from continuum_sim.policies.registry import RETENTIONS

PAGE = Path(__file__).parents[1] / "docs" / "policies.md"


def test_the_example_policy_runs_and_pins(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict[str, object] = {}
    try:
        exec(compile(code, str(PAGE), "exec"), names)
        result = names["result"]
        assert result.summary.policy.startswith("pin-long")  # type: ignore[attr-defined]
        assert result.summary.pins.made > 0  # type: ignore[attr-defined]
        assert str(result.summary.jct_s.mean) in capsys.readouterr().out  # type: ignore[attr-defined]
    finally:
        PRESETS.pop("pin-long", None)
        RETENTIONS.pop("pin-long", None)
