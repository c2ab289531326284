"""Initial values of a network: those of a library, or uniform within chosen bounds."""

import dataclasses
import math
from typing import Any

import flax.linen as nn

from rnnjax.cells import has_library_init, init_like, init_uniform, parameter_names
from rnnjax.cells.base import Initializer, symmetric_uniform
from rnnjax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Initialization:
    r"""Initial values of embeddings, recurrent layers and output layers.

    =======  ====================  ==========================  ====================================
    library  embedding             output kernel               output bias
    =======  ====================  ==========================  ====================================
    keras    U(-0.05, 0.05)        Glorot uniform              zero
    torch    N(0, 1)               U(-1/sqrt(n), 1/sqrt(n))    as the kernel
    flax     N(0, 1/n)             LeCun normal                zero
    haiku    N(0, 1), cut at 2     N(0, 1/n), cut at 2 sd      zero
    =======  ====================  ==========================  ====================================

    n are the features of a row of the embedding, and the inputs of an output layer. Recurrent
    layers are those of `rnnjax.cells.init_like`.

    Attributes:
      library: 'keras', 'torch', 'flax' or 'haiku'. 'keras' leaves to every cell its own initial
        values, which for those of this package are Keras'.
      embedding_scale: bound of a uniform distribution of the embedding; 0 for the library's.
      recurrent_scale: likewise of all parameters of the recurrent layers.
      output_scale: likewise of the kernel of an output layer, whose bias is then zero.
      strict: whether a cell that the library lacks is an error; otherwise it begins by itself.
    """

    library: str = "keras"
    embedding_scale: float = 0.0
    recurrent_scale: float = 0.0
    output_scale: float = 0.0
    strict: bool = False

    @property
    def reads_sizes(self) -> bool:
        """Whether initial values depend on the features that a cell or an output layer reads."""
        return self.library in ("torch", "haiku")

    def embedding(self) -> Initializer:
        """Returns the initializer of an embedding `[vocabulary, features]`."""
        if self.embedding_scale:
            return symmetric_uniform(self.embedding_scale)
        return {
            "keras": symmetric_uniform(0.05),
            "torch": nn.initializers.normal(1.0),
            "flax": nn.initializers.variance_scaling(1.0, "fan_in", "normal", out_axis=0),
            "haiku": nn.initializers.truncated_normal(1.0),
        }[self.library]

    def output(self, inputs: int) -> dict[str, Any]:
        """Returns the initializers of a `flax.linen.Dense` as options of it.

        Args:
          inputs: features that it reads.
        """
        zeros, bound = nn.initializers.zeros, 1 / math.sqrt(inputs)
        if self.output_scale:
            return {"kernel_init": symmetric_uniform(self.output_scale), "bias_init": zeros}
        kernel_init = {
            "keras": nn.initializers.xavier_uniform(),
            "torch": symmetric_uniform(bound),
            "flax": nn.initializers.lecun_normal(),
            "haiku": nn.initializers.truncated_normal(bound),
        }[self.library]
        bias_init = symmetric_uniform(bound) if self.library == "torch" else zeros
        return {"kernel_init": kernel_init, "bias_init": bias_init}

    def cell(self, cell: nn.Module, inputs: int) -> nn.Module:
        """Returns an unbound copy of a cell with its initializers replaced.

        Args:
          cell: of the package, of flax, or from outside.
          inputs: features that it reads.

        Raises:
          InputError: the library, or the uniform distribution, lacks parameters of the cell.
        """
        if self.recurrent_scale:
            return init_uniform(cell, self.recurrent_scale, inputs)
        if self.library == "keras" or not (self.strict or has_library_init(cell)):
            return cell.copy(parent=None, name=None)
        if not has_library_init(cell):
            names = ", ".join(parameter_names(cell, inputs))
            raise InputError(
                f"config.model.initialization: given {self.library!r}, and of "
                f"{type(cell).__name__} the parameters {names} are unknown there; expected "
                "SimpleCell, LSTMCell or GRUCell of rnnjax.cells, or config.model.initialization"
                "='keras', by which any cell has its own initial values; a cell of another module "
                "sets them in its `self.param(name, init, shape)`"
            )
        return init_like(cell, self.library, inputs)  # pyright: ignore[reportArgumentType]
