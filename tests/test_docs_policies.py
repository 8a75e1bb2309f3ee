"""docs/policies.md: the tables leave nothing out, and what needs no name has none."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import continuum_sim as cs
from continuum_sim.policies import PRESETS, Admission, Decision, Fate, Order, PinFor, Policy, Retention
from continuum_sim.policies.planes import Gate, Router, Routing
from continuum_sim.policies.views import Moment, ProgramView

PAGE = Path(__file__).parents[1] / "docs" / "policies.md"


def test_every_preset_is_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `([a-z-]+)(?::[^`]*)?` \| (?:arrival|program|pinned)", page, flags=re.MULTILINE))
    (elsewhere,) = re.findall(r"^(`ttl-expected`.*?) are on\n", page, flags=re.MULTILINE | re.DOTALL)
    assert rows | set(re.findall(r"`([a-z-]+)`", elsewhere)) == set(PRESETS)


def test_every_method_of_the_contract_is_on_the_page() -> None:
    contract = PAGE.read_text(encoding="utf-8").partition("## The contract")[2].partition("## Write")[0]
    for plane in (Order, Retention, Gate, Admission, Router, Routing):
        for name, value in vars(plane).items():
            asked = callable(value) or isinstance(value, bool) or name == "period_s"
            if asked and not name.startswith("_") and name != "oracle":
                assert f"`{name}" in contract, f"{plane.__name__}.{name} is not in the table"


def test_a_policy_without_a_name_for_it_runs() -> None:
    @dataclass(frozen=True)
    class Half(Retention):
        def at_turn_end(self, program: ProgramView, moment: Moment) -> Decision:
            return PinFor(1.0) if program.turns_done % 2 else Fate.EVICT

    result = cs.run(trace="swebench", policy=Policy("half", retention=Half()), arrivals="poisson:rate=0.1", limit=3)
    assert result.summary.policy == "half"
    assert result.summary.pins.made > 0
