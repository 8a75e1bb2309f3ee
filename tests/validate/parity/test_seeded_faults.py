"""Faults sown into the mirror are found by comparing random cases with vLLM's scheduler."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from continuum_sim.errors import SimulationError
from continuum_sim.setup.notation import parse_policy
from continuum_sim.steptime import Fitted
from continuum_sim.validate.parity.compare import compare_on_random_cases
from continuum_sim.validate.parity.vllm_harness import installed_vllm, mirrored_version

pytestmark = pytest.mark.engine

STEP_TIME = Fitted(0.006, 3e-5, 4e-8, 2e-9)
MOST_CASES = 80


@dataclass(frozen=True)
class Fault:
    """Text of a file, and what a mistake would have made of it."""

    file: str
    right: str
    wrong: str
    planned_ahead: bool = False
    """Whether only asynchronous scheduling shows it."""
    since: str = "0.32"
    """First version in which it shows."""
    in_pipelines: bool = False
    """Whether only pipelines show it."""
    seed: int = 1
    """Of cases that show it."""


FAULTS = {
    "decoding turns cost no budget": Fault(
        "scheduler", "budget = self.config.max_num_batched_tokens - decoding.count", "budget = self._most_tokens"
    ),
    "a turn is admitted in a step that preempts": Fault(
        "scheduler",
        "            plan.changed = True\n        elif budget > self._draft_slots and",
        "            pass\n        if budget > self._draft_slots and",
    ),
    "waiting turns are tried beyond the seats for them": Fault(
        "scheduler", "len(self.running) < self._most_active", "len(self.running) < self.config.max_num_seqs"
    ),
    "a prompt is cut although chunks are off": Fault(
        "scheduler", "(tokens > budget - slots and not self.config.enable_chunked_prefill)", "False"
    ),
    "a turn is admitted with room for its first chunk": Fault(
        "scheduler", "alone or self.config.scheduler_reserve_full_isl", "alone"
    ),
    "no block is kept free beside running turns": Fault("room", "(self._watermark if self._batch.running else 0)", "0"),
    "blocks that are hit do not count as free": Fault(
        "kv_cache_manager", "            if run.refs:\n", "            if 1:\n"
    ),
    "a threshold holds for a turn that is alone": Fault(
        "config", "if not threshold or turns <= 1:", "if not threshold:", seed=2
    ),
    "an adaptive threshold shares the budget among running turns": Fault(
        "scheduler", "most_prefill_tokens(self.num_running + self.num_waiting)", "most_prefill_tokens(self.num_running)"
    ),
    "a preempted turn keeps its last block findable": Fault(
        "scheduler", "            findable -= 1  #", "            findable -= 0  #", planned_ahead=True
    ),
    "a preempted turn loses the token on its way": Fault(
        "scheduler",
        "            self.plans[-1].late.append((rank, request))\n",
        "            pass\n",
        planned_ahead=True,
    ),
    "a turn whose last token is on its way takes another": Fault(
        "batch", "if self._foresees and not request.stops and", "if False and", planned_ahead=True
    ),
    "an end by a stop token is foreseen": Fault(
        "batch", "if self._foresees and not request.stops and", "if self._foresees and", planned_ahead=True
    ),
    "a full hit computes nothing": Fault(
        "kv_cache_manager", "(request.num_tokens - 1) // self", "request.num_tokens // self"
    ),
    "the front of a table is freed first": Fault(
        "block_pool", "self._drop(table.pop(), table)", "self._drop(table.pop(0), table)"
    ),
    "the next block of a turn is taken a token late": Fault(
        "decoding",
        "return self._residues[self._counter % self._block_size]",
        "return self._residues[self._counter - 1]",
    ),
    "a turn preempted last waits behind the others": Fault(
        "policies.host.queue",
        "self.entries.insert(0, ((), self._first, turn, request))",
        "self.entries.append(((), self._first, turn, request))",
    ),
    "priority leaves out the time of arrival": Fault(
        "policies.rules.priority",
        "return (turn.priority, turn.arrival_s, turn.seq)",
        "return (turn.priority, -turn.seq)",
    ),
    "a turn whose client has left keeps its blocks to itself": Fault(
        "aborts", "        scheduler.kv_cache_manager.cache(request, findable, leaves=True)\n", ""
    ),
    "a turn whose client has left keeps its last block findable": Fault(
        "aborts", "            findable -= latest", "            findable -= 0", planned_ahead=True
    ),
    "an abort is heard of after the step": Fault(
        "replica", "            if scheduler.leaving:\n                jump", "            if 0:\n                jump"
    ),
    "a prompt waits a step less than the interval": Fault(
        "cadence",
        "self._num_executed_steps + 1 - self._last",
        "self._num_executed_steps + 2 - self._last",
        since="0.33",
    ),
    "a turn that preempts itself ends the running pass": Fault(
        "config", 'self.scheduling_policy == "priority" and', "False and", since="0.33"
    ),
    "a window is a token shorter": Fault(
        "engine.groups.spec", "behind = computed_tokens - self.reach + 1", "behind = computed_tokens - self.reach + 2"
    ),
    "a window is found with a block less": Fault(
        "engine.groups.spec", "-(-(self.reach - 1) // self.block_size)", "(self.reach - 1) // self.block_size"
    ),
    "a chunk is freed before its last token is computed": Fault(
        "engine.groups.spec", "return computed_tokens // self.window", "return (computed_tokens + 1) // self.window"
    ),
    "windows between the boundaries are lost": Fault(
        "engine.groups.spec", "interval is None else interval", "interval is None else 0"
    ),
    "a window is kept where none can be hit": Fault(
        "engine.groups.spec", "tokens // alignment_tokens * alignment_tokens // size", "-(-tokens // size)"
    ),
    "a step under way reads what its window frees": Fault(
        "engine.groups.manager", "over = start - in_flight_tokens", "over = start", planned_ahead=True
    ),
    "a window is reserved for one step": Fault(
        "config",
        "return self.max_num_batched_tokens * self.max_concurrent_batches",
        "return self.max_num_batched_tokens",
        planned_ahead=True,
    ),
    "a turn is admitted with room for all windows of its prompt": Fault(
        "engine.groups.manager", "if band.most_blocks is not None and spec.kind", "if False and spec.kind"
    ),
    "the first step is admitted without room": Fault("engine.groups.manager", "max(needed, first)", "needed"),
    "no window is kept where prompts part": Fault(
        "engine.groups.manager", "(request.prompt_tokens - 1, self._junctions[request])", "(request.prompt_tokens - 1,)"
    ),
    "a prompt that ends with a block keeps no window to be sent again": Fault(
        "engine.groups.manager", "(request.prompt_tokens - 1, self", "(request.prompt_tokens, self"
    ),
    "a step ends anywhere in a prompt with states": Fault(
        "engine.groups.boundaries", "if end < prefill_end:", "if False:"
    ),
    "no step ends where the state of a whole prompt is saved": Fault(
        "engine.groups.boundaries", "last_reusable(request.num_tokens, size, steps_back=self._steps_back)", "0"
    ),
    "no step ends where prompts part": Fault(
        "engine.groups.boundaries", "start < junction_tokens < end", "start < junction_tokens < 0"
    ),
    "a state is hit in the step that computes it": Fault(
        "engine.groups.manager", "self._states_to_come.add((chain, first))", "pass"
    ),
    "a state that is saved inside a step takes no block": Fault(
        "engine.groups.spec", "+ self.saves_checkpoint(start, end, prefill_end, steps_back=steps_back)", ""
    ),
    "a turn holds its states from all steps": Fault(
        "engine.groups.spec",
        '        if self.kind == "recurrent":\n            return 2\n',
        '        if self.kind == "recurrent":\n            return 1 << 20\n',
    ),
    "drafts cost no budget": Fault(
        "scheduler", "                budget -= tokens + slots\n", "                budget -= 1\n"
    ),
    "a draft model takes no budget": Fault(
        "engine.speculation.config", 'return 1 if self.method == "draft_model" else 0', "return 0"
    ),
    "the drafter writes into no slots": Fault(
        "engine.speculation.manager", "min(tokens + self._lookahead, ", "min(tokens, "
    ),
    "drafts on their way count as rejected": Fault(
        "engine.speculation.decoding",
        "return request.num_computed_tokens + turn.in_flight_tokens - turn.coming_tokens",
        "return request.num_computed_tokens",
        planned_ahead=True,
    ),
    "an end that accepted drafts bring is foreseen": Fault(
        "engine.speculation.decoding",
        "request.num_tokens - turn.coming_tokens + 1 >= last",
        "request.has_all_tokens",
        planned_ahead=True,
    ),
    "a preempted turn has one token on its way": Fault(
        "scheduler",
        "request.num_output_tokens -= self.plans[-1].tokens_given_to(request)",
        "request.num_output_tokens -= 1",
        planned_ahead=True,
    ),
    "the last block of a hit serves a drafter": Fault(
        "engine.speculation.config",
        "return self._minds_next_token and not self.hash_lookahead_tokens(vllm_version)",
        "return False",
    ),
    "a block is the same whatever token follows it": Fault(
        "engine.speculation.manager", "return max(0, tokens - self._hashed_ahead)", "return tokens", since="0.33"
    ),
    "accepted drafts are hashed with the step that computes them": Fault(
        "engine.speculation.manager",
        'self._hashes_late = config.vllm_version == "0.32" and not config.async_scheduling',
        'self._hashes_late = config.vllm_version != "0.32"',
    ),
    "a prompt that lacks one token enters without rows for drafts": Fault(
        "engine.speculation.decoding", "return self.drafts if cached + self.drafts + 2", "return 0 if cached"
    ),
    "drafts reach beyond the longest context": Fault(
        "engine.speculation.decoding", "self._max_model_len - self.computed(request) - 1)", "self._max_model_len)"
    ),
    "what a window leaves behind is evicted at once": Fault(
        "engine.groups.pool", "self._queue_singly(run, key + pitch, pitch)", "self._queue_singly(run, key, pitch)"
    ),
    "what several groups free is queued block by block": Fault(
        "engine.groups.pool",
        "self._part(run, max(1, blocks // (run.stop - run.start)))",
        "self._split(run, run.stop - 1)",
    ),
    "two turns load the same blocks": Fault(
        "engine.offload.native_runs", "return None if loading else tokens", "return tokens"
    ),
    "what turns generate is stored as well": Fault(
        "engine.offload.native_runs", "tokens = min(tokens, request.prompt_tokens)", "pass"
    ),
    "what found no room is not offered again": Fault(
        "engine.offload.native_runs", "            self._failing[request] = None\n", ""
    ),
    "a turn that starts again offers only what is new": Fault(
        "engine.offload.native_runs", "if self._offers_again:", "if False:", since="0.33"
    ),
    "a turn that is passed over ends the pass": Fault(
        "scheduler", "pass_over(request)\n                continue", "pass_over(request)\n                break"
    ),
    "loads take the blocks that prompts under way lack": Fault(
        "room", "self._reloads.reserved_blocks(self._batch, plan) if loads else 0", "0"
    ),
    "a turn that has loaded its blocks needs no more": Fault(
        "kv_cache_manager", "self.blocks_of(whole_tokens) - request.reload_blocks[1]", "0"
    ),
    "a turn is preempted while a step computes its tokens": Fault(
        "scheduler", "self.ends.defers and steps_of(self.plans, order[place])", "False", planned_ahead=True
    ),
    "blocks are freed while a step writes to them": Fault(
        "ends", "if under_way and self.defers:", "if False:", planned_ahead=True
    ),
    "host memory evicts the front of a context first": Fault(
        "engine.offload.host_policies",
        "run.rank, run.head_first = self.next_rank(), False\n        ranking",
        "run.rank, run.head_first = self.next_rank(), True\n        ranking",
    ),
    "requests that are served have no common place in host memory": Fault(
        "engine.offload.host_policies",
        "if self._ranks_requests else self.next_rank()",
        "if False else self.next_rank()",
        since="0.33",
    ),
    "a block stored twice is used by several": Fault(
        "engine.offload.host_policies", "self._t2 if reused else run.ranking", "self._t2"
    ),
    "what was evicted too early changes nothing": Fault(
        "engine.offload.host_policies", "delta = max(1.0, there / here)", "delta = 0.0"
    ),
    "windows are stored whether or not a prompt can hit them": Fault(
        "engine.offload.group_chunks",
        'if self._alignment is None or self.spec.kind != "sliding":',
        "if True:",
    ),
    "what a window has freed is lost to host memory": Fault(
        "engine.offload.native_groups",
        "found.opened = self._manager.first_blocks(request)",
        "found.opened = [1 << 30] * len(self._groups)",
    ),
    "a chunk of which a part is lost is stored": Fault(
        "engine.offload.group_chunks", "if whole and any(", "if False and any(", since="0.33"
    ),
    "states are not stored": Fault("engine.offload.native_groups", "if not states:", "if True:"),
    "a load brings all tokens of a window's group": Fault(
        "engine.offload.group_chunks", "self.spec.skipped_blocks(stop_tokens)", "0"
    ),
    "a window is found in host memory with a chunk less": Fault(
        "engine.offload.group_chunks", "            if hits == window:", "            if hits == max(1, window - 1):"
    ),
    "windows slide no more once a turn has ended": Fault(
        "ends", "manager.slide(request, max(0, held_tokens - in_flight))", "pass"
    ),
    "groups are freed in their order once a step is over": Fault(
        "engine.groups.manager", "return tables[::-1], blank", "return tables, blank", planned_ahead=True
    ),
    "a block passed by accepted drafts is found": Fault(
        "engine.speculation.groups",
        "known = min(tokens, turn.known_tokens)\n        if self._drops or",
        "known = tokens\n        if self._drops or",
    ),
    "a drafter lets every block of a window be hit": Fault(
        "engine.speculation.groups",
        "found = alike.hit_but_last(contents, tokens, hashed)",
        "found = alike.hit(contents, tokens)",
    ),
    "no block beyond a hit is looked at": Fault(
        "engine.groups.lookup", "min(most_tokens + size, hashed_tokens)", "most_tokens"
    ),
    "a drafter does not mind which state a step leaves": Fault(
        "engine.groups.spec", "return max(0, tokens // block_size - 1) * block_size if steps_back else", "return"
    ),
    "drafts leave no states": Fault("engine.speculation.bands", "self.spare_blocks = drafts", "self.spare_blocks = 0"),
    "no step of drafts is reserved beside a load": Fault(
        "engine.offload.reloads", "sum(blocks) + self._manager.step_blocks", "sum(blocks)"
    ),
    "beside a connector a block's hash covers the next token": Fault(
        "config", "if self.speculation is None or self.tiers is None:", "if True:", since="0.33"
    ),
    "drafts are stored before they are verified": Fault(
        "engine.offload.native",
        "chunks[request] = request.num_tokens - request.drafted.coming_tokens",
        "chunks[request] = batch.computed(request) + plan.verified[request]",
    ),
    "chunks of one use are evicted front first in every group": Fault(
        "engine.offload.keyed_policies", "key=_place, reverse=True", "key=_place"
    ),
    "a turn is planned before its latest token is there": Fault(
        "engine.pipeline.batch", "        if not self._ahead:\n            return 0\n", "", in_pipelines=True
    ),
    "a turn with a token on its way is planned at once": Fault(
        "engine.pipeline.batch",
        "config.pipeline_parallel_size if config.async_scheduling else 0",
        "1 if config.async_scheduling else 0",
        planned_ahead=True,
        in_pipelines=True,
    ),
    "a turn is admitted again before its late tokens": Fault(
        "scheduler", "if head.flight is not None and head.flight.stale:", "if False:", in_pipelines=True
    ),
    "all tokens of a turn are computed once they are planned": Fault(
        "engine.pipeline.batch", "return flight(request).in_flight_tokens", "return 0", in_pipelines=True
    ),
}


def sow(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the functions of a module the code that its faulty text compiles to."""
    path = fault.file if "." in fault.file else f"engine.{fault.file}"
    module = importlib.import_module(f"continuum_sim.{path}")
    source = Path(str(module.__file__)).read_text("utf-8")
    assert source.count(fault.right) == 1, "the text of a fault is stale: find its place again"
    right, wrong = (
        functions(compile(text, "mirror", "exec")) for text in (source, source.replace(fault.right, fault.wrong))
    )
    changed = [name for name in right if right[name] != wrong[name]]
    assert changed
    for name in changed:
        owner: Any = module
        *owners, last = name.split(".")
        for step in owners:
            owner = getattr(owner, step)
        found = vars(owner)[last]
        found = found.func if isinstance(found, cached_property) else found
        monkeypatch.setattr(found.fget if isinstance(found, property) else found, "__code__", wrong[name])


def functions(code: CodeType) -> dict[str, CodeType]:
    """Return the code of every function and method of a module by its qualified name."""
    found = {}
    for const in code.co_consts:
        if isinstance(const, CodeType) and "<" not in const.co_name:
            inside = functions(const)
            if (
                const.co_qualname in [name.rpartition(".")[0] for name in inside]
                and const.co_argcount == 0
                and not const.co_varnames
            ):
                found.update(inside)
            else:
                found[const.co_qualname] = const
    return found


@pytest.mark.repeats(share=8)
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("vllm")
    fault = FAULTS[name]
    version = mirrored_version(str(installed_vllm()))
    if version < fault.since:
        pytest.skip(f"shows on vLLM {fault.since}")
    sow(fault, monkeypatch)
    try:
        report = compare_on_random_cases(
            MOST_CASES,
            parse_policy("lru"),
            STEP_TIME,
            seed=fault.seed,
            async_scheduling=fault.planned_ahead,
            controls=True,
            pipelines=fault.in_pipelines,
            vllm_version=version,
        )
    except (ArithmeticError, AssertionError, LookupError, AttributeError, SimulationError):
        return  # a fault may as well bring the mirror to a halt
    assert report.difference is not None, f"{report.steps} steps of {report.runs} cases did not show it"
