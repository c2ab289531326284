"""A recurrent network that reads a text and writes another, attending to what it has read."""

import functools
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rnnjax.cells import State
from rnnjax.errors import InputError
from rnnjax.kernels import flat_dot_general
from rnnjax.layers import (
    RNN,
    AdditiveAttention,
    AttentionMemory,
    Bidirectional,
    MultiplicativeAttention,
    Stack,
)
from rnnjax.models import token_logits

ATTENTIONS = {"additive": AdditiveAttention, "multiplicative": MultiplicativeAttention}


class EncodedSource(NamedTuple):
    """A text that has been read.

    Attributes:
      memory: what the encoder says at each token.
      summary: what the decoder is told of the whole at each of its steps.
    """

    memory: AttentionMemory
    summary: Float[Array, "batch embedding"]


class DecoderState(NamedTuple):
    """What has been written so far.

    Attributes:
      first: the state of the layer that asks the memory.
      rest: those of the layers above it.
      vector: what the last token was scored from, if the first layer is fed it.
    """

    first: State
    rest: tuple[State, ...]
    vector: Float[Array, "batch embedding_or_0"]


class Translator(nn.Module):
    r"""Reads a text in both directions, and writes another token by token.

    The decoder's first layer reads the embedding of the last token and a summary of the source,
    which is a projection of the mean of what the encoder says. Its output h asks the memory; the
    layers above read h and the context c that it is told. The topmost output h' gives

    .. math::
        v = \tanh(W_v [h'; c])

    from which the next token is scored. With `input_feeding`, the first layer reads the v of the
    last step as well (input feeding), so that it knows where it has looked. Then the steps must
    be taken one by one. Otherwise those of a text that is given (teacher forcing) are taken at
    once, layer by layer, each on the fastest engine of its cell.

    Dropout draws from the rng stream 'dropout'; a call that is given none is an evaluation.

    Source: Luong, Pham, Manning, Effective approaches to attention-based neural machine
    translation, EMNLP 2015. That the lowest layer asks for all is of Wu et al., Google's neural
    machine translation system, 2016, arXiv:1609.08144. That the summary is read at every step is of
    Cho et al., Learning phrase representations using RNN encoder-decoder, EMNLP 2014: any cell can
    be told so, whatever its state is made of.

    Attributes:
      vocabulary: number of different tokens, of both languages.
      encoder_cell: the cell of each direction of the layers that read. Half the features of the
        other one make a memory as wide as the decoder.
      decoder_cell: the cell of the layers that write.
      encoder_layers: number of bidirectional layers that read.
      decoder_layers: number of layers that write.
      embedding: size of the vector of a token, which both languages share, and of v.
      attention: how the memory is asked, 'additive' or 'multiplicative'.
      input_feeding: whether v is fed to the next step.
      tied: whether tokens are scored by the embedding, v times its transpose;
        otherwise by weights of their own, with a bias.
      dropout: rate on the embedded tokens, between layers, on what the encoder says and on v.
      dtype: of the computation. The scores are float32 in any case.

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
        self.embed = nn.Embed(self.vocabulary, self.embedding, dtype=self.dtype)
        self.encoder = Stack(
            [Bidirectional(_apart(self.encoder_cell)) for _ in range(self.encoder_layers)],
            dropout=self.dropout,
        )
        self.summarize = self._dense()
        self.first = RNN(_apart(self.decoder_cell))
        self.ask = ATTENTIONS[self.attention](self._features, dtype=self.dtype)
        if self.decoder_layers > 1:
            layers = [RNN(_apart(self.decoder_cell)) for _ in range(self.decoder_layers - 1)]
            self.rest = Stack(layers, dropout=self.dropout)
        self.combine = self._dense()
        if not self.tied:
            self.score = token_logits.dense(self.vocabulary, self.dtype)
        self.drop = nn.Dropout(self.dropout)

    @property
    def _features(self) -> int:
        """Features of what the decoder asks with, which are not always those of its cell."""
        inputs = jnp.zeros((1, 1, self.embedding), self.dtype)
        layer = RNN(_apart(self.decoder_cell), parent=None)
        init = functools.partial(layer.init_with_output, jax.random.key(0))
        (_, outputs), _ = jax.eval_shape(init, inputs)
        return outputs.shape[-1]

    def _dense(self) -> nn.Dense:
        return nn.Dense(
            self.embedding,
            kernel_init=nn.initializers.xavier_uniform(),
            dtype=self.dtype,
            dot_general=flat_dot_general,
        )

    def __call__(
        self,
        source: Int[Array, "batch source"],
        source_mask: Bool[Array, "batch source"],
        inputs: Int[Array, "batch time"],
        mask: Bool[Array, "batch time"],
        sampling: Float[Array, ""] | float | None = None,
    ) -> Float[Array, "batch time vocabulary"]:
        """Returns the score (logit) of each token at each place of a text, float32.

        Args:
          source: what is read, numbers from 0 to vocabulary - 1, anything in that range where
            masked.
          source_mask: True where a token counts. A row with none is an empty text.
          inputs: for each place the token before it, in training the right one; at the first place
            the token that ends a text.
          mask: True where a place counts. It is right-padded.
          sampling: the probability with which the decoder reads, in the place of an input other
            than the first, the token that it found the most probable itself, a number or a traced
            scalar; None for never, which takes no time. Bengio et al., Scheduled sampling for
            sequence prediction with recurrent neural networks, NeurIPS 2015. It draws from the
            stream 'dropout' and passes no gradient.
        """
        read = self.encode(source, source_mask)
        if sampling is None and not self.input_feeding:
            _, vectors, _ = self._write(read, None, inputs, mask)
        else:
            vectors = self._step_by_step(read, inputs, mask, sampling)
        return self._scores(vectors)

    def encode(
        self, source: Int[Array, "batch source"], mask: Bool[Array, "batch source"]
    ) -> EncodedSource:
        """Returns what has been read, for `start`, `step` and all that is written of it."""
        _, outputs = self.encoder(self._dropped(self.embed(source)), mask)
        # Masked outputs are zero.
        mean = outputs.sum(axis=1) / jnp.maximum(mask.sum(axis=1), 1)[:, None].astype(outputs.dtype)
        memory = self.ask.prepare(self._dropped(outputs), mask)
        return EncodedSource(memory, self.summarize(mean))

    def start(self, read: EncodedSource) -> DecoderState:
        """Returns the state before the first token is written."""
        # A row with no real step returns the state in which it begins.
        rows = read.summary.shape[0]
        padding = jnp.zeros((rows, 1), jnp.int32)
        return self._write(read, None, padding, jnp.zeros((rows, 1), bool))[0]

    def step(
        self, read: EncodedSource, state: DecoderState, tokens: Int[Array, " batch"]
    ) -> tuple[DecoderState, Float[Array, "batch vocabulary"], Float[Array, "batch source"]]:
        """Returns the next state, the scores of the next token, and where the step has looked.

        Args:
          read: as `encode` returns it.
          state: before the step.
          tokens: what was written last; the token that ends a text where nothing was.
        """
        state, vectors, weights = self._write(read, state, tokens[:, None], None)
        return state, self._scores(vectors[:, 0]), weights[:, 0]

    def _write(self, read, state, tokens, mask):
        """Returns the state after some tokens, the vector v at each of them, and the weights."""
        inputs = self._dropped(self.embed(tokens)) + read.summary[:, None]
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
            above = self._dropped(jnp.concatenate([outputs, contexts], axis=-1))
            rest, outputs = self.rest(above, mask, state.rest)
        vectors = jnp.tanh(self.combine(jnp.concatenate([outputs, contexts], axis=-1)))
        vectors = self._dropped(vectors)
        vector = state.vector
        if self.input_feeding:
            vector = vectors[:, 0] if mask is None else jnp.where(mask, vectors[:, 0], vector)
        return DecoderState(first, rest, vector), vectors, weights

    def _step_by_step(self, read, inputs, mask, sampling):
        """Returns the vectors of all steps, taken one after the other."""
        if sampling is None or not self.has_rng("dropout"):
            use_prediction = jnp.zeros(inputs.shape, bool)
        else:
            use_prediction = jax.random.bernoulli(self.make_rng("dropout"), sampling, inputs.shape)

        def step(self, carry, inputs_at_step):
            state, prediction = carry
            token, use_prediction, is_real = inputs_at_step
            token = jnp.where(use_prediction, prediction, token)
            state, vectors, _ = self._write(read, state, token[:, None], is_real[:, None])
            if sampling is not None:
                scores = jax.lax.stop_gradient(self._scores(vectors[:, 0]))
                prediction = jnp.argmax(scores, axis=-1).astype(token.dtype)
            return (state, prediction), vectors[:, 0]

        steps = nn.scan(
            step,
            variable_broadcast="params",
            split_rngs={"params": False, "dropout": True},
            in_axes=1,
            out_axes=1,
        )
        # What it found itself before the first place is what it is given there.
        begin = (self.start(read), inputs[:, 0])
        # Scored once more, all at once: the gradient is then one product for all steps.
        _, vectors = steps(self, begin, (inputs, use_prediction, mask))
        return vectors

    def _scores(self, vectors):
        return token_logits.attend(self.embed, vectors) if self.tied else self.score(vectors)

    def _dropped(self, values):
        return self.drop(values, deterministic=not self.has_rng("dropout"))


def _apart(cell: nn.Module) -> nn.Module:
    """Returns a cell with parameters of its own."""
    return cell.copy(parent=None, name=None)
