"""Ask vLLM all that `questions.json` asks and `answers.json` does not answer; run it with the Python that has vLLM.

`python tests/oracles/refresh.py [NAME ...]` asks about the named configurations again, without names what is missing or
was asked otherwise. Every answer is written as it comes, so that a run may be ended and begun again.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
CONFIGS, QUESTIONS, ANSWERS = HERE / "configs", HERE / "questions.json", HERE / "answers.json"
TIMEOUT_S = 120
MOST_BYTES = 6 * 2**30
"""Resident memory at which a question is given up."""

PRELOADED = (
    "vllm.engine.arg_utils",
    "vllm.model_executor.model_loader",
    "vllm.model_executor.models.llama",
    "vllm.model_executor.models.registry",
    "vllm.v1.attention.backends.cpu_attn",
    "vllm.v1.core.kv_cache_utils",
)


def asked() -> list[tuple[str, dict[str, Any]]]:
    """All questions: the name of a configuration, and what is asked otherwise than by default."""
    entries = json.loads(QUESTIONS.read_text("utf-8"))
    return [(name, question) for name, entry in entries.items() for question in entry["questions"]]


def read_answers() -> list[dict[str, Any]]:
    """The table: one record a question with `config`, `question` and `answer`."""
    return json.loads(ANSWERS.read_text("utf-8")) if ANSWERS.exists() else []


def key(name: str, question: dict[str, Any]) -> str:
    """What a question is found by."""
    return name + " " + json.dumps(question, sort_keys=True)


def ask_apart(name: str, question: dict[str, Any]) -> dict[str, Any]:
    """Ask in a process of its own, which is ended after a time or when it grows too large."""
    # The server has imported most of vLLM, which takes far longer than most answers.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ask_vllm", *PRELOADED])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer_into, args=(sender, CONFIGS / name, question), daemon=True)
    process.start()
    sender.close()
    given_up = _wait(process, receiver)
    answer = {"error": given_up, "at": "process"} if given_up else _received(receiver)
    process.kill()
    process.join()
    return answer


def _answer_into(sender: Any, folder: Path, question: dict[str, Any]) -> None:
    import ask_vllm

    sender.send(ask_vllm.ask(folder, question))


def _wait(process: Any, receiver: Any) -> str | None:
    end = time.monotonic() + TIMEOUT_S
    while not receiver.poll(0.2):
        if not process.is_alive():
            return f"the process ended with exit code {process.exitcode}"
        if time.monotonic() > end:
            return f"no answer within {TIMEOUT_S} s"
        if _resident_bytes(process.pid) > MOST_BYTES:
            return f"more than {MOST_BYTES >> 30} GiB of memory"
    return None


def _received(receiver: Any) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = receiver.recv()
    except EOFError:
        return {"error": "the process ended without an answer", "at": "process"}
    return answer


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def write(table: dict[str, dict[str, Any]]) -> None:
    """Write the table in the order of the questions, one record a line."""
    order = [table[found] for found in (key(*each) for each in asked()) if found in table]
    text = "[\n" + ",\n".join(json.dumps(record) for record in order) + "\n]\n"
    partial = ANSWERS.with_suffix(".part")
    partial.write_text(text, "utf-8")
    partial.replace(ANSWERS)


def main(names: list[str]) -> None:
    """Ask what is missing, or all about some configurations."""
    table = {key(record["config"], record["question"]): record for record in read_answers()}
    wanted = [each for each in asked() if each[0] in names or (not names and key(*each) not in table)]
    for done, (name, question) in enumerate(wanted, 1):
        start = time.monotonic()
        answer = ask_apart(name, question)
        table[key(name, question)] = {"config": name, "question": question, "answer": answer}
        write(table)
        outcome = answer.get("error") or answer.get("too_little") or f"{answer['weight_bytes']:,} bytes"
        print(f"{done}/{len(wanted)} {name} {question}: {outcome} ({time.monotonic() - start:.0f} s)", flush=True)
    write(table)


if __name__ == "__main__":
    main(sys.argv[1:])
