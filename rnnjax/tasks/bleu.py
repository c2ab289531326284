"""How good translations are, as sacrebleu has it."""

import unicodedata
from collections.abc import Sequence
from typing import Any

from rnnjax.errors import InputError

_FORM = "NFC"


def require_sacrebleu() -> None:
    """Raises InputError if sacrebleu, which is an extra of the package, is not installed."""
    try:
        import sacrebleu  # noqa: F401
    except ImportError:
        raise InputError(
            "translations are judged by sacrebleu, which is not installed: pip install "
            "'rnnjax[translate]', or pip install sacrebleu"
        ) from None


def translation_scores(
    found: Sequence[str], references: Sequence[str]
) -> tuple[dict[str, float], dict[str, str]]:
    """Returns scores of translations, and the signatures of 'bleu' and 'chrf'.

    The scores are 'bleu' and 'chrf', from 0 to 100, and 'exact', the share that are their
    reference letter for letter. All compare texts in normalization form C of Unicode, in which a
    letter and its accent are one character, however a text is written. The signatures are those of
    sacrebleu, and say so.

    Source: Post, A call for clarity in reporting BLEU scores, WMT 2018; Popovic, chrF, WMT 2015.

    Args:
      found: at least one.
      references: one for each.
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    found, references = ([_composed(text) for text in texts] for texts in (found, references))
    metrics: dict[str, Any] = {"bleu": BLEU(tokenize="13a"), "chrf": CHRF()}
    scores = {
        name: float(metric.corpus_score(found, [references]).score)
        for name, metric in metrics.items()
    }
    same = [one == other for one, other in zip(found, references, strict=True)]
    signatures = {
        name: f"{metric.get_signature()}|form:{_FORM}" for name, metric in metrics.items()
    }
    return {**scores, "exact": sum(same) / len(same)}, signatures


def _composed(text: str) -> str:
    return unicodedata.normalize(_FORM, text)
