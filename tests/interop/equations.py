"""Equations of nn.RNN, nn.LSTM and nn.GRU as documented by PyTorch, one row and step at a time.

A reference in double precision for packed sequences, where PyTorch is not installed.
"""

import numpy as np


def sigma(x):
    """The logistic function."""
    return 1 / (1 + np.exp(-x))


def step(kind, x, state, w_ih, w_hh, b_ih, b_hh, w_hr=None):
    """Returns the state (h, c) after one step; c is None except for an LSTM."""
    h, c = state
    from_input, from_state = w_ih @ x + b_ih, w_hh @ h + b_hh
    if kind == "lstm":
        i, f, g, o = np.split(from_input + from_state, 4)
        c = sigma(f) * c + sigma(i) * np.tanh(g)
        h = sigma(o) * np.tanh(c)
        return (h if w_hr is None else w_hr @ h), c
    if kind == "gru":
        (ri, zi, ni), (rh, zh, nh) = np.split(from_input, 3), np.split(from_state, 3)
        z = sigma(zi + zh)
        n = np.tanh(ni + sigma(ri + rh) * nh)
        return (1 - z) * n + z * h, None
    total = from_input + from_state
    return (np.maximum(total, 0) if kind == "relu" else np.tanh(total)), None


def module(kind, state_dict, inputs, lengths):
    """Returns the padded outputs, and the final states: by layer, forward first, h before c.

    Args:
      kind: 'simple', 'relu', 'lstm' or 'gru'.
      state_dict: of the module.
      inputs: `[rows, time, inputs]`.
      lengths: of the rows.
    """
    state_dict = {name: np.asarray(value, np.float64) for name, value in state_dict.items()}
    outputs, finals = np.asarray(inputs, np.float64), []
    depth = 1 + max(int(name.split("_l")[1][0]) for name in state_dict)
    suffixes = ["", "_reverse"] if any(name.endswith("_reverse") for name in state_dict) else [""]
    parts = ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"]
    for layer in range(depth):
        layer_inputs, outputs = outputs, []
        for suffix in suffixes:
            names = [f"{part}_l{layer}{suffix}" for part in parts]
            weights = [state_dict[name] for name in names if name in state_dict]
            direction_outputs, final = _direction(
                kind, weights, layer_inputs, lengths, backward=bool(suffix)
            )
            outputs.append(direction_outputs)
            finals += [part for part in final if part is not None]
        outputs = np.concatenate(outputs, axis=-1)
    return [outputs, *finals]


def _direction(kind, weights, inputs, lengths, backward):
    size, features = weights[1].shape[1], weights[1].shape[0] // {"lstm": 4, "gru": 3}.get(kind, 1)
    outputs = np.zeros((*inputs.shape[:2], size))
    hidden, cells = np.zeros((len(inputs), size)), np.zeros((len(inputs), features))
    for row, length in enumerate(lengths):
        for time in reversed(range(length)) if backward else range(length):
            state = hidden[row], cells[row]
            hidden[row], new = step(kind, inputs[row, time], state, *weights)
            cells[row] = 0 if new is None else new
            outputs[row, time] = hidden[row]
    return outputs, (hidden, cells if kind == "lstm" else None)
