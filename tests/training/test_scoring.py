"""Log-probabilities of texts, and generation for a file of prompts, by trained language models."""

import json
import math

import jax
import numpy as np
import pytest

from rnnjax import training
from rnnjax.data.vocabulary import END, UNKNOWN
from rnnjax.errors import InputError
from rnnjax.tasks.language_modeling.trained_run import TrainedLanguageModel
from rnnjax.tasks.sampling import GenerationOptions

from .small_runs import make_config, train

CONFIG = {
    "task": "language_modeling",
    "epochs": 1,
    "batch_size": 4,
    "learning_rate": 0.01,
    "data": {"sequence_length": 9},
    "model": {"cell": "LSTMCell", "features": 8, "embedding": {"features": 6}},
    "checkpoint": {"every": 0},
}
TEXTS = ["The king, is here", "", "ж king\nart  thou", *["so art thou my lord " * 9] * 2, "is"] * 4


@pytest.fixture(scope="module", params=["character", "subword", "word", "whitespace"])
def run(request, play, tmp_path_factory):
    """A trained language model of each unit."""
    vocabulary = {"data__vocabulary__unit": request.param, "data__vocabulary__size": 40}
    workdir = tmp_path_factory.mktemp("runs") / request.param
    train(make_config(CONFIG, data__file=str(play), **vocabulary), workdir)
    return training.load_run(workdir)


def test_scores_are_those_of_one_pass_over_each_text(run):
    scores = run.score(TEXTS)
    assert [score.text for score in scores] == TEXTS
    assert scores[:6] == scores[6:12]
    for text, score in list(zip(TEXTS, scores, strict=True))[:6]:
        ids = run.vocabulary.encode([text]).values
        inputs, targets = np.array([[END, *ids]], np.int32), [*ids, END]
        _, logits = run.task.model.apply({"params": run.params}, inputs, np.ones_like(inputs, bool))
        bits = -np.asarray(jax.nn.log_softmax(logits))[0, range(len(targets)), targets]
        bits = bits / math.log(2)
        np.testing.assert_allclose([token.bits for token in score.tokens], bits[:-1], rtol=1e-4)
        assert score.end_bits == pytest.approx(bits[-1], rel=1e-4)
        assert score.bits == pytest.approx(bits[:-1].sum(), rel=1e-4, abs=1e-9)
        assert score.log_probability == pytest.approx(-score.bits * math.log(2), abs=1e-9)
        assert [token.unknown for token in score.tokens] == (ids == UNKNOWN).tolist()
        places = [(token.start, token.end) for token in score.tokens]
        assert places == sorted(places)
        assert [token.token for token in score.tokens] == [text[a:b] for a, b in places]
        if run.vocabulary.preserves_text:
            assert "".join(token.token for token in score.tokens) == text
        else:
            # Words have no punctuation, and lines of white-space words have ends.
            words = text.replace(",", "").split() if "word" in run.folder.name else text.split()
            assert " ".join(token.token for token in score.tokens).split() == words


def test_score_is_that_of_the_evaluation(run, tmp_path):
    text = "ANN:\nthe king is here\n"
    (tmp_path / "text.txt").write_text(text)
    scores = run.evaluate(tmp_path / "text.txt")
    (score,) = run.score([text])
    bits = score.bits
    if run.vocabulary.has_line_ends:
        bits -= score.tokens[0].bits  # which an evaluation does not predict
        (first,) = run.score([""])
        assert first.tokens == ()
        # An evaluation reads no end before the first word.
        assert scores["rows"] == len(score.tokens) - 1
    else:
        assert scores["bits"] * scores["rows"] == pytest.approx(bits + score.end_bits, rel=1e-4)


def test_score_command_prints_a_json_line_for_each_text(run, run_in_process, tmp_path):
    texts = ["the king", "ж is here"]
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(texts), encoding="utf-8")
    arguments = ("score", f"--workdir={run.folder}")
    typed = run_in_process(*arguments, *texts)
    assert typed.status == 0, typed.err
    read = run_in_process(*arguments, f"--data={path}")
    assert read.out == typed.out
    scores = [json.loads(line) for line in typed.out.splitlines()]
    expected = run.score(texts)
    assert [score["text"] for score in scores] == texts
    for score, values in zip(scores, expected, strict=True):
        assert score["bits"] == pytest.approx(values.bits, rel=1e-6)
        assert score["tokens"][0]["start"] == 0
    unknown = scores[1]["tokens"][0]
    assert (unknown["token"], unknown["end"], unknown["unknown"]) == ("ж", 1, True)
    count = sum(len(values.tokens) for values in expected)
    assert f"WARNING: 1 of {count} tokens are unknown to the network" in typed.err
    assert f"scored {count} tokens in " in typed.err
    assert " tokens/s\n" in typed.err


def test_score_command_refuses_two_sources_and_empty_files(run, run_in_process, tmp_path):
    arguments = ("score", f"--workdir={run.folder}", f"--data={tmp_path / 'texts.txt'}")
    (tmp_path / "texts.txt").write_text("")
    assert "there is no text; give another file" in run_in_process(*arguments).err
    assert "expected one of them" in run_in_process(*arguments, "a text").err


def test_prompts_of_a_file_have_the_texts_of_each(run, run_in_process, tmp_path):
    prompts = ["ANN:", "", "so art thou my lord and so art thou my king is here", "the ж"] * 9
    path = tmp_path / "prompts.txt"
    path.write_text("\n".join(prompts) + "\n", encoding="utf-8")
    flags = ("--length=12", "--seed=5", "--top_p=0.9", "--min_p=0.01", "--repetition_penalty=1.2")
    arguments = ("generate", f"--workdir={run.folder}", f"--prompts={path}", *flags)
    result = run_in_process(*arguments)
    assert result.status == 0, result.err
    lines = [json.loads(line) for line in result.out.splitlines()]
    assert [line["prompt"] for line in lines] == prompts
    options = GenerationOptions(top_p=0.9, min_p=0.01, repetition_penalty=1.2, seed=5)
    assert isinstance(run, TrainedLanguageModel)
    for line in lines[:4]:
        assert line["text"] == "".join(run.generate(line["prompt"], 12, options))
    assert lines[:4] == lines[4:8]
    assert len({line["text"] for line in lines}) == 4
    assert "tokens of the prompt 'the ж' are unknown" in result.err
    assert " tokens/s after the first\n" in result.err
    both = run_in_process(*arguments, "--prompt=x")
    assert both.status == 2
    assert "given --prompts and --prompt 'x'; expected one of them" in both.err


@pytest.mark.parametrize("beam_size", [0, 3])
def test_generated_text_matches_its_pattern_and_ends_before_stops(run, beam_size):
    options = GenerationOptions(pattern="(so|art)( (the|king))+", beam_size=beam_size)
    if run.vocabulary.preserves_text:
        options = options._replace(pattern="(so|art)( the| king){2}")
    text = "".join(run.generate("ANN:", 12, options)).removeprefix(" ")
    assert text.split()[0] in ("so", "art")
    assert set(text.split()[1:]) <= {"the", "king"}
    assert len(text.split()) > 1
    stopped = "".join(run.generate("ANN:", 12, options._replace(stop=("t",))))
    assert "t" not in stopped


def test_other_tasks_score_no_texts(finished):
    with pytest.raises(InputError, match="which scores no text"):
        training.load_run(finished).score(["a text"])
