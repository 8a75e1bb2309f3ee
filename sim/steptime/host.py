"""What the CPU takes beside the kernels of a step: launching them, and planning, preparing and reading steps."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, Final, Literal, get_args

from continuum_sim.errors import ConfigError
from continuum_sim.steptime.batch import StepBatch
from continuum_sim.steptime.ranked import DUMMY, NO_WORK

CudagraphMode = Literal["full_and_piecewise", "full_decode_only", "full", "piecewise", "none"]
"""vLLM's `cudagraph_mode` (`CUDAGraphMode` of vllm/config/compilation.py): how steps that only decode run, and how
steps with prompts. The first is the default; `--enforce-eager` is the last."""

_Launched = Literal["full", "piecewise", "eager"]
_BY_MODE: Final[dict[CudagraphMode, tuple[_Launched, _Launched]]] = {
    "full_and_piecewise": ("full", "piecewise"),
    "full_decode_only": ("full", "eager"),
    "full": ("full", "full"),
    "piecewise": ("piecewise", "piecewise"),
    "none": ("eager", "eager"),
}
"""Mode -> how a step within the captured sizes is launched: one that only decodes, and one with prompts. Above these
sizes there are no graphs (`dispatch` of vllm/v1/cudagraph_dispatcher.py)."""

PIECEWISE_LAYER_S: Final = 1.25e-4
"""Seconds to launch a layer's graph and its attention: OPT-125M, 12 layers, on an H100 took 1.5 ms a step with
piecewise graphs (192 ms for 128 steps of 8 requests, vLLM pull request 10733). All else that the host does is in it."""
EAGER_LAYER_S: Final = 3.1e-4
"""Seconds to launch a layer without graphs: Llama-3.1-8B, 32 layers, took 9.8 ms a step (1.26 s for 128 steps, vLLM
pull request 10058, against 8.1 ms with piecewise graphs)."""
EAGER_EXPERTS_LAYER_S: Final = 7.2e-4
"""The same with experts and all-reduces: Qwen3-30B-A3B, 48 layers, on four L20 took 34.4 ms a step compiled without
graphs and 11.8 with piecewise ones (vLLM issue 45709, model runner V2)."""


@dataclass(frozen=True)
class Host:
    """The CPU's part of a step.

    A step cannot end before its kernels have been launched. Asynchronous scheduling plans and prepares the next step
    meanwhile, so that the longer of GPU and CPU counts; without it the GPU waits for `step_s` in every step.
    """

    layers: int
    """Layers that a GPU launches."""
    cudagraph_mode: CudagraphMode = "full_and_piecewise"
    max_cudagraph_capture_size: int = 512
    """Tokens of the largest step that vLLM captures as a graph."""
    piecewise_layer_s: float = 0.0
    """Seconds to launch a layer whose graph is cut at its attention."""
    eager_layer_s: float = 0.0
    """Seconds to launch a layer without graphs."""
    step_s: float = 0.0
    """Seconds for everything else: scheduling, preparing the batch, sampling parameters, reading tokens."""
    asynchronous: bool = True

    def __post_init__(self) -> None:
        if self.cudagraph_mode not in _BY_MODE:
            raise ConfigError(
                f"cudagraph_mode is {self.cudagraph_mode!r}, expected one of {', '.join(get_args(CudagraphMode))}"
            )
        for name in ("piecewise_layer_s", "eager_layer_s", "step_s", "max_cudagraph_capture_size"):
            value = getattr(self, name)
            if not (isfinite(value) and value >= 0):
                shown = "host_s" if name == "step_s" else name
                raise ConfigError(f"step times: {shown} is {value}, expected a finite number, zero or more")

    def launches_s(self, batch: StepBatch) -> float:
        """Return the seconds that launching a step's kernels takes; none for one graph."""
        tokens = batch.prefill_tokens + batch.decode_requests
        if tokens > self.max_cudagraph_capture_size:
            return self.layers * self.eager_layer_s
        launched = _BY_MODE[self.cudagraph_mode][batch.prefill_tokens > 0]
        if launched == "full":
            return 0.0
        return self.layers * (self.piecewise_layer_s if launched == "piecewise" else self.eager_layer_s)

    def least_s(self, batch: StepBatch) -> float:
        """Return the seconds that a step takes at least, of a rank without turns those of its dummy step."""
        launches_s = self.launches_s(DUMMY if batch == NO_WORK else batch)
        return launches_s + self.step_s if self.asynchronous else launches_s

    @property
    def added_s(self) -> float:
        """Seconds of a step in which the GPU waits."""
        return 0.0 if self.asynchronous else self.step_s

    @property
    def free(self) -> bool:
        """Whether it never takes any time."""
        return not (self.piecewise_layer_s or self.eager_layer_s or self.step_s)

    def describe(self) -> dict[str, Any]:
        """Return its settings, as in `--step-time`."""
        told = asdict(self)
        told["host_s"] = told.pop("step_s")
        return told
