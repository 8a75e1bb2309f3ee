"""What a multimodal model holds beside its language model: towers for images and sound, and what joins them to it.

Begin with `read.py`, which picks the file of a model's kind; `parts.py` has what most of them share. Only bytes count
here, as nothing simulated runs a tower; the sums are compared with vLLM's in `tests/oracles`.
"""

from continuum_sim.hardware.hf.towers.read import tower_weights

__all__ = ["tower_weights"]
