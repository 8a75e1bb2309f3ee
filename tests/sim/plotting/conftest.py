"""Small results of the real simulator, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

import continuum_sim as cs
from support.small_results import POLICIES, RATES, SEEDS, SMALL


@pytest.fixture(scope="session")
def comparisons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that holds one comparison directory per rate."""
    root = tmp_path_factory.mktemp("results")
    for rate in RATES:
        cs.compare(POLICIES, SEEDS, arrivals=f"poisson:rate={rate}", out=root / f"rate-{rate}", **SMALL)
    return root


@pytest.fixture(scope="session")
def one_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of one run."""
    out = tmp_path_factory.mktemp("one") / "run"
    cs.run(policy="ttl-static:ttl=1.0", arrivals="poisson:rate=2", out=out, **SMALL)
    return out
