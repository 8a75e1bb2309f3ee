"""Write down what follows from the fields of `RunConfig`: `sim/setup/settings_dict.py`, tables of `docs/cli.md`.

usage: python docs/write_settings.py     after a field was added or changed; a test finds either stale
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from continuum_sim.setup.run_config import run_settings
from continuum_sim.setup.settings import Setting

ROOT = Path(__file__).parents[1]
KEYWORDS = ROOT / "sim" / "setup" / "settings_dict.py"
PAGE = ROOT / "docs" / "cli.md"
TABLE = re.compile(r"(?P<head><!-- settings: (?P<panel>\w+) -->\n)(?:\|.*\n)*")

HEAD = '''"""Settings of a run as keyword arguments, for editors and type checkers.

Written by `python docs/write_settings.py` from the fields of `RunConfig`: edit those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from continuum_sim.engine.offload.config import EvictionPolicy, OffloadingBackend, ReloadRule
    from continuum_sim.hardware import GpuSpec, ModelSpec
    from continuum_sim.policies import Policy, Routing
    from continuum_sim.setup.setting_types import (
        All2AllBackend,
        Arrivals,
        EngineMode,
        KvCacheDtype,
        Objectives,
        PerToolSetting,
        Population,
        Price,
        Replicas,
        SchedulingPolicy,
        StartMode,
        Trace,
        Unfit,
        VllmVersion,
    )
    from continuum_sim.steptime.model import StepTime
'''
LOAD = "arrivals rate programs duration population warmup cooldown burst start slo price"
"""Settings of when programs come, of which of them count, and of what is promised and paid."""
CLASSES = {
    "Service": ("TypedDict, total=False", "Engine, tools and cuts of the trace: what every command takes.", None),
    "LoadAndEngine": ("Service, total=False", "What `run`, `compare`, `sweep` and `tune` take.", LOAD),
    "RunSettings": ("LoadAndEngine, total=False", "What `run` takes beside its trace and policy.", "seed"),
    "SameSettings": ("LoadAndEngine, total=False", "What is the same for all runs of a comparison.", "trace"),
    "BaseSettings": ("SameSettings, total=False", "What is the same for all cells that do not vary it.", "policy seed"),
    "ServiceSettings": ("Service, total=False", "What `capacity` takes beside its policies.", "trace"),
}
"""Name -> bases, meaning, and the settings that it has beside theirs; None for all that no other has."""


def keywords() -> str:
    """The text of `sim/setup/settings_dict.py`."""
    settings = run_settings()
    apart = [name for _, _, names in CLASSES.values() for name in (names or "").split()]
    parts = [HEAD]
    for name, (bases, meaning, own) in CLASSES.items():
        fields = [name for name in settings if name not in apart] if own is None else own.split()
        parts.append(f'\n\nclass {name}({bases}):\n    """{meaning}"""\n\n')
        parts += [keyword(settings[field]) for field in fields]
    return "".join(parts)


def keyword(item: Setting) -> str:
    """A key of a typed dictionary with its meaning."""
    text = textwrap.fill(f'"""{item.about.help}"""', 116, break_on_hyphens=False).replace("\n", "\n    ")
    return f"    {item.name}: {item.annotation}\n    {text}\n"


def page(text: str) -> str:
    """The text of `docs/cli.md` with its tables made anew."""
    return TABLE.sub(lambda found: found["head"] + table(found["panel"]), text)


def table(panel: str) -> str:
    """Flags, defaults and meanings of the settings of a panel."""
    rows = ["| flag | default | meaning |", "| --- | --- | --- |"]
    for item in (item for item in run_settings().values() if item.about.panel == panel):
        flags = ", ".join(f"`{flag}`" for flag in (*item.listed, *item.about.flags))
        flags = f"[{flags}]({item.about.page})" if item.about.page else flags
        plain = (
            "off" if item.is_switch else f"{item.default:g}" if isinstance(item.default, float) else str(item.default)
        )
        default = item.about.unset or ("" if item.default is None else f"`{plain}`")
        rows.append(f"| {flags} | {default} | {item.about.help} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    KEYWORDS.write_text(keywords(), encoding="utf-8")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
