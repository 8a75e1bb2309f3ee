"""The `name:key=value` notation."""

from __future__ import annotations

from pathlib import Path

import pytest

from continuum_sim.errors import ConfigError
from continuum_sim.policies import PolicyError
from continuum_sim.setup.notation import parse_arrivals, parse_policy, split_list


@pytest.mark.parametrize(
    ("text", "specs"),
    [
        ("fcfs, lru,ttl", ["fcfs", "lru", "ttl"]),
        ("ttl:pressure=head,cold_start=9,lru", ["ttl:pressure=head,cold_start=9", "lru"]),
        ("lru,order=program-fifo,retention=ttl-static:ttl=4", ["lru", "order=program-fifo,retention=ttl-static:ttl=4"]),
        ("order=program-fifo,order=arrival", ["order=program-fifo", "order=arrival"]),
        (
            "retention=ttl-static:ttl=4,pressure=head,order=program-fifo,retention=release",
            ["retention=ttl-static:ttl=4,pressure=head,order=program-fifo", "retention=release"],
        ),
    ],
)
def test_a_list_of_policies_splits_where_a_reader_would(text: str, specs: list[str]) -> None:
    assert split_list(text) == specs


def test_a_composition_is_the_preset_it_spells_out() -> None:
    spelled = parse_policy("order=pinned-first,retention=ttl-static:ttl=3,pressure=head")
    preset = parse_policy("ttl-static:ttl=3,pressure=head")
    assert (spelled.order, spelled.retention, spelled.admission) == (preset.order, preset.retention, preset.admission)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("tll", "did you mean 'ttl'"),
        ("ttl:presure=head", "did you mean 'pressure'"),
        ("ttl:pressure=never", "expected one of"),
        ("ttl-static:ttl=long", "expected a number"),
        ("ttl-static:ttl=-1", "0 or more"),
        ("order=fifo", "program-fifo"),
        ("ttl:pressure", "key=value"),
    ],
)
def test_a_wrong_policy_says_what_would_be_right(text: str, hint: str) -> None:
    with pytest.raises((PolicyError, ConfigError), match=hint):
        parse_policy(text)


def test_arrivals_need_their_parameter() -> None:
    with pytest.raises(ConfigError, match="rate"):
        parse_arrivals("poisson")


THEIRS = '''
from dataclasses import dataclass
from continuum_sim.policies import PinFor, Policy, Preset, Retention

@dataclass(frozen=True)
class Keep(Retention):
    """Pins for a while."""
    seconds: float = 1.0

    def at_turn_end(self, program, moment):
        return PinFor(self.seconds)

KEEP = Preset(name="keep", rule="Pins.", source="a test", retention=Keep)
READY = Policy("ready", retention=Keep(3.0))
NEITHER = 1
'''


def test_a_policy_may_be_what_a_module_of_one_s_own_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_policies.py").write_text(THEIRS)
    monkeypatch.syspath_prepend(tmp_path)
    kept = {
        "their_policies:Keep": 1.0,
        "their_policies:Keep:seconds=2": 2.0,
        "their_policies:KEEP:seconds=4": 4.0,
        "their_policies:READY": 3.0,
    }
    for text, seconds in kept.items():
        assert parse_policy(text).retention.seconds == seconds  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="policy their_policies:NEITHER is not a Preset"):
        parse_policy("their_policies:NEITHER")
    with pytest.raises(ConfigError, match="policy no_such_module:Keep cannot be imported: No module named"):
        parse_policy("no_such_module:Keep")
