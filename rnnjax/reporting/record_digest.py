"""Digests of records, which reveal edited numbers and faulty merges.

They are no protection against forgery: anybody can compute them again.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from rnnjax.reporting.atomic_files import encode_json

BROKEN = "is not as it was recorded (its digest does not fit); bring the line back"


def with_digest(record: Mapping[str, Any]) -> dict[str, Any]:
    """Adds the digest of a record."""
    return {**record, "digest": _digest(record)}


def has_valid_digest(record: Mapping[str, Any]) -> bool:
    """Returns whether a record matches its digest."""
    return record.get("digest") == _digest(record)


def _digest(record: Mapping[str, Any]) -> str:
    values = {key: value for key, value in record.items() if key != "digest"}
    text = json.dumps(json.loads(encode_json(values)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
