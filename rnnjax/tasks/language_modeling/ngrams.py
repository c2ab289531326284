"""Counted language models, unigrams and Kneser-Ney bigrams: baselines of a network's perplexity."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Self

import numpy as np
from jaxtyping import Float64, Int32, Int64

from rnnjax.data.array_files import read_blocks
from rnnjax.data.vocabulary import count_tokens

_DISCOUNT = 0.5
"""Discount where no n-gram was counted once, so that the estimate has nothing to go by."""


def estimate_discount(counts: Sequence[int] | Int64[np.ndarray, " ngrams"]) -> float:
    """Returns the discount n_1 / (n_1 + 2 n_2) of n-grams, n_r of which were counted r times.

    Source: Ney, Essen, Kneser, On structuring probabilistic dependences in stochastic language
    modelling, Computer Speech and Language 8 (1994); Chen, Goodman, An empirical study of smoothing
    techniques for language modeling, Computer Speech and Language 13 (1999), section 2.7.
    """
    counts = np.asarray(counts)
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    return once / (once + 2 * twice) if once else _DISCOUNT


@dataclasses.dataclass(frozen=True, eq=False)
class Unigrams:
    r"""Discounted frequencies of tokens, interpolated with the uniform distribution.

    .. math::
        p(w) = \frac{\max(c_w - D, 0)}{\sum_v c_v} + \frac{D\,|\{v: c_v > 0\}|}{\sum_v c_v}
               \frac{1}{V}

    Attributes:
      probabilities: of each token id; they sum to one.
    """

    probabilities: Float64[np.ndarray, " vocabulary"]

    @classmethod
    def from_counts(cls, counts: Int64[np.ndarray, " vocabulary"]) -> Self:
        """Returns the distribution of tokens with these counts, not all zero."""
        discount, total = estimate_discount(counts), counts.sum()
        reserved = discount * np.count_nonzero(counts) / total
        discounted = np.maximum(counts - discount, 0) / total
        return cls(discounted + reserved / len(counts))

    @classmethod
    def fit(cls, targets: Int32[np.ndarray, " tokens"], vocab_size: int) -> Self:
        """Counts tokens.

        Args:
          targets: of a training split.
          vocab_size: number of token ids.
        """
        return cls.from_counts(count_tokens(targets, vocab_size))

    def loss(self, targets: Int32[np.ndarray, " tokens"]) -> float:
        """Returns the mean cross-entropy of tokens, nats."""
        total = sum(np.log(self.probabilities[part]).sum() for part in read_blocks(targets))
        return float(-total / len(targets))


@dataclasses.dataclass(frozen=True, eq=False)
class KneserNeyBigrams:
    r"""Interpolated Kneser-Ney bigrams.

    .. math::
        p(w | v) = \frac{\max(c_{vw} - D, 0)}{c_v} + \frac{D\,N_{1+}(v\,\cdot)}{c_v} p(w)

    :math:`N_{1+}(v\,\cdot)` is the number of different tokens after v, and p(w) the distribution of
    `Unigrams` by the number of different tokens before w instead of its count. A token that was
    never followed by one has p(w).

    Source: Kneser, Ney, Improved backing-off for m-gram language modeling, ICASSP 1995, in the
    interpolated form of Chen and Goodman (1999).

    Attributes:
      bigrams: those that were counted, as `v * vocabulary + w`, rising.
      discounted: their discounted counts, divided by that of v.
      reserved: the weight of p(w) after each token.
      continuations: p(w).
    """

    bigrams: Int64[np.ndarray, " bigrams"]
    discounted: Float64[np.ndarray, " bigrams"]
    reserved: Float64[np.ndarray, " vocabulary"]
    continuations: Unigrams

    @classmethod
    def fit(
        cls,
        inputs: Int32[np.ndarray, " tokens"],
        targets: Int32[np.ndarray, " tokens"],
        vocab_size: int,
    ) -> Self:
        """Counts pairs of tokens.

        Args:
          inputs: of a training split.
          targets: the token after each of them.
          vocab_size: number of token ids.
        """
        bigrams, counts = np.unique(_pair_ids(inputs, targets, vocab_size), return_counts=True)
        first, second = np.divmod(bigrams, vocab_size)
        discount = estimate_discount(counts)
        totals = np.bincount(inputs, minlength=vocab_size)
        followers = np.bincount(first, minlength=vocab_size)
        reserved = np.where(totals > 0, discount * followers / np.maximum(totals, 1), 1.0)
        continuations = Unigrams.from_counts(np.bincount(second, minlength=vocab_size))
        # A discount is at most one, and so is no greater than a count.
        return cls(bigrams, (counts - discount) / totals[first], reserved, continuations)

    def probabilities(
        self, inputs: Int32[np.ndarray, " tokens"], targets: Int32[np.ndarray, " tokens"]
    ) -> Float64[np.ndarray, " tokens"]:
        """Returns the probability of each target after its input."""
        pairs = _pair_ids(inputs, targets, len(self.reserved))
        index = np.minimum(np.searchsorted(self.bigrams, pairs), len(self.bigrams) - 1)
        counted = np.where(self.bigrams[index] == pairs, self.discounted[index], 0.0)
        return counted + self.reserved[inputs] * self.continuations.probabilities[targets]

    def loss(
        self, inputs: Int32[np.ndarray, " tokens"], targets: Int32[np.ndarray, " tokens"]
    ) -> float:
        """Returns the mean cross-entropy of the targets, nats."""
        pairs = zip(read_blocks(inputs), read_blocks(targets), strict=True)
        total = sum(np.log(self.probabilities(*pair)).sum() for pair in pairs)
        return float(-total / len(targets))


def perplexity(loss: float) -> float:
    """Returns the perplexity of a mean cross-entropy in nats."""
    return math.exp(min(loss, 700.0))


def _pair_ids(
    inputs: Int32[np.ndarray, " tokens"], targets: Int32[np.ndarray, " tokens"], vocab_size: int
) -> Int64[np.ndarray, " tokens"]:
    return inputs.astype(np.int64) * vocab_size + targets
