"""The search of a sweep: the next setting to try, from the recorded trials."""

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rnnjax.errors import InputError
from rnnjax.experiment.records import read_complete
from rnnjax.experiment.sweep_plan import Range, Setting, Sweep
from rnnjax.reporting import metrics_log

COMPLETE, PRUNED, FAILED = "complete", "pruned", "failed"
"""How a trial ended."""


def propose(
    sweep: Sweep,
    number: int,
    trials: Sequence[Mapping[str, Any]],
    running: Sequence[Setting],
    better: str,
) -> Setting:
    """Returns the setting of a trial.

    A grid and random draws depend on the number alone, and the Parzen estimator on the recorded
    trials as well, so that an interrupted search goes on as it would have.

    Args:
      sweep: with the keys.
      number: of the trial, from 0.
      trials: recorded ones.
      running: settings of trials that have not ended.
      better: whether a 'higher' or a 'lower' score is better.
    """
    if sweep.search == "grid":
        combinations = itertools.product(*(_values(sweep, key) for key in sweep.keys))
        values = next(itertools.islice(combinations, number, None))
        return dict(zip(sweep.keys, values, strict=True))
    if sweep.search == "random":
        generator = random.Random(f"{sweep.seed} {number}")
        return {key: _draw(generator, values) for key, values in sweep.keys.items()}
    study = _study(sweep, number, trials, better)
    for setting in running:
        study.add_trial(_trial(sweep, setting, "RUNNING"))
    return study.ask(_distributions(sweep)).params


def is_worse(
    sweep: Sweep, trials: Sequence[Mapping[str, Any]], scores: Sequence[float], better: str
) -> bool:
    """Returns whether the last of a trial's scores is worse than the median of earlier trials.

    Args:
      sweep: of the trials.
      trials: recorded ones.
      scores: of the trial, by evaluation.
      better: as for `propose`.
    """
    study = _study(sweep, len(trials), trials, better)
    trial = study.ask()
    for index, score in enumerate(scores):
        trial.report(score, index)
    return trial.should_prune()


def best_trial(
    sweep: Sweep, trials: Sequence[Mapping[str, Any]], better: str
) -> Mapping[str, Any] | None:
    """Returns the complete trial of the best score, the first of equal ones; None without any."""
    complete = sorted(
        (trial for trial in trials if trial["state"] == COMPLETE), key=lambda trial: trial["trial"]
    )
    return min(complete, key=lambda trial: minimized_score(sweep, trial, better), default=None)


def minimized_score(sweep: Sweep, trial: Mapping[str, Any], better: str) -> float:
    """Returns the score of a complete trial, negated if a higher one is better."""
    score = trial["validation"][sweep.score]
    return -score if better == "higher" else score


def read_trials(path: Path, *keys: str) -> list[dict[str, Any]]:
    """Reads recorded trials without verifying their digests; none if there is no file.

    Scores that are not finite become floats.

    Args:
      path: the file, whose last line may be unfinished.
      *keys: required beside description, command and scores by evaluation.

    Raises:
      InputError: a line is not a JSON object, or lacks a key.
    """
    trials = read_complete(path, "trial", ("what", "command", "by_evaluation", *keys))
    for trial in trials:
        for key in {"by_evaluation", "validation"} & set(trial):
            trial[key] = metrics_log.restore_floats(trial[key])
    return trials


def require_optuna(sweep: Sweep) -> None:
    """Raises InputError if a search needs Optuna and it is not installed."""
    if sweep.search != "tpe":
        return
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"sweep.search is 'tpe', and Optuna cannot be imported ({error}); install the extra: "
            "pip install 'rnnjax[sweep]'"
        ) from error


def _values(sweep: Sweep, key: str) -> Sequence[Any]:
    values = sweep.keys[key]
    assert isinstance(values, list)
    return values


def _draw(generator: random.Random, values: Any) -> Any:
    """Returns a value of a list or a range, drawn uniformly, or so in its logarithm."""
    if not isinstance(values, Range):
        return generator.choice(values)
    low, high = values.low, values.high
    if values.log:
        # Of whole numbers each has the share of the logarithms that round to it.
        ends = (low - 0.5, high + 0.5) if values.is_integer else (low, high)
        value = math.exp(generator.uniform(*map(math.log, ends)))
        return min(max(round(value) if values.is_integer else value, low), high)
    if values.is_integer:
        return generator.randint(int(low), int(high))
    return generator.uniform(low, high)


def _study(sweep: Sweep, number: int, trials: Sequence[Mapping[str, Any]], better: str) -> Any:
    """Returns an Optuna study of the recorded trials."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    seed = random.Random(f"{sweep.seed} {number}").getrandbits(32)
    study = optuna.create_study(
        direction="maximize" if better == "higher" else "minimize",
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5),
    )
    for trial in trials:
        study.add_trial(_recorded_trial(sweep, trial))
    return study


def _recorded_trial(sweep: Sweep, trial: Mapping[str, Any]) -> Any:
    scores = [line[sweep.score] for line in trial["by_evaluation"]]
    state = {COMPLETE: "COMPLETE", PRUNED: "PRUNED", FAILED: "FAIL"}[trial["state"]]
    value = trial["validation"][sweep.score] if state == "COMPLETE" else None
    return _trial(sweep, trial["values"], state, value, scores)


def _trial(
    sweep: Sweep,
    setting: Setting,
    state: str,
    value: float | None = None,
    scores: Sequence[float] = (),
) -> Any:
    import optuna

    return optuna.trial.create_trial(
        state=optuna.trial.TrialState[state],
        value=value,
        params=setting,
        distributions=_distributions(sweep),
        intermediate_values=dict(enumerate(scores)),
    )


def _distributions(sweep: Sweep) -> dict[str, Any]:
    from optuna import distributions

    def distribution(values: Any) -> Any:
        if not isinstance(values, Range):
            return distributions.CategoricalDistribution(values)
        if values.is_integer:
            return distributions.IntDistribution(int(values.low), int(values.high), values.log)
        return distributions.FloatDistribution(values.low, values.high, values.log)

    return {key: distribution(values) for key, values in sweep.keys.items()}
