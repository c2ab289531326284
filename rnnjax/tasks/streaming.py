"""Streaming inference: a text in pieces, with an output after each."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from rnnjax.data.vocabulary import Vocabulary
from rnnjax.tasks.token_task import TokenTask


class TextStreaming:
    """Reads a text in pieces, each token once, and keeps the state of the network.

        stream = load_run(workdir).stream()
        for word in ("Oil", "prices", "fall"):
            probabilities = stream.feed(word)

    The outputs equal those of one full pass over the text so far. Time for a token and memory do
    not grow with the text.
    """

    def __init__(self, task: TokenTask, params: Any, vocabulary: Vocabulary, max_tokens: int):
        """Starts an empty text.

        Args:
          task: with a unidirectional network.
          params: of the network.
          vocabulary: of the network.
          max_tokens: of a text; later ones are ignored. 0 for no limit.
        """
        self._params = jax.device_put(params)
        self._vocabulary = vocabulary
        self._remaining = max_tokens or None
        self._step = jax.jit(task.advance)
        # A masked step returns the initial state.
        token, mask = jnp.zeros((1, 1), jnp.int32), jnp.zeros((1, 1), bool)
        self._state, self._outputs = self._step(self._params, token, mask)
        for token in task.start_tokens:
            self._read(token)

    def feed(self, text: str) -> Float[np.ndarray, " outcomes"]:
        """Reads the next piece, and returns the probability of each outcome after it.

        Args:
          text: complete words, since each piece is cut into tokens by itself. A piece without
            tokens changes nothing.

        Raises:
          InputError: it is no valid Unicode.
        """
        tokens = self._vocabulary.encode([text]).values
        for token in tokens[: self._remaining]:
            self._read(token)
        if self._remaining is not None:
            self._remaining = max(self._remaining - len(tokens), 0)
        return np.exp(np.asarray(self._outputs[0]))

    def _read(self, token: int) -> None:
        tokens, mask = np.full((1, 1), token, np.int32), np.ones((1, 1), bool)
        self._state, self._outputs = self._step(self._params, tokens, mask, self._state)
