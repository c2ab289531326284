"""BLEU and chrF of translations, by sacrebleu."""

import unicodedata
from collections.abc import Sequence
from typing import Any

from rnnjax.errors import InputError

_FORM = "NFC"


def require_sacrebleu() -> None:
    """Checks that sacrebleu, an extra of the package, is installed.

    Raises:
      InputError: it is not.
    """
    try:
        import sacrebleu  # noqa: F401
    except ImportError:
        raise InputError(
            "translations are judged by sacrebleu, which is not installed: pip install "
            "'rnnjax[translate]', or pip install sacrebleu"
        ) from None


def translation_scores(
    translations: Sequence[str], references: Sequence[str]
) -> tuple[dict[str, float], dict[str, str]]:
    """Returns scores of translations, and the signatures of 'bleu' and 'chrf'.

    The scores are 'bleu' and 'chrf', from 0 to 100, and 'exact', the share equal to their
    reference. All compare texts in Unicode normalization form C, which composes letters and
    accents; the signatures of sacrebleu say so.

    Source: Post, A call for clarity in reporting BLEU scores, WMT 2018; Popovic, chrF, WMT 2015.

    Args:
      translations: at least one.
      references: one for each.
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    translations, references = (
        [_composed(text) for text in texts] for texts in (translations, references)
    )
    metrics: dict[str, Any] = {"bleu": BLEU(tokenize="13a"), "chrf": CHRF()}
    scores = {
        name: float(metric.corpus_score(translations, [references]).score)
        for name, metric in metrics.items()
    }
    exact_matches = [
        translation == reference
        for translation, reference in zip(translations, references, strict=True)
    ]
    signatures = {
        name: f"{metric.get_signature()}|form:{_FORM}" for name, metric in metrics.items()
    }
    return {**scores, "exact": sum(exact_matches) / len(exact_matches)}, signatures


def _composed(text: str) -> str:
    return unicodedata.normalize(_FORM, text)
