"""Reads, verifies and writes the files in a run's folder.

`environment.json` is the manifest: it has the id of the run and the digests of the files that are
fixed at its start. `result.json` has the id as well, and the digest of the metrics. Both have their
own digest. At the start of a run, the manifest is written last and before the first checkpoint, and
a folder without a checkpoint is started again: no crash leaves files that contradict one another.
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


_Schema = TypeVar("_Schema", bound=RecordModel)
_Outcome = TypeVar("_Outcome", bound=RunOutcome)


@dataclasses.dataclass(frozen=True)
class Record:
    """The verified files of a run; the result of an unfinished one is empty."""

    folder: Path
    config: RecordedConfig
    environment: Manifest
    metrics: list[dict[str, Any]]
    result: RunResult
    is_finished: bool = True

    @property
    def fallback(self) -> str:
        """The corpus used instead of the configured one, or ''."""
        return self.result.data.fallback or self.environment.data.fallback or self.config.data

    @property
    def data(self) -> DataSummary:
        """Summary of the data."""
        return self.environment.data if self.environment.data.name else self.result.data

    def details(self, schema: type[_Schema]) -> _Schema:
        """Returns the entries of the result that its task adds.

        Raises:
          InputError: an entry is not as the schema says.
        """
        return _parse(self.folder / RESULT, schema, self.result.values())


def read(folder: Path) -> Record:
    """Reads and verifies the files of a finished run.

    Raises:
      InputError: a file is missing or damaged.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; expected the folder of a run")
    config, manifest = read_config(folder), read_manifest(folder)
    result = read_result(folder, manifest)
    return Record(folder, config, manifest, metrics_log.read(folder / METRICS), result)


def read_unfinished(folder: Path) -> Record:
    """Reads and verifies the files of a run that was interrupted.

    Raises:
      InputError: a file is missing or damaged.
    """
    config, manifest = read_config(folder), read_manifest(folder)
    metrics = metrics_log.read(folder / METRICS)
    result = RunResult(run=manifest.run, files={}, data=manifest.data)
    return Record(folder, config, manifest, metrics, result, is_finished=False)


def read_config(folder: Path) -> RecordedConfig:
    """Reads config.json, which `read_manifest` verifies.

    Raises:
      InputError: it is missing or damaged.
    """
    return _parse(folder / CONFIG, RecordedConfig, _load(folder / CONFIG))


def read_manifest(folder: Path) -> Manifest:
    """Reads environment.json, and verifies the files that it lists.

    Raises:
      InputError: one of them is missing or damaged.
    """
    manifest = load_manifest(folder)
    _verify(folder, manifest.files, MANIFEST)
    return manifest


def load_manifest(folder: Path) -> Manifest:
    """Reads environment.json without verifying the files that it lists.

    Raises:
      InputError: it is missing or damaged.
    """
    manifest = _parse(folder / MANIFEST, Manifest, _load_with_digest(folder / MANIFEST))
    if CONFIG not in manifest.files:
        raise damaged(folder / MANIFEST, f"files: has no {CONFIG!r}")
    return manifest


def read_result(folder: Path, manifest: Manifest) -> RunResult:
    """Reads result.json of a run, and verifies its metrics.

    Raises:
      InputError: one of them is missing or damaged, or of another run.
    """
    return _read_result(folder, manifest, RunResult)


def read_replicates_result(folder: Path, manifest: Manifest) -> ReplicatesResult:
    """Reads result.json of replicates.

    Raises:
      InputError: it is missing or damaged, or of another run.
    """
    return _read_result(folder, manifest, ReplicatesResult)


def begin(
    folder: Path, config: RecordedConfig, tokenizer: str, manifest: Mapping[str, Any]
) -> Manifest:
    """Writes the files that are fixed at the start of a run, the manifest last.

    Args:
      folder: folder of the run; files of a run without a checkpoint are replaced.
      config: content of config.json.
      tokenizer: text of tokenizer.json; '' for none.
      manifest: environment and data for the manifest.

    Raises:
      InputError: a file cannot be written.
    """
    write_json(folder / CONFIG, config.values())
    files = [CONFIG]
    if tokenizer:
        write_text(folder / TOKENIZER, tokenizer)
        files.append(TOKENIZER)
    run = {"run": secrets.token_hex(8), "files": _digests(folder, files)}
    return write_manifest(folder, {**manifest, **run})


def replace_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Replaces config.json of a run, and its digest in the manifest.

    The manifest is written first. `is_being_replaced` detects a crash between the two.

    Raises:
      InputError: a file cannot be written.
    """
    text, manifest = _config_text(folder, config), load_manifest(folder)
    files = {**manifest.files, CONFIG: _text_digest(text)}
    write_manifest(folder, {**manifest.values(), "files": files})
    write_text(folder / CONFIG, text)


def is_being_replaced(folder: Path, config: Mapping[str, Any]) -> bool:
    """Returns whether the manifest has the digest of this config, written before a crash."""
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
    """Writes result.json of a finished run with the digest of its metrics; returns its values.

    Args:
      folder: folder of the run.
      manifest: manifest of the run.
      values: the result; of replicates if it has `seeds`.
    """
    schema = ReplicatesResult if "seeds" in values else RunResult
    files = _digests(folder, [METRICS] if schema is RunResult else [])
    return _write(folder / RESULT, schema, {**values, "run": manifest.run, "files": files}).values()


def _read_result(folder: Path, manifest: Manifest, schema: type[_Outcome]) -> _Outcome:
    result = _parse(folder / RESULT, schema, _load_with_digest(folder / RESULT))
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
    remedy = (
        "The run has not finished: repeat its command to resume it."
        if path.name == RESULT
        else "Give the folder of a run, or bring the file back from a copy."
    )
    return InputError(f"{path} is missing. {remedy}")


def _load_with_digest(path: Path) -> dict[str, Any]:
    values = _load(path)
    if not record_digest.has_valid_digest(values):
        raise damaged(path, "its digest does not match")
    return {key: value for key, value in values.items() if key != "digest"}


def _parse(path: Path, schema: type[_Schema], values: Mapping[str, Any]) -> _Schema:
    try:
        return schema.model_validate(values)
    except pydantic.ValidationError as error:
        detail = error.errors()[0]
        key = ".".join(map(str, detail["loc"])) or "the object"
        value = "" if detail["type"] == "missing" else f", given {str(detail['input'])[:80]!r}"
        raise damaged(path, f"{key}: {detail['msg']}{value}") from None


def damaged(path: Path, problem: str) -> InputError:
    """Returns the error of a damaged file."""
    return InputError(
        f"{path} is damaged ({problem}). Bring it back from a copy, or train again in a new folder."
    )
