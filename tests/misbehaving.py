"""A real HTTP server in OpenAI's format that misbehaves on purpose, and keeps what it was asked."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

Behaviour = Callable[["Handler", dict[str, Any]], None]

HANG = 3.0  # seconds; beyond any timeout of the tests


class Handler(BaseHTTPRequestHandler):
    """One connection. What it does is decided by the server's script, else it answers well."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: object) -> None:
        """Tests read stderr, so nothing is logged."""

    def do_GET(self) -> None:
        self.send_json(200, {"object": "list", "data": [{"id": name} for name in self.server.offered]})

    def do_POST(self) -> None:
        self.server.paths.append(self.path)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.counting:
            self.server.asked.append(body)
            self.server.authorizations.append(self.headers.get("Authorization", ""))
            self.server.now += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.now)
            behave = self.server.script.popleft() if self.server.script else self.server.behaviour
        try:
            behave(self, body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with self.server.counting:
                self.server.now -= 1

    def send_json(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        self.send_raw(status, json.dumps(value).encode(), headers)

    def send_raw(self, status: int, raw: bytes, headers: dict[str, str] | None = None, promised: int = 0) -> None:
        """`promised`: bytes more than are sent, after which the connection breaks."""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw) + promised))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)
        if promised:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, behaviour: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behaviour = behaviour
        self.script: deque[Behaviour] = deque()
        self.offered = ["fake", "fake-large", "other"]
        self.asked: list[dict[str, Any]] = []
        self.authorizations: list[str] = []
        self.paths: list[str] = []
        self.counting = threading.Lock()
        self.now = self.most_at_once = 0


class Misbehaving:
    """The server as a context manager: ``with Misbehaving() as server: server.script(status(500), well)``."""

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self.server = Server(behaviour or well)
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def __enter__(self) -> Misbehaving:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    @property
    def name(self) -> str:
        """The model's name, as a user gives it."""
        return f"openai:fake@{self.url}"

    @property
    def asked(self) -> list[dict[str, Any]]:
        """The bodies of all requests."""
        return self.server.asked

    @property
    def questions(self) -> list[str]:
        """What the user's last message of each request was."""
        return [body["messages"][-1]["content"] for body in self.asked]

    def script(self, *behaviours: Behaviour) -> Misbehaving:
        """What the next requests meet, one each; those after them meet the server's own behaviour."""
        self.server.script.extend(behaviours)
        return self


# -- behaviours ------------------------------------------------------------------------------------------


def completion(body: dict[str, Any], content: str | None, **other: Any) -> dict[str, Any]:
    """A reply in OpenAI's format."""
    reply = {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }
    return {name: value for name, value in {**reply, **other}.items() if value is not None}


def echo(body: dict[str, Any]) -> str:
    return f"re: {body['messages'][-1]['content']}"


def well(handler: Handler, body: dict[str, Any]) -> None:
    """Answers with what it was asked."""
    handler.send_json(200, completion(body, echo(body)))


def says(content: str | None, **other: Any) -> Behaviour:
    """Answers `content`, with these entries of the reply replaced (None: left out)."""
    return lambda handler, body: handler.send_json(200, completion(body, content, **other))


def billed(**usage: int) -> Behaviour:
    """Answers well, and counts so many tokens."""
    return lambda handler, body: handler.send_json(200, completion(body, echo(body), usage=usage))


def status(code: int, message: str = "no", headers: dict[str, str] | None = None) -> Behaviour:
    """Refuses with an HTTP status."""
    return lambda handler, body: handler.send_json(code, {"error": {"message": message}}, headers)


def hang(handler: Handler, body: dict[str, Any]) -> None:
    """Takes the request and says nothing for longer than anyone waits."""
    time.sleep(HANG)
    handler.close_connection = True


def slow(seconds: float) -> Behaviour:
    """Answers well, after a while."""

    def behave(handler: Handler, body: dict[str, Any]) -> None:
        time.sleep(seconds)
        well(handler, body)

    return behave


def cut_body(handler: Handler, body: dict[str, Any]) -> None:
    """Breaks off in the middle of its reply."""
    handler.send_raw(200, json.dumps(completion(body, echo(body))).encode()[:60], promised=400)


def cut_stream(handler: Handler, body: dict[str, Any]) -> None:
    """Streams its reply in chunks and breaks off in the middle of one."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b'10\r\n{"id": "1", "cho\r\n40\r\nices')
    handler.wfile.flush()
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def malformed(handler: Handler, body: dict[str, Any]) -> None:
    """Replies with JSON that is none."""
    handler.send_raw(200, b'{"id": "1", "choices": [')


def a_page(handler: Handler, body: dict[str, Any]) -> None:
    """Replies with JSON that is no completion."""
    handler.send_json(200, {"welcome": "to the wrong address"})


def repeats_the_key(code: int) -> Behaviour:
    """Refuses, and repeats the key it was sent, as careless gateways do."""

    def behave(handler: Handler, body: dict[str, Any]) -> None:
        handler.send_json(code, {"error": {"message": f"bad request with {handler.headers.get('Authorization')}"}})

    return behave


def refuses(name: str) -> Behaviour:
    """Refuses requests that bring the entry `name`, else answers well."""

    def behave(handler: Handler, body: dict[str, Any]) -> None:
        if name in body:
            handler.send_json(400, {"error": {"message": f"Unsupported parameter: '{name}'"}})
        else:
            well(handler, body)

    return behave
