"""A checkpoint's quantisation settings, found and named as in vLLM 0.32.

Sources: `transformers_utils/config.py` (`hf_quant_config.json`), `transformers_utils/model_arch_config_convertor.py`
(`_normalize_quantization_config`) and `config/model.py` (`_verify_quantization`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from continuum_sim.errors import ConfigError, shown
from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.unread import Unread
from continuum_sim.readers import read_json

_LEGACY: Final = {
    "FP8": "modelopt",
    "FP8_PER_CHANNEL_PER_TOKEN": "modelopt",
    "FP8_PB_WO": "modelopt",
    "NVFP4": "modelopt_fp4",
}
"""ModelOpt's `quant_algo` in its own file -> vLLM's name for it; vLLM refuses others."""


@dataclass(frozen=True)
class Settings:
    """One object of settings such as `quantization_config`."""

    path: Path
    """The file that holds it."""
    name: str
    """Its name in the file; empty for the whole file."""
    raw: Mapping[str, Any]
    method: str
    """`quant_method`, in lower case; empty if none is named."""
    model_type: str
    expert_dtype: str = ""
    """DeepSeek V4's, which is beside the settings."""

    def get(self, *names: str, default: Any = None) -> Any:
        """Return the first of some settings that is present."""
        return next((self.raw[name] for name in names if name in self.raw), default)

    def need(self, *names: str) -> Any:
        """Return the first of some settings that is present.

        Raises
        ------
        ConfigError
            As in vLLM, if none is.
        """
        if all(name not in self.raw for name in names):
            raise self.refuse(f"Cannot find any of {list(names)} in the model's quantization config.")
        return self.get(*names)

    def count(self, *names: str, default: int | None = None) -> int:
        """Return a whole number, or -1.

        Raises
        ------
        ConfigError
            If it is anything else, or missing without a default.
        """
        value = self.need(*names) if default is None else self._or(default, *names)
        if isinstance(value, bool) or not isinstance(value, int) or not (value == -1 or 0 < value < 2**31):
            raise self.error(names[0], value, "a positive whole number")
        return value

    def flag(self, *names: str, default: bool | None = None) -> bool:
        """Return a truth value.

        Raises
        ------
        ConfigError
            If it is anything else, or missing without a default.
        """
        value = self.need(*names) if default is None else self._or(default, *names)
        if not isinstance(value, bool):
            raise self.error(names[0], value, "true or false")
        return value

    def names(self, *names: str) -> list[str]:
        """Return the first non-empty list of module names.

        Raises
        ------
        ConfigError
            If it is anything else.
        """
        value: Any = next((self.raw[name] for name in names if self.raw.get(name)), [])
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self.error(names[0], value, "a list of module names")
        return value

    def mapping(self, name: str) -> Mapping[str, Any]:
        """Return an object, empty if there is none.

        Raises
        ------
        ConfigError
            If it is anything else.
        """
        value = self.raw.get(name) or {}
        if not isinstance(value, dict):
            raise self.error(name, value, "an object")
        return value

    def within(self, name: str, raw: object) -> Settings:
        """Return nested settings.

        Raises
        ------
        ConfigError
            If they are not an object.
        """
        if not isinstance(raw, dict):
            raise self.error(name, raw, "an object")
        return replace(self, name=self._at(name) if name else self.name, raw=raw)

    def error(self, name: str, value: object, expected: str) -> ConfigError:
        """Return the error about a malformed setting."""
        return ConfigError(f"{self.path}: {self._at(name)} is {shown(value)}, expected {expected}")

    def refuse(self, why: str) -> ConfigError:
        """Return the error about what vLLM does not serve, in vLLM's words."""
        at = f"{self.path}: {self.name}" if self.name else str(self.path)
        return ConfigError(f"{at}: vLLM 0.32 refuses it: {why}")

    def unread(self, why: str) -> Unread:
        """Return the reason why the bytes of the weights are unknown."""
        return Unread(f"{self.path}: {why}")

    def _or(self, default: object, *names: str) -> Any:
        value = self.get(*names)
        return default if value is None else value

    def _at(self, name: str) -> str:
        return f"{self.name}.{name}" if self.name else name


def find_settings(outer: Fields) -> Settings | None:
    """Return how a checkpoint is quantised; None if nothing says that it is.

    Raises
    ------
    ConfigError
        If the settings are malformed, or of a kind that vLLM refuses.
    """
    own, text = outer.own, outer.own.get("text_config")
    found = own.get("quantization_config")
    if found is not None:
        return _settings(outer, outer.path, "quantization_config", found)
    beside = outer.path.with_name("hf_quant_config.json")
    if outer.path.is_file() and beside.is_file():
        return _settings(outer, beside, "", read_json(beside, finite=False))
    if own.get("compression_config") is not None:
        return _settings(outer, outer.path, "compression_config", own["compression_config"])
    if isinstance(text, dict):
        for name in ("quantization_config", "compression_config"):
            if text.get(name) is not None:
                return _settings(outer, outer.path, f"text_config.{name}", text[name])
    return None


def _settings(outer: Fields, path: Path, name: str, raw: object) -> Settings:
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: {name or 'it'} is {shown(raw)}, expected a JSON object")
    method = raw.get("quant_method")
    experts = str(outer.text().get("expert_dtype") or "")
    found = Settings(path, name, raw, str(method or "").lower(), outer.model_type, experts)
    return replace(found, method=_method(found))


def _method(settings: Settings) -> str:
    inner, producer = settings.mapping("quantization"), settings.mapping("producer").get("name")
    if producer == "modelopt" or "modelopt_quant_config" in inner:
        algorithm = inner.get("quant_algo")
        if algorithm is not None:
            if (upper := str(algorithm).upper()) not in _LEGACY:
                raise settings.refuse(f"Unknown ModelOpt quant algo: {algorithm}")
            return _LEGACY[upper]
    return settings.method.replace("compressed_tensors", "compressed-tensors")
