"""A text that comes in pieces, and what a trained network says of it so far."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from rnnjax.data.vocabulary import Vocabulary
from rnnjax.tasks.token_task import TokenTask


class TextStreaming:
    """Reads a text as it comes, each token once, and keeps what the network remembers.

        stream = TrainedRun.load(workdir).stream()
        for word in ("Oil", "prices", "fall"):
            probabilities = stream.feed(word)

    What it says is what the network would say of all that was fed, read in one pass. However long
    the text becomes, a token takes the same time and the memory stays the same.
    """

    def __init__(self, task: TokenTask, params: Any, vocabulary: Vocabulary, max_tokens: int):
        """Begins a text, of which there is nothing yet.

        Args:
          task: of the network, which reads from left to right.
          params: of the network.
          vocabulary: numbers the tokens.
          max_tokens: of a text, beyond which the network reads nothing; 0 for no limit.
        """
        self._params = jax.device_put(params)
        self._vocabulary = vocabulary
        self._left = max_tokens or None
        self._step = jax.jit(task.advance)
        # A masked step changes nothing, so that this is the state in which the layers begin.
        blank = jnp.zeros((1, 1), jnp.int32), jnp.zeros((1, 1), bool)
        self._kept, self._answer = self._step(self._params, *blank)
        for token in task.opening:
            self._read(token)

    def feed(self, text: str) -> Float[np.ndarray, " outcomes"]:
        """Reads on, and returns the probability of each outcome after all that was fed.

        Args:
          text: what comes next, of whole words: a piece is cut into tokens by itself. It may hold
            none, before the first word as well; then nothing changes.

        Raises:
          InputError: it is no valid Unicode.
        """
        tokens = self._vocabulary.encode([text]).tokens
        for token in tokens[: self._left]:
            self._read(token)
        if self._left is not None:
            self._left = max(self._left - len(tokens), 0)
        return np.exp(np.asarray(self._answer[0]))

    def _read(self, token: int) -> None:
        step = np.full((1, 1), token, np.int32), np.ones((1, 1), bool)
        self._kept, self._answer = self._step(self._params, *step, self._kept)
