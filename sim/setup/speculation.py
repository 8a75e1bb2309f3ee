"""`--speculative-config`: vLLM's JSON of that flag, or `method:key=value,…` with the same keys."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from continuum_sim.engine.speculation.config import EAGLE_METHODS, SpeculationConfig, rates_of_length
from continuum_sim.errors import ConfigError, shown
from continuum_sim.hardware import GpuSpec, ModelSpec, find_model
from continuum_sim.hardware.drafters import Drafter, layer_of
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.names import check_names
from continuum_sim.setup.accepted import rates_of_file
from continuum_sim.setup.notation import split_spec
from continuum_sim.steptime.drafted import Drafted
from continuum_sim.steptime.model import StepTime
from continuum_sim.steptime.named import make_step_time

_RATES: Final = "synthetic_acceptance_rates"
_LENGTH: Final = "synthetic_acceptance_length"
_METRICS: Final = "metrics"
"""A file with the text of a server's `/metrics`, whose counters give the rates, or one that `calibrate` wrote."""
_IGNORED: Final = ("rejection_sample_method", "prompt_lookup_max", "prompt_lookup_min")
"""Keys of vLLM's that decide which drafts are accepted, which is given here."""
_KNOWN: Final = (
    "method",
    "num_speculative_tokens",
    "model",
    _RATES,
    _LENGTH,
    _METRICS,
    "disable_eagle_block_drop",
    "disable_lookahead_block_hashes",
    "draft_s",
    *_IGNORED,
)
_OWNER: Final = "speculative_config"
_FORM: Final = "eagle3:num_speculative_tokens=3,synthetic_acceptance_rates=0.8/0.6/0.4"


@dataclass(frozen=True)
class Speculation:
    """Speculative decoding as a user asks for it."""

    config: SpeculationConfig
    model: str | None = None
    """The draft model; of a drafter trained for the model, the name of its weights, which nothing depends on."""
    draft_s: float | None = None
    """Seconds that proposing adds to each step; None for what the drafter's shapes give."""

    def drafter(self, model: ModelSpec) -> Drafter | None:
        """Return what drafts for a model; None for a search in the context.

        Raises
        ------
        ConfigError
            If no draft model is named.
        """
        if self.config.method in EAGLE_METHODS:
            return layer_of(model)
        if self.config.method != "draft_model":
            return None
        if self.model is None:
            raise ConfigError(f"{_OWNER}: method draft_model needs a model: add model=NAME")
        return Drafter(find_model(self.model), shares_head=False)

    def timed(self, step_time: StepTime, model: ModelSpec, gpu: GpuSpec, parallel: Parallel) -> StepTime:
        """Return step times that include the drafter's.

        Raises
        ------
        ConfigError
            If they do not follow from the drafter's shapes.
        """
        drafts = self.config.num_speculative_tokens
        if self.draft_s is not None:
            return Drafted(step_time, None, drafts, self.draft_s)
        try:
            drafter = self.drafter(model)
            times = None
            if drafter is not None:
                times = make_step_time("roofline", model=drafter.model, gpu=gpu, parallel=parallel)
        except ConfigError as error:
            raise ConfigError(f"{error}; or give the seconds that proposing adds to a step, draft_s=…") from None
        return Drafted(step_time, times, drafts)


def parse_speculation(text: str | None) -> Speculation | None:
    """Read the setting; None for none.

    Raises
    ------
    ConfigError
        For text that is neither form, an unknown method or key, or acceptance that is missing or out of range.
    """
    if text is None:
        return None
    if not isinstance(text, str) or not text.strip():
        raise ConfigError(f"{_OWNER} is {shown(text)}, expected {_FORM} or vLLM's JSON")
    asked = _read(text.strip())
    check_names(list(asked), _KNOWN, "key", of=_OWNER, error=ConfigError)
    method = str(asked.get("method", ""))
    measured = _measured(asked)
    if "num_speculative_tokens" in asked:
        drafts = int(_number(asked, "num_speculative_tokens"))
    elif measured:
        drafts = len(measured)
    else:
        raise ConfigError(f"{_OWNER} is {shown(text)}, expected num_speculative_tokens as in {_FORM}")
    config = SpeculationConfig(
        method,
        drafts,
        measured or _rates(asked, drafts),
        disable_eagle_block_drop=_switch(asked, "disable_eagle_block_drop"),
        disable_lookahead_block_hashes=_switch(asked, "disable_lookahead_block_hashes"),
    )
    draft_s = _number(asked, "draft_s") if "draft_s" in asked else None
    if draft_s is not None and not 0 <= draft_s < 1e3:
        raise ConfigError(f"{_OWNER}: draft_s is {draft_s:g}, expected seconds of 0 or more")
    model = asked.get("model")
    return Speculation(config, None if model is None else str(model), draft_s)


def vllms_speculation(text: str) -> tuple[dict[str, Any], tuple[float, ...] | None]:
    """Return the setting as vLLM's `speculative_config`, and the acceptance that was measured, if a file holds it.

    Rates that are given have vLLM accept drafts at these (`rejection_sample_method` `synthetic`). Keys that only vLLM
    knows pass, as vLLM refuses what it does not know.

    Raises
    ------
    ConfigError
        For text that is neither form, or what the simulator does not model.
    """
    asked = dict(_read(text.strip()))
    own = {key: value for key, value in asked.items() if key in _KNOWN}
    given = [key for key in (_RATES, _LENGTH) if key in asked]
    found = parse_speculation(json.dumps(own if given or _METRICS in asked else {**own, _LENGTH: 1.0}))
    assert found is not None
    told = {key: _plain(value) for key, value in asked.items() if key not in (_METRICS, "draft_s")}
    told["num_speculative_tokens"] = found.config.num_speculative_tokens
    if _RATES in told:
        told[_RATES] = list(found.config.acceptance_rates)
    if given:
        told.setdefault("rejection_sample_method", "synthetic")
    return told, found.config.acceptance_rates if _METRICS in asked else None


def _plain(value: Any) -> Any:
    """Return a value of the short form as JSON would have it."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _read(text: str) -> Mapping[str, Any]:
    if not text.startswith("{"):
        method, settings = split_spec(text)
        return {"method": method, **settings}
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{_OWNER} is {shown(text)}, which is no JSON: {error}") from None
    assert isinstance(found, dict)
    return found


def _measured(asked: Mapping[str, Any]) -> tuple[float, ...]:
    """Return the rates that a server counted; empty if they are given otherwise."""
    if _METRICS not in asked or _RATES in asked or _LENGTH in asked:
        return ()
    path = Path(str(asked[_METRICS])).expanduser()
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{_OWNER}: metrics {path} cannot be read: {error}") from None
    return rates_of_file(text, str(path))


def _rates(asked: Mapping[str, Any], drafts: int) -> tuple[float, ...]:
    given = [key for key in (_RATES, _LENGTH, _METRICS) if key in asked]
    if len(given) != 1:
        raise ConfigError(
            f"{_OWNER} has {' and '.join(given) or 'no acceptance'}, expected one of {_RATES}=0.8/0.6/0.4 (for each "
            f"draft the share of steps that accept it and those before), {_LENGTH}=2.8 and {_METRICS}=FILE, a server's"
        )
    if given == [_LENGTH]:
        return rates_of_length(_number(asked, _LENGTH), drafts)
    listed = asked[_RATES]
    try:
        parts = listed.split("/") if isinstance(listed, str) else list(listed)
        return tuple(float(part) for part in parts)
    except (TypeError, ValueError):
        raise ConfigError(f"{_OWNER}: {_RATES} is {shown(listed)}, expected shares as in 0.8/0.6/0.4") from None


def _number(asked: Mapping[str, Any], key: str) -> float:
    try:
        return float(asked[key])
    except (TypeError, ValueError):
        raise ConfigError(f"{_OWNER}: {key} is {shown(asked[key])}, expected a number") from None


def _switch(asked: Mapping[str, Any], key: str) -> bool:
    value = asked.get(key, False)
    if value in (True, False):
        return bool(value)
    if str(value).lower() not in ("true", "false"):
        raise ConfigError(f"{_OWNER}: {key} is {shown(value)}, expected true or false")
    return str(value).lower() == "true"
