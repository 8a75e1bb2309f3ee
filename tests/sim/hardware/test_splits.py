from __future__ import annotations

import pytest

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.parallel import ONE_GPU, Parallel
from continuum_sim.hardware.splits import gpus_text, parse_split, split_of, split_text

SPLITS = {
    "": ONE_GPU,
    "tp=8": Parallel(8),
    "tp=2,pp=4": Parallel(2, 4),
    "dp=8,ep": Parallel(data_parallel_size=8, enable_expert_parallel=True),
    "tp=2,pp=2,dp=4,nodes=2,ep": Parallel(2, 2, 4, True, nodes=2),
}


@pytest.mark.parametrize(("text", "parallel"), SPLITS.items())
def test_a_split_is_read_as_it_is_written(text: str, parallel: Parallel) -> None:
    assert parse_split(text) == parallel
    assert split_text(parallel) == text
    assert split_of(parallel.describe()) == parallel


def test_spaces_and_ones_are_accepted() -> None:
    assert parse_split(" tp = 2, dp=1 , ep") == Parallel(2, enable_expert_parallel=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tp", "'tp' is unexpected, write tp=8"),
        ("tp=two", "'tp=two' is unexpected"),
        ("ep=8", "'ep=8' is unexpected"),
        ("tq=8", "unknown part 'tq' of split 'tq=8'; known: tp, pp"),
        ("tp=0", "tensor_parallel_size is 0, expected at least 1"),
    ],
)
def test_other_splits_are_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_split(text)


def test_gpus_are_counted_over_the_whole_split() -> None:
    told = [gpus_text(parallel, "H100") for parallel in SPLITS.values()]
    assert told == [
        "H100",
        "8 × H100",
        "8 × H100 (tp=2,pp=4)",
        "8 × H100 (dp=8,ep)",
        "16 × H100 (tp=2,pp=2,dp=4,nodes=2,ep)",
    ]
