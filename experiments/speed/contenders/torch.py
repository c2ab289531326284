"""Layers, training steps and output layers of PyTorch."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from case_data import layer_data, softmax_data, step_data, text_data
from cases import CLASSES, FORWARD_BACKWARD, VOCABULARY
from contenders import Job
from digests import digest, digest_of_softmax, digest_of_steps

torch.set_num_threads(len(os.sched_getaffinity(0)))
# The default of JAX: on a GPU, products of float32 in TF32.
torch.set_float32_matmul_precision("high")

_MODULES = {"simple": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
_DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def _synchronized(run: Callable[[], Any]) -> Callable[[], Any]:
    """Returns a function that waits for the device after a run."""

    def wait() -> Any:
        result = run()
        if _DEVICE == "cuda":
            torch.cuda.synchronize()
        return result

    return wait


def _recurrent(spec: dict[str, Any], weights: dict[str, Any]) -> nn.Module:
    module = _MODULES[spec["cell"]](
        spec["inputs"],
        spec["hidden"],
        num_layers=spec["layers"],
        bidirectional=spec["bidirectional"],
        batch_first=True,
    )
    module.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    return module.to(_DEVICE)


def layers(spec: dict[str, Any], variant: str) -> Job:
    """Returns the job of a layer; `variant` is 'packed' or 'padded'."""
    data = layer_data(spec)
    module = _recurrent(spec, data.weights)
    inputs, probe = (torch.from_numpy(a).to(_DEVICE) for a in (data.inputs, data.probe))
    lengths = torch.from_numpy(data.lengths)  # packing requires them on the CPU
    parameters = list(module.parameters())

    def outputs(inputs: torch.Tensor) -> torch.Tensor:
        if variant == "padded":
            return module(inputs)[0]
        packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
        padded = pad_packed_sequence(module(packed)[0], True, total_length=spec["time"])
        return padded[0]

    @torch.inference_mode()
    def forward() -> torch.Tensor:
        return outputs(inputs)

    def forward_backward() -> tuple[torch.Tensor, list[torch.Tensor]]:
        leaf = inputs.detach().requires_grad_()
        loss = (outputs(leaf) * probe).sum()
        return loss.detach(), list(torch.autograd.grad(loss, [leaf, *parameters]))

    runs = {"forward": _synchronized(forward), FORWARD_BACKWARD: _synchronized(forward_backward)}
    value, (input_gradient, *gradients) = runs[FORWARD_BACKWARD]()
    kernels = [gradient.cpu() for gradient in gradients if gradient.ndim == 2]
    result = runs["forward"]().cpu()
    return Job(runs, {"digest": digest(data, result, value, input_gradient.cpu(), kernels)})


class Network(nn.Module):
    """Embedding, recurrent layers and scores; packed if the lesson's network has a mask."""

    def __init__(self, spec: dict[str, Any], data: Any):
        """Copies the initial weights."""
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, spec["inputs"])
        self.recurrent = _recurrent(spec, data.weights)
        self.score = nn.Linear(len(data.score), CLASSES)
        with torch.no_grad():
            self.embed.weight.copy_(torch.from_numpy(data.embedding))
            self.score.weight.copy_(torch.from_numpy(data.score.T.copy()))
            self.score.bias.zero_()
        self.masked = spec["mask"]

    def forward(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Returns the scores, from the last output of each direction."""
        inputs = self.embed(tokens)
        if self.masked:
            inputs = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
        _, state = self.recurrent(inputs)
        hidden = state[0] if isinstance(state, tuple) else state
        directions = 2 if self.recurrent.bidirectional else 1
        return self.score(torch.cat(list(hidden[-directions:]), dim=-1))


def steps(spec: dict[str, Any], variant: str) -> Job:
    """Returns the job of a training step; `variant` is ignored."""
    del variant
    data = step_data(spec)
    network = Network(spec, data).to(_DEVICE)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, eps=1e-7, fused=True)
    sums = torch.zeros(2, device=_DEVICE)
    lengths = torch.from_numpy(data.mask.sum(1))

    def run() -> None:
        tokens = torch.from_numpy(data.tokens).to(_DEVICE)
        labels = torch.from_numpy(data.labels).long().to(_DEVICE)
        optimizer.zero_grad()
        scores = network(tokens, lengths)
        loss = nn.functional.cross_entropy(scores, labels)
        loss.backward()
        optimizer.step()
        hits = (scores.argmax(-1) == labels).float().mean()
        sums.add_(torch.stack([loss.detach(), hits]))

    def loss() -> float:
        previous = float(sums[0])
        run()
        return float(sums[0]) - previous

    return Job({"step": _synchronized(run)}, {"digest": digest_of_steps(loss)})


class LanguageModel(nn.Module):
    """Embedding, recurrent layers and logits of the next word at every step."""

    def __init__(self, spec: dict[str, Any], data: Any):
        """Copies the initial weights."""
        super().__init__()
        self.embed = nn.Embedding(spec["vocabulary"], spec["inputs"])
        self.recurrent = _recurrent(spec, data.weights)
        self.score = nn.Linear(spec["hidden"], spec["vocabulary"])
        with torch.no_grad():
            self.embed.weight.copy_(torch.from_numpy(data.embedding))
            self.score.weight.copy_(torch.from_numpy(data.score.T.copy()))
            self.score.bias.zero_()

    def forward(self, tokens: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        """Returns the logits, and the state after the last token."""
        outputs, state = self.recurrent(self.embed(tokens), state)
        return self.score(outputs), state


def language_models(spec: dict[str, Any], variant: str) -> Job:
    """Returns the job of a training step that carries the state; `variant` is ignored."""
    del variant
    data = text_data(spec)
    model, criterion = LanguageModel(spec, data).to(_DEVICE), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    zeros = torch.zeros(spec["layers"], spec["batch"], spec["hidden"], device=_DEVICE)
    sum_of_losses, state = torch.zeros((), device=_DEVICE), (zeros, zeros)

    def run() -> None:
        nonlocal state
        tokens = torch.from_numpy(data.inputs).to(_DEVICE)
        targets = torch.from_numpy(data.targets).long().to(_DEVICE).flatten()
        optimizer.zero_grad()
        logits, state = model(tokens, tuple(part.detach() for part in state))
        loss = criterion(logits.flatten(0, 1), targets)
        loss.backward()
        optimizer.step()
        sum_of_losses.add_(loss.detach())

    def loss() -> float:
        previous = float(sum_of_losses)
        run()
        return float(sum_of_losses) - previous

    return Job({"step": _synchronized(run)}, {"digest": digest_of_steps(loss)})


def softmax(spec: dict[str, Any], variant: str) -> Job:
    """Returns the job of loss and gradient of an output layer; `variant` is ignored."""
    del variant
    data = softmax_data(spec)
    arrays = data.vectors, data.kernel.T.copy(), np.zeros(spec["vocabulary"], np.float32)
    leaves = [torch.from_numpy(array).to(_DEVICE).requires_grad_() for array in arrays]
    targets = torch.from_numpy(data.targets).long().to(_DEVICE)

    def run() -> tuple[torch.Tensor, list[torch.Tensor]]:
        loss = nn.functional.cross_entropy(nn.functional.linear(*leaves), targets)
        return loss.detach(), list(torch.autograd.grad(loss, leaves))

    runs = {FORWARD_BACKWARD: _synchronized(run)}
    value, gradients = runs[FORWARD_BACKWARD]()
    vectors, *weights = (gradient.cpu().numpy() for gradient in gradients)
    return Job(runs, {"digest": digest_of_softmax(value, vectors, weights)})
