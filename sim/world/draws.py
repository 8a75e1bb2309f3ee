"""Random draws about one program that do not depend on what else happens in a run."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np


def generator_for(seed: int, stream: int, program_id: str, *numbers: int) -> np.random.Generator:
    """Return the generator of one thing about a program: policies and both modes of the engine draw the same.

    Parameters
    ----------
    stream
        Separates these draws from all others made with the same seed.
    numbers
        What it is about, such as the turn and the try.
    """
    name = int.from_bytes(blake2b(program_id.encode(), digest_size=8).digest(), "little")
    return np.random.default_rng([seed, stream, name, *numbers])
