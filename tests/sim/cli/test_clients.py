"""Clients that leave, as a user asks for them: flags, summary, tables, refusals."""

from __future__ import annotations

import json

import pytest

import continuum_sim as cs
from support.cli import printed, refused

LOAD = ("--limit", 8, "--max-turns", 6, "--rate", 1, "--kv-blocks", 1500, "--max-model-len", 20000)


def test_a_run_says_what_its_clients_did(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("--request-timeout", 5, "--abort-rate", 0.2, "--retry", 1)
    told = json.loads(printed(capsys, "run", *LOAD, *asked, "--json"))
    did = told["clients"]
    assert did["aborted"] > 0
    assert did["timed_out"] > did["retries"] > 0
    assert 0 < did["given_up"] < told["programs"]
    assert told["time_s"]["retry"] > 0
    text = printed(capsys, "run", *LOAD, *asked)
    assert f"{did['timed_out']} requests timed out" in text
    assert f"{did['given_up']} of 8 programs were given up by their clients" in " ".join(text.split())


def test_tables_tell_which_turns_were_sent_again_and_which_programs_given_up() -> None:
    settings = {"limit": 8, "max_turns": 6, "rate": 1.0, "kv_blocks": 1500, "max_model_len": 20000}
    result = cs.run(**settings, request_timeout=5.0, abort_rate=0.2, retry=1)  # type: ignore[arg-type]
    assert result.summary.clients
    assert result.programs.given_up.sum() == result.summary.clients.given_up
    assert result.turns.aborted.sum() == result.summary.clients.aborted
    assert set(result.turns.requests) == {1, 2}
    assert ((result.turns.retry_s > 0) == (result.turns.requests > 1)).all()
    plain = cs.run(**settings)  # type: ignore[arg-type]
    assert not plain.summary.clients
    assert not plain.programs.given_up.any()


def test_a_program_given_up_meets_no_objective() -> None:
    settings = {"limit": 8, "max_turns": 6, "rate": 1.0, "job_timeout": 4.0, "slo": "jct=100"}
    result = cs.run(**settings)  # type: ignore[arg-type]
    given_up = result.programs.given_up.sum()
    assert given_up > 0
    assert result.summary.jct_s.max <= 4.0 + 1e-6
    assert result.summary.slo
    assert result.summary.slo.program_share == pytest.approx(1 - given_up / 8)


def test_what_cannot_be_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--retry" in refused(capsys, "run", *LOAD, "--retry", 3)
    tiers = refused(capsys, "run", *LOAD, "--job-timeout", 9, "--dram-gb", 50)
    assert "clients that leave are simulated without memory tiers" in tiers
    assert "abort_rate is 2.0, expected a probability" in refused(capsys, "run", *LOAD, "--abort-rate", 2)


def test_a_run_that_answers_nobody_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "run", "--limit", 1, "--max-turns", 3, "--request-timeout", 0.0001)
    assert "no turn was answered in the time that counts" in said
