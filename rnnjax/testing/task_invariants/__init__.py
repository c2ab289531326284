"""The invariants of a task, ordered from cause to consequence.

To add one, decorate a check function with `@task_invariant("statement", "cause")` in the module of
its subject, list it here, and add a mutant that it detects to `tests/testing/`.
"""

from rnnjax.testing.task_invariant import TaskInvariant
from rnnjax.testing.task_invariants import batches, carry, prediction, scores, training

TASK_INVARIANTS: dict[str, TaskInvariant] = {
    invariant.name: invariant
    for invariant in (
        # The data.
        batches.pure_batches,
        batches.few_shapes,
        batches.every_example_once,
        batches.seeded_order,
        # The network.
        training.seeded_parameters,
        scores.evaluation_without_dropout,
        # The loss and the scores.
        scores.weighted_mean,
        scores.zero_weight_rows,
        scores.filled_rows,
        scores.filled_rows_in_metrics,
        scores.metric_rows,
        scores.masked_values,
        scores.padding,
        scores.row_order,
        scores.batch_size,
        # The carry.
        carry.carry_reset,
        carry.carry_read,
        carry.pieces,
        # Runs.
        training.resumption,
        training.restored_scores,
        prediction.separate_predictions,
        prediction.accuracy_of_predictions,
    )
}
"""The first violation is the one to look at: later ones often follow from it."""
