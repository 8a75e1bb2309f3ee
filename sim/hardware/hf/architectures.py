"""Find vLLM's class for a configuration: accept those that generate text, refuse the others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Final

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.hf.fields import Fields

_POOLED: Final = (
    "ForTextEncoding",
    "EmbeddingModel",
    "Classification",
    "ClassificationModel",
    "RewardModeling",
    "RewardModel",
    "ForMaskedLM",
    "Model",
)
"""Suffixes of names that vLLM serves for vectors or scores (`_SUFFIX_TO_DEFAULTS` of `vllm/config/model.py`)."""


def is_text_only(outer: Fields) -> bool:
    """Return True if the named class is for text only, so that vLLM loads no towers."""
    table = _table()
    return any(name in table["text"] for name in _named(outer))


def supports_pp(outer: Fields) -> bool:
    """Return whether vLLM's class for it can be split into pipeline stages (`SupportsPP`)."""
    names = _named(outer)
    return not any(name in _table()["no_pipeline"] for name in names)


def check_architecture(outer: Fields) -> tuple[str, ...]:
    """Return notes about a class that vLLM does not have.

    Raises
    ------
    ConfigError
        If vLLM does not generate text with the named class, or the field is not a list.
    """
    if outer.own.get("is_encoder_decoder") is True:
        raise ConfigError(f"{outer.path}: an encoder-decoder model; only decoder-only models can be simulated")
    names = _named(outer)
    if not names:
        return ("the configuration names no architecture: vLLM serves it as an embedding model unless told one",)
    if any(name in _table()[kind] for kind in ("text", "multimodal") for name in names):
        return ()
    for name in names:
        _check(outer, name)
    if any(name in _table()["transformers"] for name in names):
        return ()
    return (f"vLLM 0.32 has no architecture {names[0]!r} of its own: it is read as its fields say",)


def _check(outer: Fields, name: str) -> None:
    table = _table()
    if (last := table["removed"].get(name)) is not None:
        raise ConfigError(
            f"{outer.path}: model architecture {name} was supported in vLLM until v{last}, and is not supported anymore"
        )
    if (plugin := table["plugin"].get(name)) is not None:
        raise ConfigError(f"{outer.path}: model architecture {name} is not in vLLM itself; it needs {plugin}")
    if name in table["draft"]:
        raise ConfigError(f"{outer.path}: {name} drafts tokens for another model; give that model's configuration")
    if name in table["refused"]:
        raise ConfigError(f"{outer.path}: model architectures [{name!r}] are not supported by vLLM 0.32")
    if name in table["pooling"] or (name.endswith(_POOLED) and name not in table["transformers"]):
        raise ConfigError(f"{outer.path}: vLLM serves {name} for vectors or scores, it writes no text")


def _named(outer: Fields) -> Sequence[str]:
    return [name for name in outer.each("architectures") or [] if isinstance(name, str)]


@cache
def _table() -> Mapping[str, Mapping[str, str]]:
    """Names in vLLM 0.32's `ModelRegistry`, and transformers classes that vLLM's backend accepts or refuses."""
    text = files("continuum_sim.hardware.hf").joinpath("architectures.json").read_text(encoding="utf-8")
    table = json.loads(text)
    return {kind: names if isinstance(names, dict) else dict.fromkeys(names, "") for kind, names in table.items()}
