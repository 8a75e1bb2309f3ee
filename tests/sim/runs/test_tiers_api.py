"""Memory tiers through public entry points: settings, units, results, errors."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

import continuum_sim as cs
from continuum_sim.cli.app import app
from continuum_sim.errors import ConfigError
from continuum_sim.setup.resolve import resolve
from continuum_sim.setup.run_config import RunConfig

CROWD: dict[str, Any] = {"arrivals": "poisson:rate=0.5", "limit": 12, "max_turns": 12, "kv_blocks": 4000}


def tiers_of(**settings: Any) -> Any:
    return resolve(RunConfig(limit=3, **settings)).engine.tiers


def test_gigabytes_become_blocks() -> None:
    # Llama-3.1-8B: 131,072 bytes a token, so 2 MiB a block; GB are 10⁹ bytes.
    tiers = tiers_of(dram_gb=100, dram_gbps=20.0, ssd_gb=500, ssd_gbps=5.0)
    assert tiers.block_bytes == 2 * 2**20
    assert (tiers.dram_blocks, tiers.ssd_blocks) == (47683, 238418)
    assert tiers.dram_block_s == pytest.approx(2 * 2**20 / 20e9)
    assert tiers.ssd_block_s == pytest.approx(2 * 2**20 / 5e9)
    assert tiers_of() is None


def test_a_block_counts_all_gpus_of_a_replica() -> None:
    assert tiers_of(dram_gb=100, tensor_parallel_size=2).block_bytes == 2 * 2**20


def test_a_tier_shows_in_the_results() -> None:
    result = cs.run(policy="lru", dram_gb=40, **CROWD)
    summary = result.summary
    (dram,) = summary.tiers
    assert dram.name == "dram"
    assert 0 < dram.peak_used_share <= 1
    assert 0 < dram.link_busy_share < 1
    assert dram.read_bytes == summary.prefill.reloaded_tokens // 16 * 2 * 2**20 > 0
    assert summary.prefill.reloaded_tokens == result.turns["reloaded_tokens"].sum()
    assert summary.time_s.reload == pytest.approx(result.programs["reload_s"].mean())
    assert result.manifest["engine_config"]["tiers"]["dram_blocks"] == 19073
    parts = result.programs[["queue_s", "reload_s", "prefill_s", "decode_s", "preempted_s", "tool_s"]].sum(axis=1)
    assert parts.to_numpy() == pytest.approx(result.programs["jct_s"].to_numpy())


def test_without_a_tier_the_summary_says_nothing_of_tiers() -> None:
    summary = json.loads(cs.run(policy="lru", **CROWD).summary.to_json())
    assert "tiers" not in summary
    assert "reload" not in summary["time_s"]
    assert "reloaded_tokens" not in summary["prefill"]


def test_both_ways_to_advance_time_agree() -> None:
    settings = {**CROWD, "limit": 30, "dram_gb": 9, "ssd_gb": 40, "ssd_gbps": 2.0, "reload": "always"}
    fast, stepwise = (cs.run(policy="lru", engine=engine, **settings) for engine in ("fast", "stepwise"))  # type: ignore[arg-type]
    assert fast.summary.steps == stepwise.summary.steps
    moved = [[(t.written_bytes, t.read_bytes) for t in run.summary.tiers] for run in (fast, stepwise)]
    assert moved[0] == moved[1]
    assert fast.summary.jct_s.mean == pytest.approx(stepwise.summary.jct_s.mean, rel=1e-9)
    assert fast.summary.tiers[1].read_bytes > 0


def test_every_replica_has_tiers_of_its_own() -> None:
    settings: dict[str, Any] = {**CROWD, "arrivals": "poisson:rate=1", "limit": 24, "dram_gb": 40, "replicas": 2}
    fast, stepwise = (cs.run(policy="lru", engine=engine, **settings) for engine in ("fast", "stepwise"))  # type: ignore[arg-type]
    (dram,) = fast.summary.tiers
    assert dram.blocks == 2 * 19073
    assert dram.read_bytes == fast.summary.prefill.reloaded_tokens // 16 * 2 * 2**20 > 0
    assert dram.read_bytes == stepwise.summary.tiers[0].read_bytes
    assert 0 < dram.link_busy_share < 1
    assert fast.summary.jct_s.mean == pytest.approx(stepwise.summary.jct_s.mean, rel=1e-9)


def test_replicas_with_and_without_a_tier_go_together() -> None:
    settings: dict[str, Any] = {**CROWD, "arrivals": "poisson:rate=1", "limit": 24, "router": "round-robin"}
    settings["replicas"] = "a100-80:1:dram_gb=40,a100-80:1"
    result, stepwise = (cs.run(policy="lru", engine=engine, **settings) for engine in ("fast", "stepwise"))  # type: ignore[arg-type]
    with_tier, without = result.summary.replicas or []
    (dram,) = result.summary.tiers
    assert dram == with_tier.tiers[0]
    assert dram.blocks == 19073
    assert without.tiers == []
    assert with_tier.reloaded_tokens == dram.read_bytes // 2**17 > 0 == without.reloaded_tokens
    assert result.turns.groupby("replica")["reloaded_tokens"].sum().tolist() == [with_tier.reloaded_tokens, 0]
    assert result.manifest["replicas"] == "A100-80:dram_gb=40,A100-80"
    assert result.manifest["replica_settings"]["A100-80"]["engine_config"]["tiers"] is None
    assert stepwise.summary.tiers[0].read_bytes == dram.read_bytes
    assert stepwise.summary.jct_s.mean == pytest.approx(result.summary.jct_s.mean, rel=1e-9)


def test_tiers_of_some_replicas_differ_from_the_flags() -> None:
    summary = cs.run(policy="lru", replicas="a100-80,a100-80:1:dram_gb=20,a100-80:1:dram_gb=0", dram_gb=40, limit=3)
    assert [[tier.blocks for tier in part.tiers] for part in summary.summary.replicas or []] == [[19073], [9536], []]
    assert summary.summary.tiers[0].blocks == 19073 + 9536


def test_a_policy_that_moves_contexts_needs_one_replica_with_a_tier() -> None:
    replicas = "a100-80:1:dram_gb=40,a100-80:1"
    assert cs.run(policy="tokencake", replicas=replicas, limit=3).summary.programs == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dram_gb": -1}, "dram_gb is -1, expected 0 or more GB"),
        ({"dram_gb": float("nan")}, "dram_gb is nan"),
        ({"dram_gb": 1, "dram_gbps": 0}, "dram_gbps is 0, expected more than 0 GB/s"),
        ({"ssd_gb": 10}, "give --dram-gb as well"),
        ({"kv_offloading_size": 1, "dram_gb": 1}, "host memory is vLLM's"),
        (
            {"kv_offloading_size": 1e-3},
            "--kv-offloading-size 0.001 holds no KV block: one of Llama-3.1-8B has 2,097,152",
        ),
        (
            {"kv_offloading_size": 1, "policy": "tokencake"},
            "moves contexts to host memory: give it some with --dram-gb",
        ),
        ({"kv_offloading_size": 0.01, "kv_offloading_backend": "lmcache"}, "holds no chunk of 16 KV blocks: one of"),
        (
            {"kv_offloading_size": 1, "kv_offloading_backend": "lmcache", "block_size": 48},
            "a --block-size that divides",
        ),
        ({"dram_gb": 10, "reload": "never"}, "reload is 'never', expected one of faster, always"),
        ({"dram_gb": 1e-4}, "--dram-gb 0.0001 holds no KV block: one of Llama-3.1-8B has 2,097,152 bytes"),
        ({"dram_gb": 1}, "KV blocks, but the dram tier holds 476; give --dram-gb"),
    ],
)
def test_refuses_settings_that_cannot_work(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        tiers_of(**settings)


def test_native_offload_is_sized_in_gib_and_lmcache_has_chunks_of_256_tokens() -> None:
    native = tiers_of(kv_offloading_size=4, offload_prompt_only=False, eviction_policy="arc")
    assert (native.native, native.dram_blocks, native.block_bytes) == (True, 2048, 2**21)
    assert (native.eviction_policy, native.offload_prompt_only, native.blocks_per_chunk) == ("arc", False, 1)
    lmcache = tiers_of(kv_offloading_size=4.01, kv_offloading_backend="lmcache", block_size=32)
    assert (lmcache.dram_blocks, lmcache.blocks_per_chunk, lmcache.offload_prompt_only) == (1024, 8, True)


def test_the_flags_reach_the_run() -> None:
    flags = "--arrivals poisson:rate=0.5 --limit 12 --max-turns 12 --kv-blocks 4000 --dram-gb 40 --reload always"
    shown = CliRunner().invoke(app, ["run", "--policy", "lru", *flags.split()])
    assert shown.exit_code == 0
    assert "DRAM 19,073 blocks at 31.5 GB/s, reload always" in shown.output
    mixed = ["--replicas", "a100-80:2:dram_gb=60,dram_gbps=63,a100-80", "--policy", "lru", *flags.split()]
    shown = CliRunner().invoke(app, ["run", *mixed])
    assert "each with DRAM 28,610 blocks at 63 GB/s, reload always" in shown.output
    assert "\nwith DRAM 19,073 blocks at 31.5 GB/s, reload always" in shown.output
    assert "reload " in shown.output
    compared = CliRunner().invoke(app, ["compare", "--policies", "lru,ttl", "--seeds", "0", *flags.split(), "--json"])
    assert [run["tiers"][0]["name"] for run in json.loads(compared.stdout)["runs"]] == ["dram", "dram"]
