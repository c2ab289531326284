"""The invariants of a cell, ordered from cause to consequence.

To add one, decorate a check function with `@invariant("statement", cause="the usual cause")` in the
module of its subject, list it here, and add a mutant that it detects to `tests/testing/`.
"""

from rnnjax.testing.invariant import Invariant
from rnnjax.testing.invariants import (
    cell,
    draws,
    dropout,
    masking,
    newton,
    numerics,
    precision,
    resets,
    sizes,
    time,
)

INVARIANTS: dict[str, Invariant] = {
    invariant.name: invariant
    for invariant in (
        # The cell alone.
        cell.state_structure,
        cell.rng_stream,
        cell.deterministic_evaluation,
        draws.dropout_rate,
        cell.purity,
        cell.jit,
        cell.parameter_count,
        draws.initial_parameters,
        numerics.param_dtype,
        cell.output_part,
        draws.zoneout_parts,
        # The cell in the layer.
        numerics.finite,
        masking.row_independence,
        cell.vmap,
        time.projection,
        time.causality,
        time.initial_state,
        masking.masked_outputs,
        masking.empty_rows,
        masking.masked_gradients,
        masking.masked_values,
        masking.padding_side,
        masking.batch_shape,
        time.reverse,
        time.split_sequence,
        time.loop_values,
        time.loop_gradients,
        time.streaming,
        time.bidirectional,
        # Larger batches.
        sizes.row_counts,
        sizes.projection_sizes,
        sizes.sequence_sizes,
        resets.document_resets,
        newton.newton,
        # Training and precision.
        numerics.trainable_parameters,
        numerics.finite_differences,
        numerics.new_cell,
        numerics.stability,
        precision.bfloat16,
        precision.bfloat16_gradients,
        precision.large_states,
        precision.counters,
        # Random numbers.
        dropout.dropout_keys,
        dropout.dropout_per_sequence,
        dropout.dropout_per_step,
        dropout.dropout_per_row,
        dropout.dropout_bidirectional,
        cell.serialization,
    )
}
"""The first violation is the one to look at: later ones often follow from it."""
