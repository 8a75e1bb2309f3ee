"""Reading Hugging Face configurations: fields, lengths, layers, weights and how they are stored.

Begin with `reader.py`, which calls the other files in turn. What the code of a kind of model decides is a row of a TOML
file beside them; a new kind is a row and configurations in `tests/oracles`. Answers must equal vLLM's: what cannot be
read is refused, never guessed.
"""

from continuum_sim.hardware.hf.reader import read_hf_config, read_model

__all__ = ["read_hf_config", "read_model"]
