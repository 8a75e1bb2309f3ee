"""AWQ: 4 bits with a zero point for each group (`auto_awq.py`)."""

from __future__ import annotations

from continuum_sim.hardware.hf.quantisation.formats import Rule, packed
from continuum_sim.hardware.hf.quantisation.modules import Listed, Module, is_skipped
from continuum_sim.hardware.hf.quantisation.settings import Settings
from continuum_sim.hardware.weights import Stored


def awq(settings: Settings) -> Rule:
    """Quantise all linear modules but those listed; the LM head too if `lm_head` says so."""
    bits, group = settings.count("w_bit", "bits"), settings.count("q_group_size", "group_size")
    settings.flag("zero_point")  # required, although zero points are stored either way
    if bits != 4:
        raise settings.refuse(f"Unsupported num_bits = {bits}. Supported: 4.")
    stored, head = packed(bits, group, zeros=True), settings.flag("lm_head", default=False)
    listed = settings.names("modules_to_not_convert")
    skipped = Listed(listed, where=str(settings.path))

    def rule(module: Module) -> Stored | None:
        if module.kind == "table" or (module.kind == "head" and not head):
            return None
        # Without a list vLLM finds what is quantised from the files, and towers are not.
        if module.tower and not listed:
            return None
        return None if is_skipped(module, skipped, where=str(settings.path), partly=True) else stored

    return rule
