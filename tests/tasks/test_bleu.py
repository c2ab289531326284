"""BLEU and chrF: settings, signatures and Unicode normalization."""

import math
import unicodedata

import pytest

from rnnjax.tasks.translation.bleu import translation_scores

pytest.importorskip("sacrebleu", reason="translations are judged by sacrebleu, an extra")


def test_signatures_name_the_settings():
    references = ["the cat sat on the mat .", "dogs run fast today"]
    scores, signatures = translation_scores(
        ["the cat sat on the mat.", "dogs run fast today"], references
    )
    assert scores == {"bleu": pytest.approx(100), "chrf": pytest.approx(100), "exact": 0.5}
    assert signatures["bleu"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp")
    assert signatures["chrf"].startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0")


def test_bleu_equals_its_definition():
    # 4 of 5 words, 2 of 4 pairs, 1 of 3 triples, half of one of 2 fours (no match: smoothed).
    scores, _ = translation_scores(["a b c x d"], ["a b c y d"])
    expected = 100 * (4 / 5 * 2 / 4 * 1 / 3 * 1 / (2 * 2)) ** 0.25
    assert scores["bleu"] == pytest.approx(expected)
    assert scores["exact"] == 0


def test_brevity_penalty_is_of_the_translations():
    # All of its words and pairs are right, but it is shorter.
    scores, _ = translation_scores(["a b c d"], ["a b c d e"])
    assert scores["bleu"] == pytest.approx(100 * math.exp(1 - 5 / 4))
    assert translation_scores(["A b c d e"], ["a b c d e"])[0]["exact"] == 0


@pytest.mark.parametrize("decomposed", ["translations", "references", "both"])
def test_unicode_normalization_does_not_change_scores(decomposed):
    translations, references = (
        ["Tiếng Việt rất đẹp .", "à bientôt"],
        ["Tiếng Việt rất đẹp .", "à demain"],
    )
    expected, signatures = translation_scores(translations, references)
    assert signatures["bleu"].endswith("|form:NFC")
    assert expected["exact"] == 0.5
    assert 0 < expected["chrf"] < 100
    if decomposed != "references":
        translations = [unicodedata.normalize("NFD", text) for text in translations]
    if decomposed != "translations":
        references = [unicodedata.normalize("NFD", text) for text in references]
    assert translation_scores(translations, references)[0] == expected
