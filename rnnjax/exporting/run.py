"""Answers texts with an exported network. It needs NumPy, and `tokenizers` to read text.

    python run.py "first text" "second text"    a JSON object a line
    python run.py < texts.txt                   a text a line
    python run.py --data series.npz             'values' [rows, time, channels], 'lengths' [rows]
    python run.py --check                       PASS, or what differs

`model.json` holds programs: lists of operations on arrays, as `jax.make_jaxpr` shows them. They are
computed by NumPy. In Python: `Model(folder).answers(texts)`, or `Model(folder).run(name, ...)` for
the arrays of one program.
"""

import argparse
import hashlib
import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

# Read when NumPy is imported: the products of one step are too small for several threads.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from interpreter import Program
from operations import DTYPES

FINGERPRINTS, MODEL, TENSORS = "fingerprints.json", "model.json", "model.safetensors"
TOKENIZER, EXAMPLES = "tokenizer.json", "examples.json"
PADDING, UNKNOWN, END = 0, 1, 2
"""Ids of tokens."""
_ROWS = 64
"""Most rows of a batch."""
_TOKENS = 32
"""Steps of a language model whose probabilities are held at once."""


class DamagedFolderError(Exception):
    """Files of the folder are missing or altered."""


class Model:
    """An exported network."""

    def __init__(self, folder: str | Path):
        """Reads a folder and verifies its files.

        Raises:
          DamagedFolderError: a file is missing or altered.
        """
        self.folder = Path(folder)
        if problems := verify(self.folder):
            raise DamagedFolderError("; ".join(problems))
        self.description = json.loads((self.folder / MODEL).read_text(encoding="utf-8"))
        self.settings = self.description["settings"]
        self.tensors = read_tensors(self.folder / TENSORS)
        self._tokenizer: Any = None

    def run(self, program: str, **inputs: Any) -> dict[str, np.ndarray]:
        """Returns the outputs of a program by their names.

        Args:
          program: its name in `model.json`, which has names, shapes and dtypes of the inputs.
          **inputs: arrays.
        """
        description, sizes, arrays = self.description["programs"][program], {}, []
        for entry in description["inputs"]:
            array = np.asarray(inputs[entry["name"]], entry["dtype"])
            symbols = zip(entry["shape"], array.shape, strict=True)
            sizes.update({name: size for name, size in symbols if isinstance(name, str)})
            arrays.append(array)
        parameters = [self.tensors[name] for name in description["parameters"]]
        with np.errstate(all="ignore"):
            outputs = Program(description["body"], self.tensors, sizes)(*parameters, *arrays)
        return dict(zip(description["outputs"], outputs, strict=True))

    def answers(self, inputs: Sequence[Any]) -> Iterator[dict[str, Any]]:
        """Yields the answer to each text, or to each series `[time, channels]`."""
        return ANSWERS[self.settings["kind"]](self, inputs)

    @property
    def tokenizer(self) -> Any:
        """The vocabulary."""
        if self._tokenizer is None:
            import tokenizers

            self._tokenizer = tokenizers.Tokenizer.from_file(str(self.folder / TOKENIZER))
            # "[UNK]" in a text is five characters.
            self._tokenizer.encode_special_tokens = True
        return self._tokenizer

    def encode(self, text: str) -> list[int]:
        """Returns the token ids of a text."""
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids[: self.settings["max_tokens"] or None]

    def read_rows(
        self, rows: Sequence[Any], masks: Sequence[Any] | None = None, program: str = "model"
    ) -> list[dict[str, np.ndarray]]:
        """Returns the outputs for each row of token ids or numbers, computed in batches.

        Args:
          rows: `[time, ...]` each.
          masks: of their steps; None where all count.
          program: of inputs 'inputs' and 'mask'.
        """
        results: list[Any] = [None] * len(rows)
        dtype = self.description["programs"][program]["inputs"][0]["dtype"]
        order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
        for start in range(0, len(rows), _ROWS):
            chunk = order[start : start + _ROWS]
            shape = len(chunk), max(len(rows[chunk[-1]]), 1)
            mask = np.zeros(shape, bool)
            inputs = np.zeros((*shape, *np.shape(rows[chunk[-1]])[1:]), dtype)
            for place, row in enumerate(chunk):
                length = len(rows[row])
                inputs[place, :length] = rows[row]
                mask[place, :length] = True if masks is None else masks[row]
            outputs = self.run(program, inputs=inputs, mask=mask)
            for place, row in enumerate(chunk):
                results[row] = {name: values[place] for name, values in outputs.items()}
        return results


def classify(model: Model, texts: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yields the class of each text, or its labels, with their probabilities."""
    rows = list(map(model.encode, texts))
    classes, threshold = model.settings["classes"], model.settings["threshold"]
    for text, row, outputs in zip(texts, rows, model.read_rows(rows), strict=True):
        values = np.exp(outputs["log_probabilities"]).tolist()
        probabilities = dict(zip(classes, values, strict=True))
        ranked = sorted(probabilities, key=probabilities.__getitem__, reverse=True)
        answer: dict[str, Any] = {"class": ranked[0], "probability": probabilities[ranked[0]]}
        if threshold is not None:
            answer = {"labels": [name for name in ranked if probabilities[name] > threshold]}
        answer |= {"probabilities": probabilities, "unknown_share": _unknown_share(row)}
        yield {"text": text, **answer}


def _unknown_share(ids: Sequence[int]) -> float:
    return 1 - sum(token != UNKNOWN for token in ids) / max(len(ids), 1)


def label_tokens(model: Model, texts: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yields the label of each token of each text."""
    settings, ids = model.settings, model.tokenizer.get_vocab()
    alphabet = {character: n for n, character in enumerate(settings["alphabet"], UNKNOWN + 1)}
    split = [list(text) if settings["are_characters"] else text.split() for text in texts]
    rows = []
    for number, tokens in enumerate(split, start=1):
        if not tokens:
            raise ValueError(f"text {number}: has no token; give a text with at least one")
        row = [[ids.get(token, UNKNOWN) or UNKNOWN] for token in tokens]
        if alphabet:
            count = settings["characters_per_token"]
            spelled = [[alphabet.get(c, UNKNOWN) for c in token[:count]] for token in tokens]
            row = [
                [*word, *letters, *[PADDING] * (count - len(letters))]
                for word, letters in zip(row, spelled, strict=True)
            ]
        rows.append(np.array(row, np.int32) if alphabet else np.array(row, np.int32).reshape(-1))
    results = model.read_rows(rows)
    for text, tokens, row, outputs in zip(texts, split, rows, results, strict=True):
        labels = [settings["labels"][label] for label in outputs["labels"][: len(tokens)]]
        words = row[:, 0] if row.ndim > 1 else row
        share = float(np.mean(words == UNKNOWN)) if len(words) else 0.0
        yield {"text": text, "tokens": tokens, "labels": labels, "unknown_share": share}


def score(model: Model, texts: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yields the log-probability (nats) of each text, and the surprisal (bits) of its tokens."""
    for text in texts:
        encoding = model.tokenizer.encode(text, add_special_tokens=False)
        inputs, targets = [END, *encoding.ids], np.array([*encoding.ids, END])
        state = {name: model.tensors[f"start/{name}"] for name in model.settings["state"]}
        scores = []
        for start in range(0, len(inputs), _TOKENS):
            tokens = np.array([inputs[start : start + _TOKENS]])
            outputs = model.run("model", inputs=tokens, mask=np.ones(tokens.shape, bool), **state)
            state = {name: outputs[name] for name in state}
            chosen = targets[start : start + _TOKENS]
            scores += outputs["log_probabilities"][0, np.arange(len(chosen)), chosen].tolist()
        bits = [-value / math.log(2) for value in scores]
        spans = zip(encoding.ids, encoding.offsets, bits[:-1], strict=True)
        yield {
            **{"text": text, "log_probability": sum(scores[:-1])},
            **{"bits": sum(bits[:-1]), "end_bits": bits[-1]},
            "tokens": [
                {"token": text[a:b], "start": a, "end": b, "bits": x, "unknown": i == UNKNOWN}
                for i, (a, b), x in spans
            ],
        }


def translate(model: Model, texts: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yields the translation of each text, and its score in the beam search."""
    rows = list(map(model.encode, texts))
    for text, outputs in zip(texts, model.read_rows(rows, program="translate"), strict=True):
        ids = [token for token in outputs["tokens"].tolist() if token not in (PADDING, END)]
        target = model.tokenizer.decode(ids, skip_special_tokens=False)
        yield {"text": text, "target": target, "score": float(outputs["scores"])}


def predict_series(model: Model, series: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Yields labels or values of series; a missing number is NaN or None."""
    settings, rows, masks = model.settings, [], []
    for values in series:
        scaled = (np.array(values, np.float64) - settings["mean"]) / settings["scale"]
        scaled = scaled.astype(np.float32)[-settings["last_steps"] :]
        is_missing = np.isnan(scaled)
        inputs = np.where(is_missing, np.float32(0), scaled)
        masks.append(~is_missing.any(axis=1))
        if settings["missing"] == "indicator":
            inputs = np.concatenate([inputs, is_missing], axis=1, dtype=np.float32)
            masks[-1][:] = True
        inputs[~masks[-1]] = 0
        rows.append(inputs)
    for row, outputs in zip(rows, model.read_rows(rows, masks), strict=True):
        steps = slice(len(row)) if settings["stepwise"] else ...
        if settings["classes"]:
            names = np.array(settings["classes"])[outputs["labels"][steps]].tolist()
            yield {"label": names, "probability": outputs["probability"][steps].tolist()}
            continue
        mean, scale = np.array(settings["target_mean"]), np.array(settings["target_scale"])
        values = outputs["values"][steps].astype(np.float64) * scale + mean
        answer: dict[str, Any] = {"value": values[..., settings["point"]].tolist()}
        if levels := settings["quantiles"]:
            answer["quantiles"] = {q: values[..., n].tolist() for n, q in enumerate(levels)}
        yield answer


ANSWERS = {
    **{"classes": classify, "labels": label_tokens, "next_token": score},
    **{"target_text": translate, "series": predict_series},
}
"""Functions from a model and its inputs to the answers, by the kind of the network."""


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Reads a file of safetensors: the length of the header, the header in JSON, and the data."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header, tensors = json.loads(content[8:start]), {}
    header.pop("__metadata__", None)
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        data = np.frombuffer(content[start + first : start + last], DTYPES[entry["dtype"]])
        tensors[name] = data.reshape(entry["shape"])
    return tensors


def verify(folder: Path) -> list[str]:
    """Returns a line for each file that is missing or differs from its fingerprint."""
    try:
        content = (folder / FINGERPRINTS).read_text(encoding="utf-8")
        fingerprints = dict(json.loads(content)["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [f"{FINGERPRINTS}: cannot be read ({error})"]
    problems = []
    for name, fingerprint in fingerprints.items():
        try:
            content = (folder / name).read_bytes()
        except OSError as error:
            problems.append(f"{name}: cannot be read ({error.strerror})")
            continue
        if hashlib.sha256(content).hexdigest() != fingerprint:
            problems.append(f"{name}: differs from its fingerprint in {FINGERPRINTS}")
    return problems


def check(folder: Path) -> list[str]:
    """Returns a line for each damaged file, or for each example whose answer differs."""
    try:
        model = Model(folder)
    except DamagedFolderError as error:
        return str(error).split("; ")
    examples = json.loads((folder / EXAMPLES).read_text(encoding="utf-8"))
    tolerance, expected = examples["tolerance"], examples["answers"]
    answers = list(model.answers(examples["inputs"]))
    return [
        f"{EXAMPLES}, example {number}: {difference}"
        for number, pair in enumerate(zip(answers, expected, strict=True), start=1)
        if (difference := compare(*pair, tolerance))
    ]


def compare(actual: Any, expected: Any, tolerance: float, place: str = "answer") -> str:
    """Returns the first difference between two answers, '' if there is none.

    Args:
      actual: strings, numbers, lists and dicts.
      expected: likewise.
      tolerance: of numbers, absolute up to 1 and relative beyond.
      place: of the two, for the message.
    """
    message = f"{place} is {actual!r}, expected {expected!r}"
    if isinstance(actual, float) and isinstance(expected, float | int):
        is_equal = abs(actual - expected) <= tolerance * max(1, abs(expected))
        return "" if is_equal else message
    if isinstance(expected, dict) and isinstance(actual, dict) and actual.keys() == expected.keys():
        pairs = [(f"{place}[{key!r}]", actual[key], expected[key]) for key in expected]
    elif isinstance(expected, list) and isinstance(actual, list) and len(actual) == len(expected):
        items = enumerate(zip(actual, expected, strict=True))
        pairs = [(f"{place}[{number}]", *pair) for number, pair in items]
    else:
        return "" if actual == expected else message
    differences = (compare(a, b, tolerance, inner) for inner, a, b in pairs)
    return next(filter(None, differences), "")


def _read_lines() -> Iterator[str]:
    for line in sys.stdin.buffer:
        yield line.decode("utf-8").rstrip("\r\n")


def _read_series(path: str) -> list[np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        values = arrays["values"]
        lengths = arrays["lengths"] if "lengths" in arrays else [values.shape[1]] * len(values)
    return [row[:length] for row, length in zip(values, lengths, strict=True)]


def main() -> int:
    """Answers texts, or checks the folder; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("texts", nargs="*", help="Texts; without any, lines of standard input.")
    parser.add_argument("--data", metavar="FILE", help="A .npz file of series.")
    parser.add_argument("--check", action="store_true", help="Check files and answers.")
    args = parser.parse_args()
    folder = Path(__file__).resolve().parent
    if args.check:
        problems = check(folder)
        for problem in problems:
            print(problem)
        print("FAIL" if problems else "PASS")
        return int(bool(problems))
    try:
        model = Model(folder)
        reads_series = model.settings["kind"] == "series"
        if reads_series != bool(args.data):
            parser.error(
                "the network reads " + ("series: give --data" if reads_series else "texts")
            )
        inputs = _read_series(args.data) if args.data else args.texts or list(_read_lines())
        for answer in model.answers(inputs):
            print(json.dumps(answer))
    except (DamagedFolderError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
