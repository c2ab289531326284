r"""A bidirectional GRU that names the class of a series of numbers.

Schuster, Paliwal, Bidirectional recurrent neural networks, 1997, for the network.

    python -m rnnjax.main --config configs/time_series.py

Without a file it reads generated autoregressive series. Others are `.ts` files of the UEA archive,
`.npz`, or tables: `--config.data.file=X_TRAIN.ts --config.data.test_file=X_TEST.ts`. Forecasts:
`--config.time_series.output=forecast --config.model.bidirectional=False`.

experiments/time_series, japanese_vowels: 31,113 parameters, 243 training rows, test accuracy 0.9822
± 0.0056 (mean ± sd of seeds 0 to 4), trained in 10 s of processor time on 2 CPU cores.

experiments/time_series, mnist1d: 101,514 parameters, 3,600 training rows, test accuracy 0.9456 ±
0.0063 (mean ± sd of seeds 0 to 4), trained in 1 min of processor time on 2 CPU cores.

experiments/time_series, mnist1d_shuffled: 101,514 parameters, 3,600 training rows, test accuracy
0.4716 ± 0.0067 (mean ± sd of seeds 0 to 4), trained in 59 s of processor time on 2 CPU cores.
"""

import ml_collections

from rnnjax.config import defaults


def get_config() -> ml_collections.ConfigDict:
    """Bidirectional GRU(64), dropout, a linear output."""
    config = ml_collections.ConfigDict(defaults("time_series"))
    config.epochs = 30
    config.batch_size = 32
    config.learning_rate = 5e-3
    config.schedule = "cosine"
    config.data.validation = 0.1
    config.model.cell = "GRUCell"
    config.model.features = 64
    config.model.bidirectional = True
    config.model.dropout = 0.2
    return config
