"""A recurrent encoder-decoder with attention."""

from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rnnjax.cells import State, output_features
from rnnjax.errors import InputError
from rnnjax.kernels import CrossEntropy, flat_dot_general
from rnnjax.layers import (
    RNN,
    AdditiveAttention,
    AttentionMemory,
    Bidirectional,
    MultiplicativeAttention,
    Stack,
)
from rnnjax.models.initialization import Initialization
from rnnjax.models.vocabulary_output import VocabularyOutput

ATTENTIONS = {"additive": AdditiveAttention, "multiplicative": MultiplicativeAttention}


class EncodedSource(NamedTuple):
    """An encoded source text.

    Attributes:
      memory: keys and values of the attention.
      summary: projected mean of the encoder outputs, an input of every decoder step.
    """

    memory: AttentionMemory
    summary: Float[Array, "batch embedding"]


class DecoderState(NamedTuple):
    """State of the decoder.

    Attributes:
      first: of the first layer, whose output is the query of the attention.
      rest: of the layers above it.
      vector: of the last output token, for input feeding.
    """

    first: State
    rest: tuple[State, ...]
    vector: Float[Array, "batch embedding_or_0"]


class Translator(nn.Module):
    r"""A bidirectional encoder and an autoregressive decoder with attention.

    The decoder's first layer reads the embedding of the last token and a summary of the source, a
    projection of the mean of the encoder outputs. Its output h is the query of the attention; the
    layers above read h and the context c. The topmost output h' gives

    .. math::
        v = \tanh(W_v [h'; c])

    from which the logits of the next token are computed. With `input_feeding`, the first layer
    reads the v of the last step as well, and steps are computed one by one. Otherwise those of
    teacher forcing are computed layer by layer, each on the fastest engine of its cell.

    Dropout draws from the rng stream 'dropout'; without that stream it is off.

    Source: Luong, Pham, Manning, Effective approaches to attention-based neural machine
    translation, EMNLP 2015. Attention from the first layer is of Wu et al., Google's neural machine
    translation system, 2016, arXiv:1609.08144. The summary as an input of every step is of Cho et
    al., Learning phrase representations using RNN encoder-decoder, EMNLP 2014: it works for a cell
    with any state.

    Attributes:
      vocabulary: number of token ids, of both languages.
      encoder_cell: the cell of each direction of the encoder layers. Half the features of the
        decoder cell make a memory as wide as the decoder.
      decoder_cell: the cell of the decoder layers.
      encoder_layers: number of bidirectional encoder layers.
      decoder_layers: number of decoder layers.
      embedding: features of the embedding, which both languages share, and of v.
      attention: 'additive' or 'multiplicative'.
      input_feeding: feed v to the next step.
      tied: use the transposed embedding as output layer; otherwise a dense layer.
      dropout: rate on the embedded tokens, between layers, on the encoder outputs and on v.
      initialization: initial values; None for an embedding and an untied output layer as flax has
        them, and all else as Keras.
      dtype: of the computation. The logits are float32 in any case.

    Raises:
      InputError: there is no such attention, or no layer.
    """

    vocabulary: int
    encoder_cell: nn.Module
    decoder_cell: nn.Module
    encoder_layers: int = 1
    decoder_layers: int = 1
    embedding: int = 256
    attention: Literal["additive", "multiplicative"] = "multiplicative"
    input_feeding: bool = False
    tied: bool = True
    dropout: float = 0.0
    initialization: Initialization | None = None
    dtype: Any = jnp.float32

    def __post_init__(self):
        if self.attention not in ATTENTIONS:
            raise InputError(
                f"attention: given {self.attention!r}, expected one of {', '.join(ATTENTIONS)}"
            )
        for name in ("encoder_layers", "decoder_layers"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: given {getattr(self, name)!r}, expected 1 or more")
        super().__post_init__()

    def setup(self):
        init = self.initialization
        memory = 2 * output_features(self.encoder_cell, self.embedding)
        features = output_features(self.decoder_cell, self.embedding)
        embedding_init: Any = {"embedding_init": init.embedding()} if init else {}
        self.embed = nn.Embed(self.vocabulary, self.embedding, dtype=self.dtype, **embedding_init)
        encoder_inputs = [self.embedding, *[memory] * (self.encoder_layers - 1)]
        self.encoder = Stack(
            [Bidirectional(self._cell(self.encoder_cell, inputs)) for inputs in encoder_inputs],
            dropout=self.dropout,
        )
        self.summarize = self._dense(memory)
        first_inputs = (1 + self.input_feeding) * self.embedding
        self.first = RNN(self._cell(self.decoder_cell, first_inputs))
        self.ask = ATTENTIONS[self.attention](features, dtype=self.dtype)
        if self.decoder_layers > 1:
            inputs = [features + memory, *[features] * (self.decoder_layers - 2)]
            layers = [RNN(self._cell(self.decoder_cell, count)) for count in inputs]
            self.rest = Stack(layers, dropout=self.dropout)
        self.combine = self._dense(features + memory)
        options = init.output(self.embedding) if init and not self.tied else {}
        self.score = VocabularyOutput(
            self.vocabulary, use_bias=not self.tied, dtype=self.dtype, **options
        )
        self.drop = nn.Dropout(self.dropout)

    def _dense(self, inputs: int) -> nn.Dense:
        options = (self.initialization or Initialization()).output(inputs)
        return nn.Dense(self.embedding, dtype=self.dtype, dot_general=flat_dot_general, **options)

    def _cell(self, cell: nn.Module, inputs: int) -> nn.Module:
        return (self.initialization or Initialization()).cell(cell, inputs)

    def __call__(
        self,
        source: Int[Array, "batch source"],
        source_mask: Bool[Array, "batch source"],
        inputs: Int[Array, "batch time"],
        mask: Bool[Array, "batch time"],
        sampling: Float[Array, ""] | float | None = None,
    ) -> Float[Array, "batch time vocabulary"]:
        """Returns the logits of the target tokens at each step, float32.

        Args:
          source: token ids from 0 to vocabulary - 1, also where masked.
          source_mask: True where a token counts. A fully masked row is an empty text.
          inputs: the target tokens shifted right by one, after the end token.
          mask: True where a step counts; right-padded.
          sampling: probability that an input after the first is replaced by the decoder's own most
            probable token (scheduled sampling), a number or a traced scalar; None for off. Bengio
            et al., Scheduled sampling for sequence prediction with recurrent neural networks,
            NeurIPS 2015. It draws from the stream 'dropout' and passes no gradient.
        """
        return self._logits(self._output_vectors(source, source_mask, inputs, mask, sampling))

    def cross_entropy(
        self,
        source: Int[Array, "batch source"],
        source_mask: Bool[Array, "batch source"],
        inputs: Int[Array, "batch time"],
        targets: Int[Array, "batch time"],
        weights: Float[Array, "batch time"],
        sampling: Float[Array, ""] | float | None = None,
        label_smoothing: float = 0.0,
    ) -> CrossEntropy:
        """Returns the cross-entropy of the target tokens.

        Args:
          source: as for `__call__`.
          source_mask: as for `__call__`.
          inputs: as for `__call__`.
          targets: the target tokens.
          weights: of the target tokens; those of weight 0 are padding.
          sampling: as for `__call__`.
          label_smoothing: as for `rnnjax.kernels.chunked_cross_entropy`.
        """
        mask = weights > 0
        vectors = self._output_vectors(source, source_mask, inputs, mask, sampling)
        options = {"mask": mask, "label_smoothing": label_smoothing}
        return self.score.cross_entropy(vectors, targets, weights, self._table, **options)

    def _output_vectors(self, source, source_mask, inputs, mask, sampling):
        """Returns v at each step."""
        read = self.encode(source, source_mask)
        if sampling is None and not self.input_feeding:
            return self._decode(read, None, inputs, mask)[1]
        return self._decode_stepwise(read, inputs, mask, sampling)

    def encode(
        self, source: Int[Array, "batch source"], mask: Bool[Array, "batch source"]
    ) -> EncodedSource:
        """Encodes source texts, for `start` and `step`."""
        _, outputs = self.encoder(self._dropout(self.embed(source)), mask)
        # Masked outputs are zero.
        mean = outputs.sum(axis=1) / jnp.maximum(mask.sum(axis=1), 1)[:, None].astype(outputs.dtype)
        memory = self.ask.prepare(self._dropout(outputs), mask)
        return EncodedSource(memory, self.summarize(mean))

    def start(self, read: EncodedSource) -> DecoderState:
        """Returns the initial state of the decoder."""
        # A fully masked row returns its initial state.
        rows = read.summary.shape[0]
        padding = jnp.zeros((rows, 1), jnp.int32)
        return self._decode(read, None, padding, jnp.zeros((rows, 1), bool))[0]

    def step(
        self, read: EncodedSource, state: DecoderState, tokens: Int[Array, " batch"]
    ) -> tuple[DecoderState, Float[Array, "batch vocabulary"], Float[Array, "batch source"]]:
        """Returns the next state, the logits of the next token, and the attention weights.

        Args:
          read: as `encode` returns it.
          state: before the step.
          tokens: the last ones of the target; the end token at the start.
        """
        state, vectors, weights = self._decode(read, state, tokens[:, None], None)
        return state, self._logits(vectors[:, 0]), weights[:, 0]

    def _decode(self, read, state, tokens, mask):
        """Returns the state after some target tokens, with v and attention weights at each."""
        inputs = self._dropout(self.embed(tokens)) + read.summary[:, None]
        if state is None:
            fed = self.embedding if self.input_feeding else 0
            vector = jnp.zeros((inputs.shape[0], fed), inputs.dtype)
            state = DecoderState(None, (None,) * (self.decoder_layers - 1), vector)
        if self.input_feeding:
            assert inputs.shape[1] == 1
            inputs = jnp.concatenate([inputs, state.vector[:, None]], axis=-1)
        first, outputs = self.first(inputs, mask, state.first)
        contexts, weights = self.ask(outputs, read.memory)
        rest = ()
        if self.decoder_layers > 1:
            above = self._dropout(jnp.concatenate([outputs, contexts], axis=-1))
            rest, outputs = self.rest(above, mask, state.rest)
        vectors = jnp.tanh(self.combine(jnp.concatenate([outputs, contexts], axis=-1)))
        vectors = self._dropout(vectors)
        vector = state.vector
        if self.input_feeding:
            vector = vectors[:, 0] if mask is None else jnp.where(mask, vectors[:, 0], vector)
        return DecoderState(first, rest, vector), vectors, weights

    def _decode_stepwise(self, read, inputs, mask, sampling):
        """Returns v of all steps, computed one after the other."""
        if sampling is None or not self.has_rng("dropout"):
            use_prediction = jnp.zeros(inputs.shape, bool)
        else:
            use_prediction = jax.random.bernoulli(self.make_rng("dropout"), sampling, inputs.shape)

        def step(self, carry, inputs_at_step):
            state, prediction = carry
            token, use_prediction, is_real = inputs_at_step
            token = jnp.where(use_prediction, prediction, token)
            state, vectors, _ = self._decode(read, state, token[:, None], is_real[:, None])
            if sampling is not None:
                scores = jax.lax.stop_gradient(self._logits(vectors[:, 0]))
                prediction = jnp.argmax(scores, axis=-1).astype(token.dtype)
            return (state, prediction), vectors[:, 0]

        steps = nn.scan(
            step,
            variable_broadcast="params",
            split_rngs={"params": False, "dropout": True},
            in_axes=1,
            out_axes=1,
        )
        # The first input is never replaced.
        begin = (self.start(read), inputs[:, 0])
        # Logits of all steps at once: their gradient is then one product.
        _, vectors = steps(self, begin, (inputs, use_prediction, mask))
        return vectors

    def _logits(self, vectors):
        return self.score(vectors, self._table)

    @property
    def _table(self) -> Float[Array, "vocabulary embedding"] | None:
        """The kernel of the output layer where weights are tied."""
        return self.embed.embedding if self.tied else None

    def _dropout(self, values):
        return self.drop(values, deterministic=not self.has_rng("dropout"))
