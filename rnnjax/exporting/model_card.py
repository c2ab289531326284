"""The model card of an exported folder: purpose, data, scores, limits and use, from the record."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from rnnjax.config.catalog import config_names, recorded_result
from rnnjax.errors import InputError
from rnnjax.reporting import run_files
from rnnjax.reporting.markdown import table
from rnnjax.tasks.trained_run import TrainedRun

_PURPOSES = {
    "classes": "Tells the class of a text.",
    "labels": "Labels the tokens of a text.",
    "next_token": "Gives the probabilities of the next token of a text, and so scores texts.",
    "target_text": "Translates a text.",
    "series": "Predicts labels or values of series of numbers.",
}
_LIMITS = {
    "classes": "It answers with the classes above alone. A text that belongs to none of them gets "
    "one all the same, maybe with a high probability.",
    "labels": "It answers with its labels alone, and reads each text by itself.",
    "next_token": "A probable text is not a true one. It knows no facts, and it repeats what its "
    "data says about people.",
    "target_text": "It translates texts like those of its data. Of others it drops, adds and "
    "repeats words, and shows no doubt.",
    "series": "Its inputs have to be channels of the same meaning and units as its data. It says "
    "nothing about series that behave in another way.",
}
_LICENCES = {
    **dict.fromkeys(
        ("ag_news_subset", "ag_news_csv"),
        "AG's corpus of news articles is for research and other non-commercial use, as its "
        "collector states; the articles belong to their publishers.",
    ),
    "docstrings": "The docstrings have the licences of their libraries: Python PSF, NumPy and "
    "SciPy BSD, JAX Apache 2.0.",
}
_USE = (
    "The last command verifies the fingerprints of all files, and answers the inputs of",
    "`examples.json` once more: PASS, or what differs. `model.safetensors` has the parameters,",
    "`model.json` the programs that `run.py` computes. Each program is a file of StableHLO too,",
    "for any batch and time: `jax.export.deserialize` makes a function of it, of a dict of the",
    "tensors that `model.json` lists as its parameters, and of its inputs in their order.",
)
_ONNX = (
    "\nEach program is a file of ONNX as well, with the parameters in it, for any batch and time.",
    "Its inputs have the names of `model.json`, and so have its outputs, in their order; before",
    "the name of an output that is the next value of an input stands `next.`.",
)
_NO_LICENCE = "The record holds no licence of the data: ask whoever gave you the data."


def render_card(run: TrainedRun, description: Mapping[str, Any], onnx: bool = False) -> str:
    """Returns the model card, Markdown.

    Args:
      run: the trained network.
      description: content of `model.json`.
      onnx: whether the folder has files of ONNX.
    """
    lines = [*_lines(run, description), *(_ONNX if onnx else ())]
    return "\n".join(lines) + "\n"


def _lines(run: TrainedRun, description: Mapping[str, Any]) -> Iterator[str]:
    kind, data, model = description["kind"], run.data, run.config.model
    direction = "bidirectional" if model.bidirectional else "unidirectional"
    layers = f"{model.layers} {direction} layer" + "s" * (model.layers > 1)
    mask = "reads no padding" if model.mask else "was trained without a mask, and read padding then"
    count = sum(leaf.size for leaf in jax.tree.leaves(run.params))
    yield f"# {run.folder.resolve().name}"
    yield f"\n{_PURPOSES[kind]} A recurrent network of {layers} of `{model.cell}` with"
    yield f"{model.features} features, {count:,} parameters, which {mask}."
    if run.fallback:
        yield f"\n**Trained on the {run.fallback} corpus, which stood in for other data.**"
    if classes := list(data.get("classes", ())):
        yield f"\nClasses: {', '.join(classes)}."
    yield "\n## Data\n"
    rows = data.get("rows", {})
    yield table(
        ["", ""],
        [
            ["name", f"`{data['name']}`"],
            ["source", data.get("source", "")],
            ["fingerprint (SHA-256)", f"`{data['fingerprint']}`"],
            ["rows", ", ".join(f"{name} {number:,}" for name, number in rows.items())],
        ],
    )
    yield f"\n{_LICENCES.get(data['name'], _NO_LICENCE)}"
    yield "\n## Scores\n"
    yield from _scores(run)
    yield "\n## Made for, and not for\n"
    yield f"It was trained to do the following on data like the above: {_PURPOSES[kind].lower()}"
    yield f"\n- {_LIMITS[kind]}"
    if vocabulary := data.get("vocabulary"):
        share = data.get("unknown_share", 0.0)
        yield f"- It knows {vocabulary:,} tokens and reads all others as one; of its training text"
        yield f"  that was {share:.1%}. Other languages are unknown to it altogether."
    if limit := description["settings"].get("max_tokens"):
        yield f"- It reads the first {limit:,} tokens of a text."
    yield "- Nobody has examined whom its mistakes hit. Decisions about people are not for it."
    yield "\n## Use\n"
    yield "```sh\npip install numpy tokenizers"
    if kind == "series":
        yield "python run.py --data series.npz  # values [rows, time, channels], lengths [rows]"
    else:
        yield 'python run.py "text"'
    yield "python run.py --check\n```\n"
    yield from _USE


def _scores(run: TrainedRun) -> Iterator[str]:
    if not (run.folder / run_files.RESULT).exists():
        yield "The run has not finished: there are none."
        return
    test = dict(run.result["test"])
    count = test.pop("rows", 0)
    seeds = _scores_of_seeds(run.folder)
    rows = []
    for name, value in test.items():
        if not isinstance(value, float):
            continue
        error = ""
        if name == "accuracy" and count:
            error = f" ± {math.sqrt(value * (1 - value) / count):.4f}"
        spread = seeds.get(name)
        by_seed = f"{spread['mean']:.4f} ± {spread['sd']:.4f}" if spread else ""
        rows.append([name, f"{value:.4f}{error}", *([by_seed] if seeds else [])])
    header = ["test score", "this network", *(["mean ± sd of its seeds"] if seeds else [])]
    yield table(header, rows)
    unit = type(run.task).score_unit
    yield f"\nOn {count:,} {unit} that it was not trained on; the accuracy with its standard error."
    name = run_files.read_config(run.folder).name
    if not seeds and name in config_names() and (recorded := recorded_result(name)):
        yield f"The config `{name}`, as rnnjax has it, has the {recorded.metric} {recorded.score}"
        yield "over several seeds in its record; this run may have changed it."


def _scores_of_seeds(folder: Path) -> Mapping[str, Any]:
    """Returns the scores over all seeds, of a run that is one of several; otherwise none."""
    parent = folder.resolve().parent
    try:
        manifest = run_files.read_manifest(parent)
        return run_files.read_replicates_result(parent, manifest).values()["test"]
    except InputError:
        return {}
