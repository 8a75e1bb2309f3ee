"""Fields of a Hugging Face `config.json` as its class would hold them: nested, under other names, or defaulted."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from continuum_sim.errors import ConfigError, shown
from continuum_sim.hardware.hf.derived import DERIVED, SPELLED, language_model_of
from continuum_sim.hardware.hf.unread import MissingField
from continuum_sim.readers import read_json

_MOST: Final = 2**31
"""Above any dimension of a model."""

_MOST_LAYERS: Final = 10_000
"""Above any number of layers, each of which is listed."""

_NESTED: Final = ("thinker_config", "text_config", "llm_config", "language_config")
"""Where multimodal configurations keep the language model's fields (the first of them may be nested again)."""

_OF_THE_WHOLE: Final = ("model_type", "architectures", "auto_map", "_name_or_path", "quantization_config")
"""Fields of a flat multimodal configuration that do not belong to its language model."""

_MISSING: Final = object()


class Fields:
    """The fields of one model, or of a part of it.

    A field is derived from others if its class does so (`derived.py`); otherwise it is looked up under its common name
    and its class's spelling, first in the part itself, then among the class's defaults. `null` in a file means that
    there is no value, unless the class does not accept None.
    """

    def __init__(self, path: Path, own: Mapping[str, Any], around: Fields | None = None, kind: str = "") -> None:
        self.path = path
        self.own = own
        self.around = around
        self.model_type = str(own.get("model_type") or kind)
        entry = _class_defaults().get(self.model_type, {})
        self.defaults: Mapping[str, Any] = entry.get("fields", {})
        self.spelled: Mapping[str, str] = {**entry.get("spelled", {}), **SPELLED.get(self.model_type, {})}
        self._parts: Mapping[str, str] = entry.get("parts", {})
        if not entry.get("loose"):
            self._refuse_nulls(entry.get("nullable", ()))

    @property
    def known(self) -> bool:
        """Whether the class's defaults and spellings are known."""
        return bool(self.defaults or self.spelled)

    def part(self, name: str) -> Fields | None:
        """Return a part such as `vision_config`; None if there is none."""
        value = self.own.get(name)
        return Fields(self.path, value, self, self._parts.get(name, "")) if isinstance(value, dict) else None

    def part_or_default(self, name: str) -> Fields | None:
        """Return a part, or the class's default for it if the file has none; None if neither exists."""
        if (part := self.part(name)) is not None or name not in self._parts:
            return part
        return Fields(self.path, {}, self, self._parts[name])

    def text(self) -> Fields:
        """Return the part that holds the language model; the whole if nothing is nested."""
        for name in _NESTED:
            if (part := self.part(name)) is not None:
                return part.text()
        # An older, flat file, or one that leaves everything to the class.
        if kind := self._parts.get("text_config") or language_model_of(self.model_type, self.own):
            flat = {name: value for name, value in self.own.items() if name not in _OF_THE_WHOLE}
            return Fields(self.path, flat, self, kind)
        return self

    def get(self, *names: str) -> Any:
        """Return the first of some names that is present; None if none is, or if the file says null."""
        for name in names:
            if (value := self._derived(name)) is not None:
                return value
            if (value := self._given(name)) is not _MISSING:
                return value
        for name in names:
            if (value := self._default(name)) is not _MISSING:
                return value
        return None

    def has(self, *names: str) -> bool:
        """Return True if the file itself has one of some names, other than as null."""
        return any(self._given(name) not in (_MISSING, None) for name in names)

    def count(self, *names: str, default: int | None = None, least: int = 1) -> int:
        """Return a whole number, or the default if none is given.

        Raises
        ------
        ConfigError
            If it is missing without a default, or not a whole number of at least `least`.
        """
        value = self.get(*names)
        if value is None:
            if default is None or default < least:
                raise MissingField(f"{self.path}: field {names[0]!r} is missing, expected a positive whole number")
            return default
        most, shown_most = (_MOST_LAYERS, "10,000") if names[0].endswith(("layers", "depth")) else (_MOST, "2**31")
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            expected = "a positive whole number" if least else "a whole number"
            raise self.error(names[0], value, f"{expected} of at most {shown_most}")
        return value

    def flag(self, *names: str, default: bool = False) -> bool:
        """Return a truth value, or the default if none is given.

        Raises
        ------
        ConfigError
            If it is neither true nor false.
        """
        value = self.get(*names)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.error(names[0], value, "true or false")
        return value

    def each(self, *names: str) -> list[Any] | None:
        """Return a list, or None if none is given.

        Raises
        ------
        ConfigError
            If it is not a list.
        """
        value = self.get(*names)
        if value is None or isinstance(value, list):
            return value
        raise self.error(names[0], value, "a list")

    def error(self, name: str, value: object, expected: str) -> ConfigError:
        """Return the error about a field."""
        return ConfigError(f"{self.path}: {name} is {shown(value)}, expected {expected}")

    def _refuse_nulls(self, nullable: Collection[str]) -> None:
        """Raise an error if the file says null but the class, which has a default, does not accept None."""
        for name, default in self.defaults.items():
            if default is not None and name not in nullable and name in self.own and self.own[name] is None:
                raise ConfigError(f"{self.path}: {name} is null, expected a value, or no such field")

    def _derived(self, name: str) -> Any:
        derive = DERIVED.get(self.model_type, {}).get(name)
        return None if derive is None else derive(self)

    def _given(self, name: str) -> Any:
        for spelling in (name, self.spelled.get(name)):
            if spelling is not None and spelling in self.own:
                return self.own[spelling]
        return _MISSING

    def _default(self, name: str) -> Any:
        for spelling in (name, self.spelled.get(name)):
            if spelling is not None and spelling in self.defaults:
                return self.defaults[spelling]
        return _MISSING


def read_fields(path: Path) -> Fields:
    """Read a configuration.

    Raises
    ------
    ConfigError
        If it is not a JSON object.
    """
    raw = read_json(path, finite=False)
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected a JSON object, as Hugging Face writes it")
    names = raw.get("architectures")
    untyped = isinstance(names, list) and bool(
        {"LongcatFlashForCausalLM", "LongcatFlashNgramForCausalLM"} & {*map(str, names)}
    )
    return Fields(path, raw, kind="longcat_flash" if untyped else "")


@cache
def _class_defaults() -> Mapping[str, Any]:
    """Defaults of the configuration classes of transformers 5.19 and vLLM 0.32: their numbers and flags."""
    text = files("continuum_sim.hardware.hf").joinpath("class_defaults.json").read_text(encoding="utf-8")
    found: Mapping[str, Any] = json.loads(text)
    return found
