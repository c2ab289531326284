"""The one reader and writer of the files in a run's folder.

Every file that a result rests on is verified when it is read. `environment.json` is the manifest:
it names the run and holds the digests of the files that are fixed when a run begins. `result.json`
names the run as well, and holds the digest of the metrics. Both are sealed by a digest of what they
say. When a run begins, the manifest is written last and before the first checkpoint, and a folder
without a checkpoint is begun anew: no crash leaves files that refuse one another.
"""

import dataclasses
import hashlib
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pydantic

from rnnjax.errors import InputError
from rnnjax.input_files import digest, explain, load_text, parse_json
from rnnjax.reporting import metrics_log, record_digest
from rnnjax.reporting.atomic_files import encode_json, to_builtin, write_json, write_text
from rnnjax.reporting.run_schema import (
    DataSummary,
    Manifest,
    RecordedConfig,
    RecordModel,
    ReplicatesResult,
    RunOutcome,
    RunResult,
)

CONFIG, MANIFEST, TOKENIZER = "config.json", "environment.json", "tokenizer.json"
METRICS, RESULT = "metrics.jsonl", "result.json"


@dataclasses.dataclass(frozen=True)
class Record:
    """A run, as its folder tells it."""

    config: RecordedConfig
    environment: Manifest
    metrics: list[dict[str, Any]]
    result: RunResult

    @property
    def fallback(self) -> str:
        """The corpus used instead of the one asked for, or ''."""
        return self.result.data.fallback or self.environment.data.fallback or self.config.data

    @property
    def data(self) -> DataSummary:
        """What the run read."""
        return self.environment.data if self.environment.data.name else self.result.data

    @property
    def classes(self) -> list[str]:
        """The names of the classes, or their numbers."""
        result = self.result
        size = len(result.confusion)
        names = [scores.name for scores in result.per_class] or self.data.classes
        return names if len(names) == size else [str(number) for number in range(size)]


def read(folder: Path) -> Record:
    """Returns the verified files of a finished run.

    Raises:
      InputError: a file is missing or damaged.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; expected the folder of a run")
    config, manifest = read_config(folder), read_manifest(folder)
    result = read_result(folder, manifest)
    return Record(config, manifest, metrics_log.read(folder / METRICS), result)


def read_config(folder: Path) -> RecordedConfig:
    """Returns config.json, which `read_manifest` verifies.

    Raises:
      InputError: it is missing or damaged.
    """
    return _parse(folder / CONFIG, RecordedConfig, _load(folder / CONFIG))


def read_manifest(folder: Path) -> Manifest:
    """Returns environment.json, and verifies the digests of the files that it lists.

    Raises:
      InputError: one of them is missing or damaged.
    """
    manifest = load_manifest(folder)
    _verify(folder, manifest.files, MANIFEST)
    return manifest


def load_manifest(folder: Path) -> Manifest:
    """Returns environment.json without a look at the files that it lists.

    Raises:
      InputError: it is missing or damaged.
    """
    manifest = _parse(folder / MANIFEST, Manifest, _unseal(folder / MANIFEST))
    if CONFIG not in manifest.files:
        raise damaged(folder / MANIFEST, f"files: has no {CONFIG!r}")
    return manifest


def read_result(folder: Path, manifest: Manifest) -> RunResult:
    """Returns result.json of a run, and verifies the digest of its metrics.

    Raises:
      InputError: one of them is missing or damaged, or of another run.
    """
    return _read_result(folder, manifest, RunResult)


def read_replicates_result(folder: Path, manifest: Manifest) -> ReplicatesResult:
    """Returns result.json of replicates.

    Raises:
      InputError: it is missing or damaged, or of another run.
    """
    return _read_result(folder, manifest, ReplicatesResult)


def begin(
    folder: Path, config: RecordedConfig, tokenizer: str, about: Mapping[str, Any]
) -> Manifest:
    """Writes everything that is fixed when a run begins, the manifest last.

    Args:
      folder: of the run. What it has of a run that came to no checkpoint is written anew.
      config: what config.json says.
      tokenizer: the text of tokenizer.json; '' where there is none.
      about: what the manifest says of environment and data.

    Raises:
      InputError: a file cannot be written.
    """
    write_json(folder / CONFIG, config.values())
    files = [CONFIG]
    if tokenizer:
        write_text(folder / TOKENIZER, tokenizer)
        files.append(TOKENIZER)
    run = {"run": secrets.token_hex(8), "files": _digests(folder, files)}
    return write_manifest(folder, {**about, **run})


def replace_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Writes config.json of a run that has begun, and its digest in the manifest.

    The manifest is first. `is_being_replaced` knows a folder in which a crash came between the two.

    Raises:
      InputError: a file cannot be written.
    """
    text, manifest = _config_text(folder, config), load_manifest(folder)
    files = {**manifest.files, CONFIG: _text_digest(text)}
    write_manifest(folder, {**manifest.values(), "files": files})
    write_text(folder / CONFIG, text)


def is_being_replaced(folder: Path, config: Mapping[str, Any]) -> bool:
    """Returns whether the manifest has the digest of this config already, and the file is old."""
    return load_manifest(folder).files[CONFIG] == _text_digest(_config_text(folder, config))


def _config_text(folder: Path, config: Mapping[str, Any]) -> str:
    values = {**read_config(folder).values(), "config": config}
    return encode_json(values, indent=2) + "\n"


def _text_digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def write_manifest(folder: Path, values: Mapping[str, Any]) -> Manifest:
    """Writes environment.json.

    Raises:
      InputError: it cannot be written.
    """
    return _write(folder / MANIFEST, Manifest, values)


def write_result(folder: Path, manifest: Manifest, values: Mapping[str, Any]) -> dict[str, Any]:
    """Writes result.json of a finished run with the digest of its metrics; returns what it says.

    Args:
      folder: of the run.
      manifest: of the run.
      values: the result; of replicates if it has `seeds`.
    """
    schema = ReplicatesResult if "seeds" in values else RunResult
    files = _digests(folder, [METRICS] if schema is RunResult else [])
    return _write(folder / RESULT, schema, {**values, "run": manifest.run, "files": files}).values()


_Schema = TypeVar("_Schema", bound=RecordModel)
_Outcome = TypeVar("_Outcome", bound=RunOutcome)


def _read_result(folder: Path, manifest: Manifest, schema: type[_Outcome]) -> _Outcome:
    result = _parse(folder / RESULT, schema, _unseal(folder / RESULT))
    if result.run != manifest.run:
        raise damaged(folder / RESULT, "it is of another run than environment.json")
    if schema is RunResult and METRICS not in result.files:
        raise damaged(folder / RESULT, f"files: has no {METRICS!r}")
    _verify(folder, result.files, RESULT)
    return result


def _write(path: Path, schema: type[_Schema], values: Mapping[str, Any]) -> _Schema:
    written = schema.model_validate(to_builtin(values))
    write_json(path, record_digest.with_digest(written.values()))
    return written


def _digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    return {name: digest(folder / name).hex() for name in names}


def _verify(folder: Path, files: Mapping[Any, str], manifest: str) -> None:
    for name, recorded in files.items():
        if not (folder / name).exists():
            raise _missing(folder / name)
        if digest(folder / name).hex() != recorded:
            raise damaged(folder / name, f"its digest is not the one in {manifest}")


def _load(path: Path) -> dict[str, Any]:
    try:
        values = parse_json(load_text(path))
    except FileNotFoundError:
        raise _missing(path) from None
    except OSError as error:
        cause, remedy = explain(error)
        raise InputError(f"{path}: cannot be read ({cause}); {remedy}") from error
    except ValueError as error:
        raise damaged(path, f"not JSON: {error}") from error
    if not isinstance(values, dict):
        raise damaged(path, "not a JSON object")
    return values


def _missing(path: Path) -> InputError:
    cure = (
        "The run has not finished: start it again with the same command, and it goes on."
        if path.name == RESULT
        else "Give the folder that a run was started with, or bring the file back from a copy."
    )
    return InputError(f"{path} is missing. {cure}")


def _unseal(path: Path) -> dict[str, Any]:
    values = _load(path)
    if not record_digest.has_valid_digest(values):
        raise damaged(path, "its digest does not fit what it says")
    return {key: value for key, value in values.items() if key != "digest"}


def _parse(path: Path, schema: type[_Schema], values: Mapping[str, Any]) -> _Schema:
    try:
        return schema.model_validate(values)
    except pydantic.ValidationError as error:
        detail = error.errors()[0]
        where = ".".join(map(str, detail["loc"])) or "the whole"
        given = "" if detail["type"] == "missing" else f", given {str(detail['input'])[:80]!r}"
        raise damaged(path, f"{where}: {detail['msg']}{given}") from None


def damaged(path: Path, problem: str) -> InputError:
    """Returns the error that names a damaged file."""
    return InputError(
        f"{path} is damaged ({problem}). Bring it back from a copy, or train again in a new folder."
    )
