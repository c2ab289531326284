"""A recurrent language model."""

from typing import Any

import flax.linen as nn
from jaxtyping import Array, Bool, Float, Int

from rnnjax.cells import State
from rnnjax.errors import InputError
from rnnjax.kernels import CrossEntropy, flat_dot_general
from rnnjax.models.adaptive_output import AdaptiveOutput
from rnnjax.models.token_encoder import TokenEncoder
from rnnjax.models.vocabulary_output import VocabularyOutput

ACTIVATIONS = "activations"
"""The collection with the outputs of the topmost layer before and after dropout: 'outputs' and
'dropped', each a tuple of one array, for a call that makes it mutable."""


class LanguageModel(TokenEncoder, kw_only=True):
    """Embedding, recurrent layers and logits of the next token at every step.

    A text may be read in pieces, down to single tokens: pass the state of one call to the next.

    Attributes:
      tied: use the embedding as output layer, after a projection to its features where the
        recurrent layers have others. Press, Wolf, Using the output embedding to improve language
        models, EACL 2017; Inan, Khosravi, Socher, Tying word vectors and word classifiers, ICLR
        2017. Otherwise the output layer has its own kernel.
      soft_cap: as for `rnnjax.models.vocabulary_output.VocabularyOutput`.
      samples: likewise.
      cutoffs: as for `rnnjax.models.adaptive_output.AdaptiveOutput`, whose logits are then
        log-probabilities; () for a linear output layer.

    Raises:
      InputError: it is bidirectional, or ties weights with one-hot inputs, or the last cutoff is
        beyond the vocabulary.
    """

    tied: bool = False
    soft_cap: float = 0.0
    samples: int = 0
    cutoffs: tuple[int, ...] = ()

    def __post_init__(self):
        if self.bidirectional:
            raise InputError(
                "bidirectional: given True, and a language model that reads from both ends knows "
                "the token that it is to predict; expected False"
            )
        if self.tied and not self.embedding:
            raise InputError(
                "tied: given True with embedding=0, and one-hot inputs have no weights to tie; "
                "expected the size of an embedding"
            )
        if self.cutoffs and self.cutoffs[-1] >= self.vocabulary:
            raise InputError(
                f"config.model.output.cutoffs: given {', '.join(map(str, self.cutoffs))} of a "
                f"vocabulary of {self.vocabulary} tokens; expected numbers below that, at each of "
                "which a cluster of token ids begins"
            )
        super().__post_init__()

    def setup(self):
        self.build_encoder(return_sequences=True)
        self.drop = self.make_dropout(self.output_dropout)
        options = self.initialization.output(self.output_features)
        if self.tied:
            self.narrow = nn.Dense(
                self.embedding,
                dtype=self.dtype,
                dot_general=flat_dot_general,
                **options,
            )
        if self.cutoffs:
            self.score = AdaptiveOutput(
                self.vocabulary, self.cutoffs, self.initialization, dtype=self.dtype
            )
        else:
            self.score = VocabularyOutput(
                self.vocabulary,
                soft_cap=self.soft_cap,
                samples=self.samples,
                dtype=self.dtype,
                **({} if self.tied else options),
            )

    def __call__(
        self,
        tokens: Int[Array, "batch time"],
        mask: Bool[Array, "batch time"],
        initial_state: tuple[State, ...] | None = None,
        resets: Bool[Array, "batch time"] | None = None,
    ) -> tuple[tuple[State, ...], Float[Array, "batch time vocabulary"]]:
        """Returns the state after the last token, and the logits of the next tokens, float32.

        Args:
          tokens: as for `read`.
          mask: as for `read`. Logits at masked steps are meaningless.
          initial_state: of the previous call; None at the start of a text.
          resets: True at the first token of each text in a row of several, where the state is
            reset.
        """
        state, vectors, tied = self._output_vectors(tokens, mask, initial_state, resets)
        return state, self.score(vectors, **tied)

    def cross_entropy(
        self,
        tokens: Int[Array, "batch time"],
        mask: Bool[Array, "batch time"],
        targets: Int[Array, "batch time"],
        weights: Float[Array, "batch time"],
        initial_state: tuple[State, ...] | None = None,
        resets: Bool[Array, "batch time"] | None = None,
    ) -> tuple[tuple[State, ...], CrossEntropy]:
        """Returns the state after the last token, and the cross-entropy of the next tokens.

        Args:
          tokens: as for `__call__`.
          mask: as for `__call__`.
          targets: the next token at each step.
          weights: of the targets in the loss.
          initial_state: as for `__call__`.
          resets: as for `__call__`.
        """
        state, vectors, tied = self._output_vectors(tokens, mask, initial_state, resets)
        return state, self.score.cross_entropy(vectors, targets, weights, mask=mask, **tied)

    def _output_vectors(self, tokens, mask, initial_state, resets) -> tuple[Any, Any, Any]:
        """Returns the final state, the inputs of the output layer, and its `table` if tied."""
        state, outputs = self.read(tokens, mask, initial_state, resets)
        dropped = self.drop(outputs, deterministic=not self.has_rng("dropout"))
        if not self.is_initializing():
            self.sow(ACTIVATIONS, "outputs", outputs)
            self.sow(ACTIVATIONS, "dropped", dropped)
        outputs = dropped
        if not self.tied:
            return state, outputs, {}
        if outputs.shape[-1] != self.embedding:
            outputs = self.narrow(outputs)
        return state, outputs, {"table": self.embed.embedding}
