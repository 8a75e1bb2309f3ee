"""Which models can be timed by a step-time model that works from shapes."""

from __future__ import annotations

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.model_spec import ModelSpec

_NOT_TIMED = {
    "mla": "latent attention (MLA) is",
    "chunked": "chunked attention is",
    "recurrent": "recurrent layers are",
}


def check_timed(model: ModelSpec, owner: str) -> None:
    """Refuse a model with layers whose time cannot be derived from shapes here.

    Raises
    ------
    ConfigError
        Naming the model, the layers, and what to do.
    """
    if (why := untimed(model)) is not None:
        blocks = "" if model.unread is None else ", with --kv-blocks"
        raise ConfigError(
            f"{owner} has no step times of {model.name}: {why}; give measured ones, --step-time fitted:FILE{blocks}"
        )


def untimed(model: ModelSpec) -> str | None:
    """Return which part of a model cannot be timed from shapes; None if all of it can."""
    if model.unread is not None:
        return model.unread
    if model.n_experts:
        return "mixtures of experts are not modelled there"
    kinds = [what for kind, what in _NOT_TIMED.items() if any(cache.kind == kind for cache in model.caches)]
    return f"{kinds[0]} not modelled there" if kinds else None
