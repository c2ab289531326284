"""Collects the texts of concurrent requests into batches, in a queue that has an end."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from rnnjax.errors import InputError


class QueueFullError(Exception):
    """More texts wait than the queue holds."""


class _Request(NamedTuple):
    texts: Sequence[str]
    answers: asyncio.Future[list[Any]]


class Batcher:
    """Answers requests in batches, one at a time, on a thread of its own.

    Attributes:
      waiting: number of texts that are in the queue, or being read.
    """

    def __init__(
        self, answer: Callable[[list[str]], list[Any]], batch_texts: int, waiting_texts: int
    ):
        """Makes an idle batcher.

        Args:
          answer: from texts to their answers, which do not depend on one another.
          batch_texts: most texts of a batch, unless one request has more.
          waiting_texts: most texts that wait.
        """
        self.waiting = 0
        self._answer, self._limit, self._capacity = answer, batch_texts, waiting_texts
        self._queue: asyncio.Queue[_Request] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1)

    async def submit(self, texts: Sequence[str]) -> list[Any]:
        """Returns the answers to texts.

        Raises:
          QueueFullError: too many texts wait.
          InputError: a text cannot be answered.
        """
        if self.waiting + len(texts) > self._capacity:
            raise QueueFullError
        self.waiting += len(texts)
        try:
            request = _Request(texts, asyncio.get_running_loop().create_future())
            self._queue.put_nowait(request)
            return await request.answers
        finally:
            self.waiting -= len(texts)

    async def run(self) -> None:
        """Answers requests until it is cancelled."""
        try:
            while True:
                batch = [await self._queue.get()]
                while not self._queue.empty() and sum(len(r.texts) for r in batch) < self._limit:
                    batch.append(self._queue.get_nowait())
                await self._answer_batch([r for r in batch if not r.answers.done()])
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)

    async def _answer_batch(self, batch: Sequence[_Request]) -> None:
        texts = [text for request in batch for text in request.texts]
        loop = asyncio.get_running_loop()
        try:
            answers = await loop.run_in_executor(self._thread, self._answer, texts)
        except Exception as error:
            if isinstance(error, InputError) and len(batch) > 1:
                for request in batch:  # one text is to blame, and not the others
                    await self._answer_batch([request])
                return
            for request in batch:
                if not request.answers.done():
                    request.answers.set_exception(error)
            return
        start = 0
        for request in batch:
            end = start + len(request.texts)
            if not request.answers.done():
                request.answers.set_result(answers[start:end])
            start = end
