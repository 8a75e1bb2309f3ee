"""Clusters through public entry points: the command line, `cs.run`, `cs.compare`, and the files they write."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import continuum_sim as cs
from continuum_sim.cli import main
from continuum_sim.hardware import find_gpu
from continuum_sim.policies.rules.round_robin import RoundRobin
from continuum_sim.setup.notation import parse_routing, routing_spec
from continuum_sim.setup.replicas import ReplicaSpec, parse_replicas
from support.cli import refused
from support.steptimes import constant

SMALL = {"trace": "swebench", "limit": 12, "max_turns": 6, "arrivals": "poisson:rate=2", "kv_blocks": 3000}


def test_replicas_are_a_number_or_gpus() -> None:
    a100, h100 = find_gpu("a100-80"), find_gpu("h100")
    one, other = ReplicaSpec(a100), ReplicaSpec(h100)
    assert parse_replicas(3, a100) == parse_replicas("3", a100) == (one,) * 3
    assert parse_replicas("h100:2,a100-80:1", a100) == (other, other, one)
    assert parse_replicas("h100, a100-80", a100) == parse_replicas(["h100", a100], h100) == (other, one)


def test_replicas_may_have_tiers_of_their_own() -> None:
    a100, h100 = find_gpu("a100-80"), find_gpu("h100")
    large = ReplicaSpec(h100, {"dram_gb": 200.0, "ssd_gb": 500.0})
    assert parse_replicas("h100:2:dram_gb=200,ssd-gb=500,a100-80:1", a100) == (large, large, ReplicaSpec(a100))
    assert parse_replicas(["h100:dram_gb=200,ssd_gb=500", "a100-80"], a100) == (large, ReplicaSpec(a100))
    assert large.name == "H100:dram_gb=200,ssd_gb=500"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--replicas", "0"], "replicas is '0', expected from 1 to 4096"),
        (["--replicas", "two"], "unknown GPU 'two'"),
        (["--replicas", "2.5"], "'2.5' is not a whole number"),
        (["--replicas", "h100:x"], "'x' is not a whole number"),
        (["--replicas", "h100:"], "expected a number or GPU:NUMBER"),
        (["--replicas", "h100:2:ram_gb=8"], "'ram_gb=8' is unexpected, expected GPU:NUMBER and then any of dram_gb=…"),
        (["--replicas", "h100:2:dram_gb=much"], "dram_gb is 'much', expected 0 or more GB"),
        (["--replicas", "h100:2:dram_gb=8,dram_gbps=0"], "dram_gbps is '0', expected more than 0 GB/s"),
        (["--replicas", "dram_gb=8,h100:2"], "unknown GPU 'dram_gb=8'"),
        (["--replicas", "h100:1:ssd_gb=8,a100-80"], "replica H100:ssd_gb=8: the SSD stores what host memory evicts"),
        (["--replicas", "h100:1,a100-80:1:dram_gb=1"], "holds 476; give --dram-gb"),
        (["--replicas", "h100:1:dram_gb=1e-5,l4"], "replica H100:dram_gb=1e-05: --dram-gb 1e-05 holds no KV block"),
        (["--replicas", "2", "--policy", "tokencake"], "moves contexts to host memory: give it some with --dram-gb"),
        (["--replicas", "h10:2"], "unknown GPU 'h10', did you mean 'H100'"),
        (["--router", "round-robin"], "a router needs replicas to choose from"),
        (["--replicas", "2", "--router", "round-robbin"], "unknown router 'round-robbin', did you mean 'round-robin'"),
        (["--replicas", "2", "--router", "no_such_module:Router"], "routing=no_such_module:Router cannot be imported"),
        (["--replicas", "2", "--router", "json:JSONDecoder"], "is not a rule of this plane"),
        (
            ["--replicas", "h100:1,l4:1", "--step-time", "fitted:x.json"],
            "fitted:x.json gives the step times of one kind",
        ),
        (["--replicas", "2", "--kv-blocks", "300"], "the engine has 299 usable"),
    ],
)
def test_what_a_cluster_refuses(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refused(capsys, "run", "--limit", "5", *arguments)


def test_step_times_of_one_gpu_are_refused_for_several() -> None:
    with pytest.raises(cs.ConfigError, match="Fitted gives the step times of one kind of GPU"):
        cs.run(**SMALL, replicas="h100:1,a100-80:1", step_time=constant())


def test_summary_tables_and_manifest_tell_the_replicas_apart(tmp_path: Path) -> None:
    result = cs.run(**SMALL, policy="ttl", replicas="h100:1,a100-80:2", router="round-robin", out=tmp_path / "run")
    summary = result.summary
    assert summary.router == "round-robin"
    assert [part.gpu for part in summary.replicas or []] == ["H100", "A100-80", "A100-80"]
    turns = result.turns
    assert sorted(turns["replica"].unique()) == [0, 1, 2]
    for part in summary.replicas or []:
        own = turns[turns["replica"] == part.replica]
        assert part.turns == len(own) > 0
        assert part.prompt_tokens == own["prompt_tokens"].sum()
        assert part.cached_tokens == own["cached_tokens"].sum()
        assert part.preemptions == own["preemptions"].sum()
        stretches = result.timeline[result.timeline["replica"] == part.replica]
        busy = stretches[stretches["steps"] > 0]
        assert part.busy_s == pytest.approx((busy["end_s"] - busy["start_s"]).sum())
    ordered = turns.sort_values(["program", "turn"])
    changed = ordered.groupby("program")["replica"].diff().fillna(0) != 0
    assert summary.moved_turns == changed.sum() == sum(part.moved_in for part in summary.replicas or [])
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["router"] == "round-robin"
    assert manifest["replicas"] == "H100,A100-80,A100-80"
    assert manifest["replica_settings"]["H100"]["engine_config"]["max_num_batched_tokens"] == 8192
    assert manifest["replica_settings"]["A100-80"]["engine_config"]["max_num_batched_tokens"] == 2048
    assert cs.load_run(tmp_path / "run").summary.replicas == summary.replicas


def test_one_replica_is_as_if_there_were_no_clusters(tmp_path: Path) -> None:
    cs.run(**SMALL, out=tmp_path / "plain", decisions=True)
    cs.run(**SMALL, replicas=1, out=tmp_path / "one", decisions=True)
    for name in ("programs.parquet", "turns.parquet", "timeline.parquet", "decisions.jsonl"):
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    summary = json.loads((tmp_path / "one" / "summary.json").read_text())
    assert not {"replicas", "router", "moved_turns"} & summary.keys()
    assert "replica" not in cs.load_run(tmp_path / "one").turns.columns
    assert "replica" not in (tmp_path / "one" / "decisions.jsonl").read_text()


@pytest.mark.parametrize("text", ["round-robin", "session-affinity:queue=none", "prefix-aware:index=events,match=0.5"])
def test_a_router_is_named_as_it_is_chosen(text: str) -> None:
    assert routing_spec(parse_routing(text)) == text
    assert parse_routing(routing_spec(parse_routing(text))) == parse_routing(text)


def test_decisions_say_where(tmp_path: Path) -> None:
    kept = cs.run(**SMALL, replicas=2, router=RoundRobin(), decisions=True)
    written = cs.run(**SMALL, replicas=2, router=RoundRobin(), decisions=True, out=tmp_path / "run")
    assert set(kept.decisions["replica"]) == {0, 1}
    assert kept.decisions.equals(written.decisions)
    moves = kept.decisions[kept.decisions["event"] == "move"]
    assert len(moves) == kept.summary.moved_turns
    assert all(row.detail["to"] != row.replica for row in moves.itertuples())


def test_compare_shows_how_turns_found_their_replicas(capsys: pytest.CaptureFixture[str]) -> None:
    policies = ["lru", "order=arrival,routing=round-robin"]
    result = cs.compare(policies, [0], **SMALL, replicas=2)
    home, dealt = result.rows
    assert (home.router, home.moved_turns) == ("session-affinity", 0)
    assert dealt.router == "round-robin"
    assert dealt.moved_turns
    assert "busiest_ratio" in result.table
    main_arguments = [
        "compare",
        "--policies",
        ",".join(policies),
        "--seeds",
        "0",
        "--limit",
        "4",
        "--max-turns",
        "4",
        "--replicas",
        "2",
    ]
    with pytest.raises(SystemExit) as stop:
        main(main_arguments)
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "on 2 replicas of A100-80" in text
    assert "round-robin" in text


def test_a_router_need_not_be_registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_routers.py").write_text(
        "from dataclasses import dataclass\n"
        "from continuum_sim.policies import Router, Routing\n"
        "@dataclass(frozen=True)\n"
        "class Only(Routing, Router):\n"
        "    number: int = 0\n"
        "    def start(self): return self\n"
        "    def route(self, turn, replicas, now_s): return self.number\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    result = cs.run(**SMALL, replicas=2, router="my_routers:Only:number=1")
    assert [part.turns for part in result.summary.replicas or []] == [0, result.summary.turns]
    assert any("no turn was sent to replica 0" in note for note in result.summary.notes)
    spelled = cs.run(**SMALL, replicas=2, policy="order=arrival,routing=my_routers:Only,number=1")
    assert set(spelled.turns["replica"]) == {1}


def test_lost_pins_are_noted() -> None:
    result = cs.run(**SMALL, replicas=3, router="round-robin", policy="pin-forever")
    assert any(
        "% of the pins of pin-forever: it sent their programs to other replicas" in note
        for note in result.summary.notes
    )
