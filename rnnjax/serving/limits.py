"""Limits of a server, and the middleware that holds requests to their size and time."""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Limits(NamedTuple):
    """Limits of a server.

    Attributes:
      request_bytes: of the body of a request.
      request_seconds: for the body to arrive.
      texts: of a request.
      characters: of a text.
      waiting_texts: of all requests that wait for the network.
      batch_texts: that the network reads at once.
      generated_tokens: of a generated text.
      streams: texts that are generated at a time.
    """

    request_bytes: int = 2**20
    request_seconds: float = 10.0
    texts: int = 256
    characters: int = 20_000
    waiting_texts: int = 1024
    batch_texts: int = 64
    generated_tokens: int = 2_000
    streams: int = 4


class RequestLimit:
    """ASGI middleware: refuses bodies that are too large with 413, and those too slow with 408."""

    def __init__(self, app: Any, limits: Limits):
        """Wraps an application."""
        self._app, self._limits = app, limits

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Reads the whole body before the application sees the request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limits = self._limits
        try:
            async with asyncio.timeout(limits.request_seconds):
                body = await self._read(scope, receive)
        except TimeoutError:
            seconds = limits.request_seconds
            await _refuse(send, 408, f"the body did not arrive within {seconds:g} s; send it anew")
            return
        if body is None:
            await _refuse(
                send,
                413,
                f"the body has more than {limits.request_bytes:,} bytes; send fewer texts at once",
            )
            return
        messages = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def replay() -> Message:
            return next(messages, None) or await receive()

        await self._app(scope, replay, send)

    async def _read(self, scope: Message, receive: Receive) -> bytes | None:
        """Returns the body; None if it is too large."""
        limit = self._limits.request_bytes
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > limit:
            return None
        parts, size, has_more = [], 0, True
        while has_more:
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            has_more = message.get("more_body", False)
            if size > limit:
                return None
        return b"".join(parts)


async def _refuse(send: Send, status: int, reason: str) -> None:
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"detail": reason}).encode()})
