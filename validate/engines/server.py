"""A running server behind the OpenAI completions API, as `vllm serve` offers it."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from continuum_sim.errors import ConfigError
from continuum_sim.validate.engines.interface import EngineError, EngineFacts, TurnAnswer, TurnRequest

_MOST_TURNS: Final = 256
"""Turns in flight at once; each holds a thread and a connection."""
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Settings that a server does not report."""

    max_num_batched_tokens: int | None = None
    max_num_seqs: int | None = None
    vocab_size: int = 32_000
    """Prompts hold random token ids below this."""
    num_gpu_blocks: int | None = None
    block_size: int | None = None
    max_model_len: int | None = None
    async_scheduling: bool = True
    timeout_s: float = 600.0
    """Seconds without an answer after which the run ends."""


@dataclass(frozen=True)
class Servers:
    """Connects to running servers, one per policy."""

    urls: Mapping[str, str]
    """Policy to base URL, such as `http://localhost:8000`."""
    settings: ServerSettings

    async def __call__(
        self, policy: str | None, settings: Mapping[str, Any], folder: Path, like: EngineFacts | None
    ) -> ServerEngine:
        """Connect; see `EngineStarter`. A survey (no policy) uses the first server."""
        url = next(iter(self.urls.values())) if policy is None else self.urls[policy]
        link = _Link(url, self.settings.timeout_s)
        facts = await asyncio.to_thread(read_facts, link, self.settings)
        return ServerEngine(link, facts)


@dataclass
class ServerEngine:
    """A server; see `Engine`. Its step log, if there is one, is not accessible."""

    _link: _Link
    facts: EngineFacts
    step_log: None = field(default=None, init=False)
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(_MOST_TURNS), init=False)

    async def turn(self, request: TurnRequest) -> TurnAnswer:
        """Serve one turn, streamed."""
        body: dict[str, Any] = {
            "model": self.facts.model,
            "prompt": request.prompt_token_ids,
            "max_tokens": request.output_tokens,
            "min_tokens": request.output_tokens,
            "ignore_eos": True,
            "temperature": 0.0,
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_token_ids": True,
            "request_id": request.request_id,
        }
        if identity := request.identity():
            body["vllm_xargs"] = identity
        call = _Call(self._link, body, request)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call.run)
        except asyncio.CancelledError:
            call.cancel()
            raise

    async def forget(self) -> None:
        """Empty the prefix cache, if the server allows clients to (VLLM_SERVER_DEV_MODE=1)."""
        with suppress(EngineError):
            await asyncio.to_thread(self._link.send, "POST", "/reset_prefix_cache")

    async def close(self) -> None:
        """Close the connections; the server itself keeps running."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def read_facts(link: _Link, settings: ServerSettings) -> EngineFacts:
    """Ask a server for its settings; those it does not report come from `settings`.

    Raises
    ------
    ConfigError
        Naming the settings that are in neither.
    EngineError
        If the server does not answer.
    """
    version = json.loads(link.send("GET", "/version")).get("version", "unknown")
    models = json.loads(link.send("GET", "/v1/models"))["data"]
    if not models:
        raise EngineError(f"server {link.url}: it serves no model")
    cache = _cache_config(link.send("GET", "/metrics"))
    known = {
        "--kv-blocks": settings.num_gpu_blocks or _whole(cache.get("num_gpu_blocks")),
        "--block-size": settings.block_size or _whole(cache.get("block_size")),
        "--max-model-len": settings.max_model_len or _whole(models[0].get("max_model_len")),
        "--max-num-batched-tokens": settings.max_num_batched_tokens,
        "--max-num-seqs": settings.max_num_seqs,
    }
    told = {name: value for name, value in known.items() if value is not None}
    if unknown := [name for name in known if name not in told]:
        names = ", ".join(unknown)
        raise ConfigError(f"server {link.url} does not tell all its settings: give {names} as it was started with")
    return EngineFacts(
        engine=f"server at {link.url}",
        version=str(version),
        model=str(models[0]["id"]),
        device="as the server's",
        num_gpu_blocks=told["--kv-blocks"],
        block_size=told["--block-size"],
        max_num_batched_tokens=told["--max-num-batched-tokens"],
        max_num_seqs=told["--max-num-seqs"],
        max_model_len=told["--max-model-len"],
        vocab_size=settings.vocab_size,
        async_scheduling=settings.async_scheduling,
    )


def _cache_config(metrics: bytes) -> dict[str, str]:
    """Read the labels of the Prometheus metric in which vLLM publishes its cache settings."""
    for line in metrics.decode("utf-8", "replace").splitlines():
        if line.startswith("vllm:cache_config_info{"):
            return dict(_LABEL.findall(line))
    return {}


def _whole(value: object) -> int | None:
    try:
        return int(str(value))
    except ValueError:
        return None


class _Link:
    """The address of a server."""

    def __init__(self, url: str, timeout_s: float) -> None:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"--base-url {url!r}: expected something like http://localhost:8000")
        # OpenAI clients take `…/v1`; the other pages are beside it.
        self._path = parts.path.rstrip("/").removesuffix("/v1")
        self._parts = parts
        self.url = f"{parts.scheme}://{parts.netloc}{self._path}"
        self.timeout_s = timeout_s

    def connect(self) -> HTTPConnection:
        kind = HTTPSConnection if self._parts.scheme == "https" else HTTPConnection
        assert self._parts.hostname is not None
        return kind(self._parts.hostname, self._parts.port, timeout=self.timeout_s)

    def ask(self, connection: HTTPConnection, method: str, path: str, body: object = None) -> HTTPResponse:
        """Send a request and raise if the answer is an error."""
        data = None if body is None else json.dumps(body).encode()
        headers = {} if data is None else {"Content-Type": "application/json"}
        connection.request(method, self._path + path, data, headers)
        response = connection.getresponse()
        if response.status != 200:
            raise EngineError(f"server {self.url}{path} answered {response.status}: {_reason(response.read())}")
        return response

    def send(self, method: str, path: str) -> bytes:
        """Request a whole page.

        Raises
        ------
        EngineError
            If it does not arrive.
        """
        connection = self.connect()
        try:
            return self.ask(connection, method, path).read()
        except (OSError, HTTPException) as error:
            raise EngineError(f"server {self.url}{path}: {_why(error, self.timeout_s)}") from None
        finally:
            connection.close()


class _Call:
    """One streamed completion, in its own thread."""

    def __init__(self, link: _Link, body: dict[str, Any], request: TurnRequest) -> None:
        self._link, self._body, self._request = link, body, request
        self._connection = link.connect()

    def cancel(self) -> None:
        """Close the connection, which ends the request in the server and the thread here."""
        with suppress(OSError, AttributeError):
            self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def run(self) -> TurnAnswer:
        token_ids: list[int] = []
        times_s: list[float] = []
        cached: int | None = None
        try:
            response = self._link.ask(self._connection, "POST", "/v1/completions", self._body)
            for event in _events(response):
                if "error" in event:
                    raise self._error(str(event["error"].get("message", event["error"])))
                for choice in event.get("choices", []):
                    new = choice.get("token_ids") or []
                    token_ids += new
                    times_s += [time.monotonic()] * len(new)
                details = (event.get("usage") or {}).get("prompt_tokens_details")
                cached = details.get("cached_tokens") if details else cached
        except (OSError, HTTPException, ValueError) as error:
            raise self._error(_why(error, self._link.timeout_s)) from None
        finally:
            self._connection.close()
        if len(token_ids) != self._request.output_tokens:
            raise self._error(
                f"{len(token_ids)} of {self._request.output_tokens} token ids came back; it must know return_token_ids"
            )
        return TurnAnswer(token_ids, times_s[0], times_s[-1], cached, token_times_s=tuple(times_s))

    def _error(self, why: str) -> EngineError:
        return EngineError(f"server {self._link.url}: {self._request.request_id}: {why}")


def _events(response: HTTPResponse) -> Iterator[dict[str, Any]]:
    """Yield the JSON of server-sent events as they arrive."""
    for line in response:
        if line.startswith(b"data:"):
            data = line[5:].strip()
            if data == b"[DONE]":
                return
            yield json.loads(data)


def _reason(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    with suppress(ValueError, AttributeError):
        found = json.loads(text)
        text = str((found.get("error") or found).get("message") or text)
    return " ".join(text.split())[:300]


def _why(error: Exception, timeout_s: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s:g} s (--timeout)"
    return str(error) or type(error).__name__
