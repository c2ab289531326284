"""The seal of a record: a digest of what it says.

It finds a slip: a number that was changed by hand, a merge that went wrong. It stops nobody who
means to deceive, and who can as well compute it again.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from rnnjax.reporting.atomic_files import encode_json

BROKEN = "is not as it was recorded (its digest does not fit); bring the line back"
"""What to tell of a line whose seal is broken."""


def with_digest(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a record with the digest of what it says."""
    return {**record, "digest": _digest(record)}


def has_valid_digest(record: Mapping[str, Any]) -> bool:
    """Returns whether a record says what it said when it was sealed."""
    return record.get("digest") == _digest(record)


def _digest(record: Mapping[str, Any]) -> str:
    said = json.loads(encode_json({key: value for key, value in record.items() if key != "digest"}))
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]
