"""Constraints between the keys of a config, beyond the type and range of each."""

import itertools
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rnnjax.config.schema import Config
    from rnnjax.config.sections import ModelConfig

SEEDS = 2**32
"""Number of seeds; the greatest is one less."""


def integers(text: str) -> tuple[int, ...]:
    """Returns the numbers of a list as text, '400, 200' for instance."""
    return tuple(int(number) for number in text.split(",") if number.strip())


def layer_widths(config: "ModelConfig") -> tuple[int, ...]:
    """Returns the size of the hidden state of each layer."""
    return integers(config.layer_features) or (config.features,) * config.layers


def check_combinations(config: "Config") -> None:
    """Raises ValueError if the values of two keys do not go together."""
    _check_files(config)
    _check_devices(config)
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
    widths = layer_widths(config.model)
    if len(widths) != config.model.layers:
        raise ValueError(
            f"model.layer_features is {config.model.layer_features!r}, of {len(widths)} layers, "
            f"and model.layers is {config.model.layers}; give a number for each layer, or leave "
            "model.layer_features=''"
        )
    _check_block(config.model)
    if (config.model.connection or config.model.layer_norm) and config.model.layers == 1:
        key = "connection" if config.model.connection else "layer_norm"
        raise ValueError(
            f"model.{key} is set and model.layers is 1: it is between layers, so set model.layers "
            f"to 2 or more, or leave model.{key} out"
        )
    if config.model.connection and not any(
        first == second for first, second in itertools.pairwise(widths)
    ):
        raise ValueError(
            f"model.connection is {config.model.connection!r} and model.layer_features "
            f"{config.model.layer_features!r}: no layer has the features of that below it, so that "
            "nothing can be added; give two of them the same number"
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


def _check_devices(config: "Config") -> None:
    count, fsdp = config.devices.data, config.devices.fsdp
    shards, batch_size = config.deterministic_shards, config.batch_size
    if shards & (shards - 1):
        raise ValueError(
            f"deterministic_shards is {shards}: shards are added in pairs, so set a power of two "
            f"({2 ** (shards.bit_length() - 1)}, say), or 0 for off"
        )
    if shards and batch_size % shards:
        raise ValueError(
            f"deterministic_shards is {shards} and batch_size {batch_size}: shards have the same "
            "number of rows, so set batch_size to a multiple "
            f"({-(-batch_size // shards) * shards}, say), or deterministic_shards to a divisor "
            f"({math.gcd(shards, batch_size)}, say)"
        )
    if shards and count and shards % count:
        raise ValueError(
            f"deterministic_shards is {shards} and devices.data {count}: each device computes "
            f"equally many shards, so set devices.data to a divisor of {shards}"
        )
    if shards and fsdp > 1:
        raise ValueError(
            "deterministic_shards and devices.fsdp are set: sums over an array that is shared out "
            "are rounded by the number of its parts, so set one of them alone"
        )
    if shards and config.replicates > 1:
        raise ValueError(
            "deterministic_shards and replicates are set: replicates of one device share matrix "
            "products, which round by their number, so set replicates=1 and train the seeds one "
            "after the other, or deterministic_shards=0"
        )
    if count % fsdp:
        raise ValueError(
            f"devices.fsdp is {fsdp} and devices.data {count}: expected a divisor of devices.data"
        )
    replicates = math.gcd(count // fsdp, config.replicates) or 1
    if count // replicates > batch_size:
        raise ValueError(
            f"devices.data is {count} and batch_size {batch_size}: each device needs a row, so set "
            f"devices.data to {batch_size} or less, or a larger batch_size"
        )


def _check_block(config: "ModelConfig") -> None:
    block = config.block
    if not block.features:
        options = ("inner", "convolution", "groups", "gate", "feed_forward")
        if used := [name for name in options if getattr(block, name)]:
            raise ValueError(
                f"model.block.{used[0]} is set and model.block.features is 0: there are no blocks, "
                f"so set model.block.features to their size, or leave model.block.{used[0]} out"
            )
        return
    for key in ("connection", "layer_norm"):
        if getattr(config, key):
            raise ValueError(
                f"model.{key} and model.block.features are set: a block adds its inputs and "
                f"normalizes them already, so leave model.{key} or model.block out"
            )
    if config.merge != "concat":
        raise ValueError(
            f"model.merge is {config.merge!r} and model.block.features is set: the projection of a "
            "block reads the outputs of both directions, so leave model.merge out"
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
    if not data.has_named_columns and (unknown := set(fields) - {"title", "description"}):
        raise ValueError(
            f"data.text is {data.text!r} and data.vocabulary.text {data.vocabulary.text!r}, and "
            f"the corpus has no field {min(unknown)!r}: use 'title', 'description' or "
            "'title+description', or set data.file to a file with that column"
        )
