"""A completions server from the standard library that generates made-up tokens at a fixed pace."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

METRICS = 'vllm:cache_config_info{block_size="16",cache_dtype="auto",num_gpu_blocks="200"} 1.0\n'


@dataclass
class FakeServer:
    """The server's behaviour, and the requests it received."""

    first_token_s: float = 0.02
    token_s: float = 0.005
    metrics: str = METRICS
    max_model_len: int = 2048
    fault: str = ""
    """`500`, `silence`, `cut`, `error-event`, `short` or `no-ids`; nothing for none."""
    faultless: int = 0
    """Completions before the fault begins."""
    tells_cached: bool = True
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    gaps_s: list[float] = field(default_factory=list)
    """Actual times from one token to the next: a busy machine wakes a sleeper late."""

    def answer(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        self.asked.append(body)
        fault = self.fault if len(self.asked) > self.faultless else ""
        if fault == "500":
            data = json.dumps({"error": {"message": "EngineCore encountered\n an issue"}}).encode()
            handler.send_response(500)
            handler.end_headers()
            handler.wfile.write(data)
            return
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.end_headers()
        time.sleep(self.first_token_s)
        count = body["max_tokens"] - (2 if fault == "short" else 0)
        sent_s = time.monotonic()
        for number in range(count):
            if number:
                time.sleep(self.token_s)
                self.gaps_s.append(time.monotonic() - sent_s)
            sent_s = time.monotonic()
            if number == 2 and fault == "silence":
                time.sleep(30)
            if number == 2 and fault == "cut":
                handler.wfile.write(b'data: {"choices": [{"tok')
                return
            if number == 2 and fault == "error-event":
                self._send(handler, {"error": {"message": "out of memory"}})
                return
            ids = None if fault == "no-ids" else [20 + number]
            self._send(handler, {"choices": [{"index": 0, "text": "", "token_ids": ids}]})
        details = {"cached_tokens": 16} if self.tells_cached else None
        self._send(handler, {"choices": [], "usage": {"prompt_tokens": 1, "prompt_tokens_details": details}})
        handler.wfile.write(b"data: [DONE]\n\n")

    def _send(self, handler: BaseHTTPRequestHandler, event: dict[str, Any]) -> None:
        handler.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        handler.wfile.flush()


class _PatientServer(ThreadingHTTPServer):
    """Keeps connections waiting when too busy to accept them, instead of resetting them."""

    request_queue_size = 256


@contextmanager
def serving(server: FakeServer) -> Iterator[FakeServer]:
    """Serve on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            pages = {
                "/version": {"version": "0.32.0"},
                "/v1/models": {"data": [{"id": "fake", "max_model_len": server.max_model_len}]},
            }
            self.send_response(200)
            self.end_headers()
            text = server.metrics if self.path == "/metrics" else json.dumps(pages[self.path])
            self.wfile.write(text.encode())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path == "/v1/completions":
                with suppress(BrokenPipeError, ConnectionResetError):  # the client may disconnect
                    server.answer(self, json.loads(body))
            else:
                self.send_response(404)
                self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    http = _PatientServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_port}"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
