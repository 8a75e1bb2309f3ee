"""GPU-hours and dollars per program."""

from __future__ import annotations

from datetime import date

import pytest

import continuum_sim as cs
from continuum_sim.errors import ConfigError
from continuum_sim.hardware import gpus
from continuum_sim.hardware.prices import listed_prices, parse_prices
from support.cli import printed, refused

SHORT = {"policy": "lru", "limit": 4, "max_turns": 3}


def test_a_program_costs_its_share_of_the_gpus_time() -> None:
    summary = cs.run(**SHORT, tensor_parallel_size=2, replicas=3, price=2.5).summary
    cost = summary.cost
    assert cost.gpus == 6
    assert cost.gpu_hours_per_program == pytest.approx(6 * summary.sim_s / 3600 / 4)
    assert cost.usd_per_program == pytest.approx(2.5 * cost.gpu_hours_per_program)
    assert (cost.usd_per_gpu_hour, cost.prices) == (2.5, "as given")


def test_a_cluster_pays_each_gpu_its_own_price() -> None:
    summary = cs.run(**SHORT, replicas="h100:1,a100-80:3", price="h100=4,a100=1").summary
    assert summary.cost.usd_per_gpu_hour == pytest.approx((4 + 3 * 1) / 4)
    assert summary.cost.usd_per_program == pytest.approx(7 * summary.sim_s / 3600 / 4)


def test_without_a_price_the_dated_list_has_one() -> None:
    listed = listed_prices()["H100"]
    cost = cs.run(**SHORT, gpu="h100").summary.cost
    assert cost.usd_per_gpu_hour == listed.usd_per_hour
    assert cost.prices == f"{listed.seller}, {listed.read}"
    assert cs.run(**SHORT, gpu="h100", price={"A100-80": 1}).summary.cost == cost  # another GPU's price


def test_a_gpu_that_nobody_prices_costs_hours_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert "H20" not in listed_prices()
    cost = cs.run(**SHORT, gpu="h20").summary.cost
    assert cost.gpu_hours_per_program > 0
    assert cost.usd_per_program is None
    assert "no price of this GPU is listed: give one with --price" in printed(capsys, "run", *_flags("h20"))
    assert "$/program" not in printed(capsys, "compare", "--policies", "lru,ttl", *_flags("h20"))


def test_a_comparison_says_the_mean_of_its_runs(capsys: pytest.CaptureFixture[str]) -> None:
    found = cs.compare(["lru", "ttl"], [0, 1], limit=4, max_turns=3, price=3)
    costs = [run.summary.cost.usd_per_program for run in found.runs if run.summary.policy == "ttl"]
    assert found.rows[1].usd_per_program == pytest.approx(sum(costs) / 2)
    assert "$/program" in printed(capsys, "compare", "--policies", "lru,ttl", *_flags("a100"))


def test_every_listed_price_has_a_gpu_a_seller_a_source_and_a_day() -> None:
    known = {gpu.name for gpu in gpus()}
    for name, price in listed_prices().items():
        assert name in known
        assert 0.1 < price.usd_per_hour < 20
        assert price.seller
        assert "." in price.source
        date.fromisoformat(price.read)


@pytest.mark.parametrize(
    "value", ["x", "-1", "nan", "inf", "h100=", "h100=1,2", "h100=1e9", True, {"h100": "x"}, 10**400]
)
def test_what_is_no_price_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="expected dollars per GPU-hour"):
        parse_prices(value)  # type: ignore[arg-type]


def test_a_price_is_of_one_gpu_of_the_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    assert "appears twice" in refused(capsys, "run", *_flags("a100"), "--price", "a100=1,A100-80=2")
    assert "unknown GPU 'tpu-v6e'" in refused(capsys, "run", *_flags("a100"), "--price", "tpu-v6e=2")


def _flags(gpu: str) -> list[str]:
    return ["--limit", "4", "--max-turns", "3", "--gpu", gpu]
