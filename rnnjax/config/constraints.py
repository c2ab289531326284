"""Constraints between the keys of a config, beyond the type and range of each."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rnnjax.config.schema import Config

SEEDS = 2**32
"""Number of seeds; the greatest is one less."""


def check_combinations(config: "Config") -> None:
    """Raises ValueError if the values of two keys do not go together."""
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
    if config.schedule == "plateau" and not config.validated:
        raise ValueError(
            "schedule is 'plateau' and data.validation is 0: it follows the validation loss, so "
            "set data.validation (0.1, say) or another schedule"
        )
    if config.schedule.endswith("_onecycle") and config.warmup_steps:
        raise ValueError(
            f"schedule is {config.schedule!r} and warmup_steps is set: one cycle begins with a "
            "warm-up, so set pct_start in schedule_arguments, and warmup_steps=0"
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
