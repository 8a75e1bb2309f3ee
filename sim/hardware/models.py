"""The model catalogue, and models by their Hugging Face configuration."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.catalogue import by_name, fold, read_catalogue
from continuum_sim.hardware.hf import read_hf_config, read_model
from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.model_names import find_by_parts
from continuum_sim.hardware.model_spec import ModelSpec
from continuum_sim.names import nearest, unknown

_FOLDER: Final = "continuum_sim.hardware"


@dataclass(frozen=True)
class _Known:
    """A row of the catalogue."""

    name: str
    config: str
    """Its configuration file, without folder and suffix."""
    source: str
    """Where on Hugging Face it was published."""
    aliases: tuple[str, ...] = ()


@cache
def models() -> tuple[ModelSpec, ...]:
    """All models in the catalogue."""
    return tuple(_read(known) for known in _rows())


@cache
def _rows() -> tuple[_Known, ...]:
    return read_catalogue("models.toml", "model", _Known)


@cache
def _index() -> dict[str, _Known]:
    return by_name(_rows())


@cache
def _read(known: _Known) -> ModelSpec:
    text = files(_FOLDER).joinpath("configs", f"{known.config}.json").read_text(encoding="utf-8")
    spec = read_model(Fields(Path(known.config), json.loads(text)), name=known.name)
    return replace(spec, source=f"{known.source} config.json", aliases=known.aliases)


def find_model(name_or_path: str | Path) -> ModelSpec:
    """Return a model from the catalogue by name, or read a Hugging Face `config.json` (the file or its folder).

    A local file takes precedence over a name, as in vLLM. Names work in any case, with or without the organisation, and
    shortened to what distinguishes the model: `qwen3-coder-480b`.

    Raises
    ------
    ConfigError
        For an unknown name (with the nearest one), one that means several models, or a malformed or unsupported
        configuration.
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
    return _read(_find(text))


def _find(name: str) -> _Known:
    bare = fold(name.rsplit("/", 1)[-1])
    for key in (fold(name), bare):
        if key in _index():
            return _index()[key]
    found, having = find_by_parts(name, _rows())
    if found is not None:
        return found
    near = nearest(bare, _index())
    guess = having[0].name if having else None if near is None else _index()[near].name
    remedy = "`continuum-sim hardware` lists those known; or give the folder of a Hugging Face config.json"
    raise ConfigError(unknown("model", name, (), guess=guess, remedy=remedy))
