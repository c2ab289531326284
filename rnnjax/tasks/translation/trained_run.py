"""A trained translator: translates texts."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax

from rnnjax.data.vocabulary import Vocabulary
from rnnjax.errors import InputError
from rnnjax.tasks.exported import (
    ExportedFunction,
    ExportedNetwork,
    name_leaves,
    symbols,
)
from rnnjax.tasks.trained_run import TrainedRun
from rnnjax.tasks.translation.config import TranslationConfig
from rnnjax.tasks.translation.decoding import (
    BeamOptions,
    TranslatedText,
    search,
    translate_texts,
)
from rnnjax.tasks.translation.task import TranslationTask


@dataclasses.dataclass(frozen=True, repr=False)
class TrainedTranslator(TrainedRun):
    """A network that translates a text."""

    vocabulary: Vocabulary

    def predict(self, texts: Sequence[str]) -> list[str]:
        """Returns the translation of each text.

        Raises:
          InputError: a text is not valid Unicode.
        """
        return [translation.text for translation in self.translate(texts)]

    def exported(self) -> ExportedNetwork:
        """Returns the encoder, one step of the decoder, and the whole beam search.

        'encode' returns the initial state with the encoded source, 'step' takes both.
        """
        batch, time = symbols()
        task, params = self.task, self.params
        assert isinstance(task, TranslationTask)
        source, mask, *_ = task.input_shapes(batch, (time, time))
        beam = BeamOptions.from_config(self.config.section(TranslationConfig))

        def apply(params, *inputs, method):
            return task.model.apply({"params": params}, *inputs, method=method)

        def translate(params, inputs, mask):
            best = search(task.model, params, inputs, mask, beam=beam, length=task.max_length)
            return {"tokens": best.tokens, "scores": best.scores}

        def read(params, inputs, mask):
            encoded = apply(params, inputs, mask, method="encode")
            return encoded, apply(params, encoded, method="start")

        shapes: Any = jax.eval_shape(read, params, source, mask)
        structures = [jax.tree.structure(shape) for shape in shapes]
        names = "source", "state"
        leaves = [name_leaves(*pair) for pair in zip(shapes, names, strict=True)]

        def encode(params, inputs, mask):
            encoded, state = read(params, inputs, mask)
            return {**name_leaves(encoded, "source"), **name_leaves(state, "state")}

        def step(params, tokens, *arrays):
            count = len(leaves[0])
            encoded = jax.tree.unflatten(structures[0], arrays[:count])
            state = jax.tree.unflatten(structures[1], arrays[count:])
            outputs: Any = apply(params, encoded, state, tokens, method="step")
            state, logits, attention = outputs
            scores = {"log_probabilities": jax.nn.log_softmax(logits), "attention": attention}
            return {**scores, **name_leaves(state, "state")}

        inputs = {"inputs": source, "mask": mask}
        tokens = jax.ShapeDtypeStruct((batch,), source.dtype)
        functions = {
            "translate": ExportedFunction(translate, inputs),
            "encode": ExportedFunction(encode, inputs),
            "step": ExportedFunction(step, {"tokens": tokens, **leaves[0], **leaves[1]}),
        }
        return ExportedNetwork("target_text", {"max_tokens": 0}, functions)

    def answers(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """Returns the translation of each text with its score, ready for JSON.

        Raises:
          InputError: a text is not valid Unicode.
        """
        return [
            {"text": source, "target": translated.text, "score": translated.score}
            for source, translated in zip(texts, self.translate(texts), strict=True)
        ]

    def translate(self, texts: Sequence[str], beam_size: int = 0) -> list[TranslatedText]:
        """Returns the best translation of each text, which does not depend on the other texts.

        Args:
          texts: in the source language, at least one.
          beam_size: of the beam search; 0 for that of the config.

        Raises:
          InputError: `beam_size` is less than 0, or a text is not valid Unicode.
        """
        if beam_size < 0:
            raise InputError(
                f"beam_size: given {beam_size}, expected 1 or more, or 0 for that of the run"
            )
        assert isinstance(self.task, TranslationTask)
        options = BeamOptions.from_config(self.config.section(TranslationConfig))
        return translate_texts(
            self.task.model,
            self.params,
            self.vocabulary,
            self.vocabulary.encode(texts),
            options._replace(width=beam_size) if beam_size else options,
            length=self.task.max_length,
            batch_size=self.config.batch_size,
        )
