"""Constraints between the keys of a config, beyond the type and range of each."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rnnjax.config.schema import Config

SEEDS = 2**32
"""Number of seeds; the greatest is one less."""


def check_combinations(config: "Config") -> None:
    """Raises ValueError if the values of two keys do not go together."""
    _check_files(config)
    if config.early_stopping.patience and not config.validated:
        raise ValueError(
            "early_stopping.patience is set and data.validation is 0: stopping early needs a "
            "validation part, so set data.validation (0.1, say) or early_stopping.patience=0"
        )
    if config.replicates > 1 and config.early_stopping.patience:
        raise ValueError(
            "early_stopping.patience and replicates are set: replicates take every step "
            "together, and one cannot stop alone, so set replicates=1 and train the seeds one "
            "after the other, or early_stopping.patience=0"
        )
    if config.replicates > 1 and config.model.engine == "cudnn":
        raise ValueError(
            "model.engine is 'cudnn' and replicates are set: JAX cannot run NVIDIA's library "
            "for several networks at once, so set replicates=1 or model.engine='auto'"
        )
    if config.seed + config.replicates > SEEDS:
        raise ValueError(
            f"seed is {config.seed} and replicates {config.replicates}: the last seed, seed + "
            f"replicates - 1, should be less than {SEEDS}"
        )
    if config.evaluate_every and not config.validated:
        raise ValueError(
            "evaluate_every is set and data.validation is 0: there is nothing to evaluate on, "
            "so set data.validation (0.1, say) or evaluate_every=0"
        )
    if config.model.regularization.embedding_dropout and not config.model.embedding.features:
        raise ValueError(
            "model.regularization.embedding_dropout is set and model.embedding.features is 0: "
            "one-hot input has no embedding to drop words of, so set one of them otherwise"
        )
    if config.model.regularization.adversarial and not config.model.embedding.features:
        raise ValueError(
            "model.regularization.adversarial is set and model.embedding.features is 0: "
            "one-hot input has no vectors to move, so set one of them otherwise"
        )
    embedding = config.model.embedding
    if config.init_from and embedding.path:
        raise ValueError("init_from and model.embedding.path are set: leave one of them out")
    if not embedding.features and (embedding.path or embedding.tied or not embedding.trainable):
        key = "path" if embedding.path else "tied" if embedding.tied else "trainable"
        raise ValueError(
            f"model.embedding.{key} is set and model.embedding.features is 0: one-hot input "
            "has no vectors, so set model.embedding.features to their size, or leave "
            f"model.embedding.{key} out"
        )


def _check_files(config: "Config") -> None:
    data = config.data
    if data.file and data.dir:
        raise ValueError(
            "data.file and data.dir are set: the data are read from one of them, so leave the "
            "other out"
        )
    for key in ("validation_file", "test_file"):
        if getattr(data, key) and not data.file:
            raise ValueError(
                f"data.{key} is set and data.file is '': the training split is read from "
                f"data.file, so set it, or leave data.{key} out"
            )
    if data.validation_file and data.validation:
        raise ValueError(
            f"data.validation_file is set and data.validation is {data.validation}: the validation "
            "split is a file or a part of the training split, so set data.validation=0, or leave "
            "data.validation_file out"
        )
    fields = f"{data.text}+{data.vocabulary.text or data.text}".split("+")
    if not data.file and (unknown := set(fields) - {"title", "description"}):
        raise ValueError(
            f"data.text is {data.text!r} and data.vocabulary.text {data.vocabulary.text!r}, and "
            f"the corpora have no field {min(unknown)!r}: use 'title', 'description' or "
            "'title+description', or set data.file to a file with that column"
        )
