"""Which models can be timed by a step-time model that works from shapes."""

from __future__ import annotations

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.model_spec import ModelSpec


def check_timed(model: ModelSpec, owner: str) -> None:
    """Refuse a model with layers whose time cannot be derived from shapes.

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
    experts = model.expert_weights()
    if experts and not any(weight.visited for weight in experts):
        return "its configuration does not say how many experts a token visits (num_experts_per_tok)"
    return None


def is_dense(model: ModelSpec) -> bool:
    """Return whether every token passes all weights, and layers keep keys and values of all tokens or of a window."""
    if model.unread is not None or model.n_experts:
        return False
    return all(cache.kind in ("full", "sliding") and not cache.chosen for cache in model.caches)
