"""The HTTP application over a network."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import fastapi
import pydantic
from fastapi.concurrency import iterate_in_threadpool, run_in_threadpool
from fastapi.responses import JSONResponse, StreamingResponse

import rnnjax
from rnnjax.errors import InputError
from rnnjax.serving.batching import Batcher, QueueFullError
from rnnjax.serving.limits import Limits, RequestLimit
from rnnjax.serving.network import ServedNetwork
from rnnjax.tasks.sampling import GenerationOptions

_BUSY = "too many requests wait; try again in a second"


class Texts(pydantic.BaseModel):
    """The body of a request for answers."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    texts: list[str] = pydantic.Field(min_length=1)


class Prompt(pydantic.BaseModel):
    """The body of a request for a generated text."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    prompt: str = ""
    length: int = pydantic.Field(default=100, ge=1)
    temperature: float = pydantic.Field(default=1.0, ge=0)
    seed: int = pydantic.Field(default=0, ge=0)


def make_app(network: ServedNetwork, limits: Limits | None = None) -> fastapi.FastAPI:
    """Returns the application of a network, with a page on it at /docs.

    Args:
      network: that answers.
      limits: None for the defaults.
    """
    limits = limits or Limits()
    batcher = Batcher(network.answer, limits.batch_texts, limits.waiting_texts)

    @contextlib.asynccontextmanager
    async def lifespan(app: fastapi.FastAPI) -> AsyncIterator[None]:
        worker = asyncio.create_task(batcher.run())
        yield
        worker.cancel()

    app = fastapi.FastAPI(title=network.name, version=rnnjax.__version__, lifespan=lifespan)
    app.add_middleware(RequestLimit, limits=limits)  # pyright: ignore[reportArgumentType]
    num_streams = 0

    def check_length(text: str) -> None:
        if len(text) > limits.characters:
            raise fastapi.HTTPException(
                413,
                f"a text has {len(text):,} characters, expected at most {limits.characters:,}: "
                "cut it, or send its parts",
            )

    @app.exception_handler(InputError)
    async def refuse_input(request: fastapi.Request, error: InputError) -> JSONResponse:
        del request
        return JSONResponse({"detail": str(error)}, 400)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Returns the task of the network, and how many texts wait."""
        return {"status": "ok", "task": network.task, "waiting": batcher.waiting}

    @app.post("/predict")
    async def predict(body: Texts) -> dict[str, Any]:
        """Returns the answer to each text, in their order."""
        if len(body.texts) > limits.texts:
            raise fastapi.HTTPException(
                413,
                f"given {len(body.texts):,} texts, expected at most {limits.texts:,}: send them "
                "in several requests",
            )
        for text in body.texts:
            check_length(text)
        try:
            return {"answers": await batcher.submit(body.texts)}
        except QueueFullError:
            raise fastapi.HTTPException(503, _BUSY, {"Retry-After": "1"}) from None

    @app.post("/generate")
    async def generate(body: Prompt) -> StreamingResponse:
        """Streams the continuation of a prompt, as it is generated."""
        nonlocal num_streams
        check_length(body.prompt)
        if body.length > limits.generated_tokens:
            raise fastapi.HTTPException(
                413, f"length: given {body.length}, expected at most {limits.generated_tokens:,}"
            )
        options = GenerationOptions(temperature=body.temperature, seed=body.seed)
        if num_streams >= limits.streams:
            raise fastapi.HTTPException(503, _BUSY, {"Retry-After": "1"})
        num_streams += 1
        try:
            pieces = network.generate(body.prompt, body.length, options)
            first = await run_in_threadpool(next, pieces, "")  # errors come before the response
        except BaseException:
            num_streams -= 1
            raise

        async def stream() -> AsyncIterator[str]:
            nonlocal num_streams
            try:
                yield first
                async for piece in iterate_in_threadpool(pieces):
                    yield piece
            finally:
                num_streams -= 1

        return StreamingResponse(stream(), media_type="text/plain; charset=utf-8")

    return app
