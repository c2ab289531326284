"""How good translations are, as sacrebleu has it."""

from collections.abc import Sequence
from typing import Any

from rnnjax.errors import InputError


def check_judge() -> None:
    """Raises InputError if sacrebleu, which is an extra of the package, is not installed."""
    try:
        import sacrebleu  # noqa: F401
    except ImportError:
        raise InputError(
            "translations are judged by sacrebleu, which is not installed: pip install "
            "'rnnjax[translate]', or pip install sacrebleu"
        ) from None


def judged(
    found: Sequence[str], references: Sequence[str]
) -> tuple[dict[str, float], dict[str, str]]:
    """Returns scores of translations, and what sacrebleu calls the settings of 'bleu' and 'chrf'.

    The scores are 'bleu' and 'chrf', from 0 to 100, and 'exact', the share that are their
    reference letter for letter.

    Source: Post, A call for clarity in reporting BLEU scores, WMT 2018; Popovic, chrF, WMT 2015.

    Args:
      found: at least one.
      references: one for each.
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    metrics: dict[str, Any] = {"bleu": BLEU(tokenize="13a"), "chrf": CHRF()}
    scores = {
        name: float(metric.corpus_score(list(found), [list(references)]).score)
        for name, metric in metrics.items()
    }
    same = [one == other for one, other in zip(found, references, strict=True)]
    signatures = {name: str(metric.get_signature()) for name, metric in metrics.items()}
    return {**scores, "exact": sum(same) / len(same)}, signatures
