"""Draw a fit: every measured step against the model, and the model's error by kind of step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from continuum_sim.plotting.style import BLUE, GREEN, ORANGE, new_figure, picture_bytes
from continuum_sim.steptime.model import StepTime
from continuum_sim.traces.files import write_bytes
from continuum_sim.validate.calibration.measure import Measured

_KINDS = ("prefill alone", "decode alone", "prefill beside decode")
_COLOURS = (BLUE, ORANGE, GREEN)


def draw_fit(model: StepTime, steps: Sequence[Measured], path: Path) -> None:
    """Draw modelled against measured step times, and relative errors over the step time."""
    measured = np.array([step.seconds for step in steps]) * 1e3
    modelled = np.array([model.step_s(step.batch) for step in steps]) * 1e3
    kinds = np.array([_kind(step) for step in steps])
    figure = new_figure(11, 4.6)
    left, right = figure.subplots(1, 2)
    for number, (kind, colour) in enumerate(zip(_KINDS, _COLOURS, strict=True)):
        of = kinds == number
        if of.any():
            left.loglog(measured[of], modelled[of], ".", ms=4, alpha=0.5, color=colour, label=kind)
            error = (modelled[of] / measured[of] - 1) * 100
            label = f"{kind}: mean {error.mean():+.1f} %, |error| {np.abs(error).mean():.1f} %"
            right.semilogx(measured[of], error, ".", ms=4, alpha=0.5, color=colour, label=label)
    ends = [float(min(measured.min(), modelled.min())), float(max(measured.max(), modelled.max()))]
    left.plot(ends, ends, color="black", lw=0.8)
    left.set(xlabel="measured step time (ms)", ylabel="model (ms)", title="Every measured step")
    left.legend()
    bound = float(np.clip(np.quantile(np.abs(modelled / measured - 1), 0.99) * 130, 10, 100))
    right.axhline(0, color="black", lw=0.8)
    right.set(xlabel="measured step time (ms)", ylabel="model error (%)", title="Error of the model")
    right.set_ylim(-bound, bound)
    right.legend(fontsize="small")
    write_bytes(path, picture_bytes(figure, "png", dpi=130))


def _kind(step: Measured) -> int:
    if not step.batch.decode_requests:
        return 0
    return 2 if step.batch.prefill_tokens else 1
