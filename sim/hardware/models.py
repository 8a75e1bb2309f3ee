"""The model catalogue, and models by their Hugging Face configuration."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.catalogue import by_name, find, read_catalogue
from continuum_sim.hardware.hf_config import read_hf_config
from continuum_sim.hardware.model_spec import ModelSpec


@cache
def models() -> tuple[ModelSpec, ...]:
    """All models of the catalogue."""
    return read_catalogue("models.toml", "model", ModelSpec)


@cache
def _index() -> dict[str, ModelSpec]:
    return by_name(models())


def find_model(name_or_path: str | Path) -> ModelSpec:
    """Return a model of the catalogue by name, or read a Hugging Face `config.json` (the file or its folder).

    A local file wins over a name, as in vLLM. Names are taken in any case, with or without their organisation.

    Raises
    ------
    ConfigError
        For an unknown name (with the nearest one), or a configuration that is malformed or not supported.
    """
    text = str(name_or_path).strip()
    if not text:
        raise ConfigError("the model's name is empty: give a name, as in --model llama-3.1-8b, or a folder")
    path = Path(text)
    if path.is_dir() and (path / "config.json").is_file():
        return read_hf_config(path / "config.json")
    if path.is_file():
        return read_hf_config(path)
    if text.endswith(".json") or text.startswith((".", "/", "~")) or path.is_dir():
        missing = path if text.endswith(".json") else path / "config.json"
        raise ConfigError(f"model {text}: no file {missing}; give a Hugging Face config.json or its folder")
    known = ", ".join(model.name for model in models())
    return find(text, _index(), "model", f"known: {known}, or the folder of a Hugging Face config.json")
