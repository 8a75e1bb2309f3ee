"""MXFP4 as in gpt-oss and Kimi K3: experts only, whatever else the checkpoint lists (`mxfp4.py`)."""

from __future__ import annotations

from dataclasses import replace

from continuum_sim.hardware.hf.quantisation.formats import MXFP4, Rule
from continuum_sim.hardware.hf.quantisation.modules import Module
from continuum_sim.hardware.hf.quantisation.settings import Settings
from continuum_sim.hardware.weights import Stored

INNER, HIDDEN = 128, 256
"""Experts are padded to multiples of these (`mxfp4_round_up_hidden_size_and_intermediate_size`, Marlin and FlashInfer's
TRT-LLM kernels): their width on a rank, and the model's."""


def mxfp4(settings: Settings) -> Rule:
    """Store experts in MXFP4 and all else unchanged: vLLM reads no list of exceptions."""

    def rule(module: Module) -> Stored | None:
        if module.kind != "experts":
            return None
        # gpt-oss keeps activations in bf16, others are multiplied by mxfp8 ones (fused_moe/oracle/mxfp4.py).
        stored = filled(MXFP4, module)
        return replace(stored, computed="bf16") if settings.model_type == "gpt_oss" else stored

    return rule


def filled(stored: Stored, module: Module) -> Stored:
    """Return how experts are stored once padded for the kernels."""
    rows, columns = (HIDDEN, INNER) if module.splits == "columns" else (INNER, HIDDEN)
    return replace(stored, fill_rows=rows, fill_columns=columns, computed="mxfp8")
