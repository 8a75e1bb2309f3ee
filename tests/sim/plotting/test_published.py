"""Published numbers are there, name their source, and name policies and quantities that exist."""

from __future__ import annotations

import pytest

from continuum_sim import ConfigError, parse_policy
from continuum_sim.published import PublishedFigure, find_published, published


@pytest.mark.parametrize("figure", published(), ids=lambda figure: figure.name)
def test_says_where_its_numbers_come_from(figure: PublishedFigure) -> None:
    assert "2511.02230" in figure.source or "vllm-continuum" in figure.source
    assert figure.setting
    assert figure.points
    assert all(point.value > 0 for point in figure.points)
    assert len({(p.series, p.quantity, p.x) for p in figure.points}) == len(figure.points)
    assert bool(figure.x_name) == any(point.x is not None for point in figure.points)


@pytest.mark.parametrize("figure", published(), ids=lambda figure: figure.name)
def test_its_policies_exist(figure: PublishedFigure) -> None:
    for point in figure.points:
        if point.policy is not None:
            assert parse_policy(point.policy).name


def test_finds_by_name_and_suggests_the_nearest() -> None:
    swe = find_published("FIG16-swe")
    by_policy = {point.policy: point.value for point in swe.points}
    assert by_policy["lru"] / by_policy["ttl"] == pytest.approx(1950 / 1170)
    with pytest.raises(ConfigError, match="did you mean 'fig16-swe'"):
        find_published("fig16-swee")
