"""Generation of text from a language model: sampling and beam search, of many prompts at once."""

import functools
import time
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.data.vocabulary import END, PADDING, Vocabulary
from rnnjax.errors import InputError
from rnnjax.tasks.generation_steps import (
    Constraints,
    GenerationTask,
    Rows,
    advance,
    sample_step,
    search,
)
from rnnjax.tasks.regular_expressions import compile_pattern, compile_search
from rnnjax.tasks.sampling import GenerationOptions
from rnnjax.tasks.token_automaton import (
    UNREACHABLE,
    TokenAutomaton,
    TokenTexts,
    make_token_automaton,
)

_ROWS = 32
"""Most prompts or beams at once."""
_PROMPT_TOKENS = 16
"""Tokens of a prompt that are read in one call."""


class TextGenerator:
    """Generates texts that continue prompts; the text of a prompt does not depend on the others."""

    def __init__(
        self,
        task: GenerationTask,
        params: Any,
        vocabulary: Vocabulary,
        length: int,
        options: GenerationOptions,
    ):
        """Checks the options and compiles pattern and stop strings.

        Args:
          task: with the network.
          params: of the network.
          vocabulary: of the network.
          length: most tokens of a text.
          options: of the generation.

        Raises:
          InputError: a value is out of its range, or no text of so few tokens matches the pattern.
        """
        options.check()
        if length < 1:
            raise InputError(f"length: given {length}, expected 1 or more")
        self.num_tokens = 0
        """Number of tokens generated so far."""
        self.timed_tokens, self.seconds = 0, 0.0
        """Number of tokens after the first one of each prompt, and the time of sampling them."""
        self._task, self._params, self._vocabulary = task, jax.device_put(params), vocabulary
        self._length, self._options = length, options
        self._texts = TokenTexts.of(vocabulary)
        self._end = PADDING if vocabulary.has_line_ends else END
        pattern = stop = None
        if options.pattern:
            compiler = functools.partial(compile_pattern, options.pattern)
            pattern = make_token_automaton(compiler, vocabulary)
            _check_distance(pattern, length, options.pattern)
        if options.stop:
            compiler = functools.partial(compile_search, options.stop)
            stop = make_token_automaton(compiler, vocabulary)
        self._pattern, self._stop = pattern, stop
        self._constraints = jax.device_put(Constraints(pattern, stop))

    def pieces(self, prompt: str) -> Iterator[str]:
        """Yields the continuation of a prompt as it is generated, up to the end of the text.

        Raises:
          InputError: the prompt is not valid Unicode.
        """
        if self._options.beam_size:
            yield from self.generate([prompt])
            return
        stops, text, num_yielded = self._options.stop, "", 0
        for (token,) in self._sample([prompt]):
            text += self._token_text(token, text or prompt)
            end = find_stop(text, stops)
            if end is None:
                # The start of a stop string waits until it is clear how the text goes on.
                end = len(text) - longest_partial_stop(text, stops)
            if end > num_yielded:
                yield text[num_yielded:end]
                num_yielded = end
        if num_yielded < len(text) and find_stop(text, stops) is None:
            yield text[num_yielded:]

    def generate(self, prompts: Sequence[str]) -> Iterator[str]:
        """Yields the continuation of each prompt, in their order.

        Raises:
          InputError: a prompt is not valid Unicode.
        """
        size = max(_ROWS // max(self._options.beam_size, 1), 1)
        generate_tokens = self._search if self._options.beam_size else self._sample_all
        for start in range(0, len(prompts), size):
            batch = prompts[start : start + size]
            for prompt, tokens in zip(batch, generate_tokens(batch), strict=True):
                text = ""
                for token in tokens:
                    text += self._token_text(token, text or prompt)
                yield text[: find_stop(text, self._options.stop)]

    def _token_text(self, token: int, preceding: str) -> str:
        """Returns the text that a token adds to a text or prompt, a space included."""
        is_first = begins_line(preceding)
        return (self._texts.first if is_first else self._texts.inside)[token]

    def _sample(self, prompts: Sequence[str]) -> Iterator[list[int]]:
        """Yields the next token of each text, padding where it has ended, until all have ended."""
        rows, _ = self._read_prompts(prompts)
        # A key for each prompt, so that its text depends neither on the others nor on its row.
        digests = np.array([zlib.crc32(prompt.encode()) for prompt in prompts], np.uint32)
        fold_in = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
        keys = fold_in(jax.random.key(self._options.seed), digests)
        started = 0.0
        has_ended = np.zeros(len(prompts), bool)
        for index in range(self._length):
            tokens, is_last, rows = sample_step(
                self._params,
                rows,
                keys,
                index,
                self._constraints,
                task=self._task,
                options=self._options._replace(seed=0, stop=(), pattern=""),
                length=self._length,
                end=self._end,
            )
            has_ended |= np.asarray(tokens) == self._end
            count = int(np.sum(~has_ended))
            self.num_tokens += count
            if index:  # the first step compiles
                self.timed_tokens += count
                self.seconds += time.perf_counter() - started
            started = time.perf_counter()
            if has_ended.all():
                return
            yield np.where(has_ended, PADDING, tokens).tolist()
            has_ended |= np.asarray(is_last)
            if has_ended.all():
                return

    def _sample_all(self, prompts: Sequence[str]) -> list[list[int]]:
        columns = list(self._sample(prompts))
        return [
            [token for token in row if token != PADDING] for row in zip(*columns, strict=True)
        ] or [[] for _ in prompts]

    def _search(self, prompts: Sequence[str]) -> list[list[int]]:
        """Returns the tokens of the best hypothesis for each prompt."""
        rows, last = self._read_prompts(prompts, leave_last=True)
        result = search(
            self._params,
            rows,
            jnp.asarray(last),
            self._constraints,
            task=self._task,
            options=self._options._replace(seed=0, stop=(), pattern=""),
            length=self._length,
            end=self._end,
        )
        texts = [
            [token for token in row if token not in (PADDING, self._end)]
            for row in np.asarray(result).tolist()
        ]
        self.num_tokens += sum(map(len, texts))
        return texts

    def _read_prompts(
        self, prompts: Sequence[str], *, leave_last: bool = False
    ) -> tuple[Rows, list[int]]:
        """Returns the state after the prompts, and the last token of each.

        Args:
          prompts: at least one.
          leave_last: the last token is not read.
        """
        num_rows, sequences = len(prompts), self._vocabulary.encode(prompts)
        tokens = [
            [END, *row.tolist()] for row in np.split(sequences.values, sequences.offsets[1:-1])
        ]
        last = [row[-1] for row in tokens]
        occurred = np.zeros((num_rows, len(self._vocabulary)), bool)
        for row, prompt_tokens in enumerate(tokens):
            occurred[row, prompt_tokens[1:]] = True
        lengths = [len(row) - leave_last for row in tokens]
        # A masked step keeps the initial state.
        blank = jnp.zeros((num_rows, 1), jnp.int32), jnp.zeros((num_rows, 1), bool)
        carry, logits = advance(self._params, *blank, task=self._task)
        for start in range(0, max(lengths), _PROMPT_TOKENS):
            chunk = np.zeros((num_rows, _PROMPT_TOKENS), np.int32)
            mask = np.zeros(chunk.shape, bool)
            for row, prompt_tokens in enumerate(tokens):
                part = prompt_tokens[start : min(start + _PROMPT_TOKENS, lengths[row])]
                chunk[row, : len(part)] = part
                mask[row, : len(part)] = True
            carry, logits = advance(self._params, chunk, mask, carry, task=self._task)
        pattern = [self._pattern.start if self._pattern else 0] * num_rows
        stop = [0] * num_rows
        if self._stop:
            states = self._stop.start_inside, self._stop.start
            stop = [states[begins_line(prompt)] for prompt in prompts]
        counts = [0] * num_rows
        integers = (jnp.array(values, jnp.int32) for values in (pattern, stop, counts))
        return Rows(carry, logits, jnp.asarray(occurred), *integers), last


def begins_line(preceding: str) -> bool:
    """Returns whether the text after a text begins a line, or follows white space."""
    return not preceding or preceding[-1].isspace()


def find_stop(text: str, stops: Sequence[str]) -> int | None:
    """Returns the position of the first stop string in a text; None without one."""
    positions = [position for stop in stops if (position := text.find(stop)) >= 0]
    return min(positions, default=None)


def longest_partial_stop(text: str, stops: Sequence[str]) -> int:
    """Returns the length of the longest start of a stop string that a text ends with."""
    lengths = (
        length for stop in stops for length in range(1, len(stop)) if text.endswith(stop[:length])
    )
    return max(lengths, default=0)


def _check_distance(automaton: TokenAutomaton, length: int, pattern: str) -> None:
    """Raises InputError if no text of so few tokens matches."""
    distance = automaton.distances[automaton.start]
    if distance == UNREACHABLE:
        raise InputError(
            f"pattern: given {pattern!r}, which no text of the network's tokens matches; expected "
            "one of characters and words in its vocabulary"
        )
    if distance > length:
        raise InputError(
            f"pattern: given {pattern!r} with length={length}, and a match has at least "
            f"{distance} tokens; expected that length or more"
        )
