"""The registry of cells: by name, or from a spec such as `LSTMCell(peepholes=True)`."""

import ast
import dataclasses
import difflib
import re
from typing import Any

import flax.linen as nn

from rnnjax.cells.antisymmetric import AntisymmetricCell
from rnnjax.cells.base import AbstractCell
from rnnjax.cells.brc import BRCCell
from rnnjax.cells.cfc import CfCCell
from rnnjax.cells.conv_lstm import ConvLSTMCell
from rnnjax.cells.cornn import CoRNNCell
from rnnjax.cells.delta_product import DeltaProductCell
from rnnjax.cells.echo_state import EchoStateCell
from rnnjax.cells.fast_grnn import FastGRNNCell
from rnnjax.cells.gated_deltanet import GatedDeltaNetCell
from rnnjax.cells.gated_linear_attention import GatedLinearAttentionCell
from rnnjax.cells.gru import GRUCell
from rnnjax.cells.indrnn import IndRNNCell
from rnnjax.cells.janet import JANETCell
from rnnjax.cells.layer_norm import LayerNormGRUCell, LayerNormLSTMCell
from rnnjax.cells.lem import LEMCell
from rnnjax.cells.linoss import LinOSSCell
from rnnjax.cells.lru import LRUCell
from rnnjax.cells.lstm import LSTMCell
from rnnjax.cells.ltc import LTCCell
from rnnjax.cells.mamba import MambaCell
from rnnjax.cells.mamba2 import Mamba2Cell
from rnnjax.cells.mgu import MGUCell
from rnnjax.cells.min_gru import MinGRUCell
from rnnjax.cells.min_lstm import MinLSTMCell
from rnnjax.cells.mlstm import MLSTMCell
from rnnjax.cells.multiplicative_lstm import MultiplicativeLSTMCell
from rnnjax.cells.para_gru import ParaGRUCell
from rnnjax.cells.para_lstm import ParaLSTMCell
from rnnjax.cells.qrnn import QRNNCell
from rnnjax.cells.rglru import RGLRUCell
from rnnjax.cells.rhn import RHNCell
from rnnjax.cells.rwkv7 import RWKV7Cell
from rnnjax.cells.s5 import S5Cell
from rnnjax.cells.simple import SimpleCell
from rnnjax.cells.slstm import SLSTMCell
from rnnjax.cells.sru import SRUCell
from rnnjax.cells.unicornn import UnICORNNCell
from rnnjax.class_import import CLASS_PATH, describe_foreign_class, import_class
from rnnjax.errors import InputError

CELLS: dict[str, type[AbstractCell]] = {
    "SimpleCell": SimpleCell,
    "LSTMCell": LSTMCell,
    "GRUCell": GRUCell,
    "MGUCell": MGUCell,
    "JANETCell": JANETCell,
    "LayerNormLSTMCell": LayerNormLSTMCell,
    "LayerNormGRUCell": LayerNormGRUCell,
    "MultiplicativeLSTMCell": MultiplicativeLSTMCell,
    "RHNCell": RHNCell,
    "SLSTMCell": SLSTMCell,
    "ParaGRUCell": ParaGRUCell,
    "ParaLSTMCell": ParaLSTMCell,
    "IndRNNCell": IndRNNCell,
    "AntisymmetricCell": AntisymmetricCell,
    "CoRNNCell": CoRNNCell,
    "UnICORNNCell": UnICORNNCell,
    "LEMCell": LEMCell,
    "BRCCell": BRCCell,
    "FastGRNNCell": FastGRNNCell,
    "SRUCell": SRUCell,
    "QRNNCell": QRNNCell,
    "MinGRUCell": MinGRUCell,
    "MinLSTMCell": MinLSTMCell,
    "LRUCell": LRUCell,
    "RGLRUCell": RGLRUCell,
    "S5Cell": S5Cell,
    "MambaCell": MambaCell,
    "GatedLinearAttentionCell": GatedLinearAttentionCell,
    "Mamba2Cell": Mamba2Cell,
    "MLSTMCell": MLSTMCell,
    "GatedDeltaNetCell": GatedDeltaNetCell,
    "DeltaProductCell": DeltaProductCell,
    "RWKV7Cell": RWKV7Cell,
    "LinOSSCell": LinOSSCell,
    "LTCCell": LTCCell,
    "CfCCell": CfCCell,
    "EchoStateCell": EchoStateCell,
    "ConvLSTMCell": ConvLSTMCell,
}
"""Every cell of the package. A config names them without a module."""

_SPEC = re.compile(rf"(?:{CLASS_PATH}|(?P<cell>[^\W\d]\w*))(?P<options>\(.*\))?", re.DOTALL)

_PACKAGES = re.compile(r"flax\.linen|rnnjax\.cells(\..+)?")
"""Modules that are imported in any case."""


def is_in_package(spec: str) -> bool:
    """Returns whether making a cell imports no module from outside rnnjax and flax."""
    match = _SPEC.fullmatch(spec.strip())
    return not (match and match["module"]) or bool(_PACKAGES.fullmatch(match["module"]))


def check_in_package(spec: str) -> None:
    """Raises InputError if making a cell would import a module from outside rnnjax and flax."""
    match = _SPEC.fullmatch(spec.strip())
    if match and not is_in_package(spec):
        raise InputError(describe_foreign_class(match["module"], match["name"]))


def make_cell(spec: str, features: int, dtype: Any = None) -> nn.Module:
    """Returns the cell that a config describes; imports, and so runs, the module that it names.

    Args:
      spec: a name in `CELLS`, or `package.module:ClassName` for any other cell, of flax say
        (`flax.linen:LSTMCell`); options may follow, `LSTMCell(peepholes=True)`, whose values are
        Python literals.
      features: of the cell.
      dtype: of its computation.

    Raises:
      InputError: the spec cannot be read, there is no such module, class or option, or it is no
        cell.
    """
    match = _SPEC.fullmatch(spec.strip())
    if not match:
        raise InputError(
            f"config.model.cell: given {spec!r}, expected a name (LSTMCell), one with options "
            "(LSTMCell(peepholes=True)), or package.module:ClassName"
        )
    cell_class = _find_class(spec, match["module"], match["name"] or match["cell"])
    options = _parse_options(spec, match["options"] or "()")
    fields = {field.name for field in dataclasses.fields(cell_class) if field.init}
    defaults = (
        {"features": features, "dtype": dtype} if "dtype" in fields else {"features": features}
    )
    fields -= {"features", "dtype", "param_dtype", "parent", "name"}
    for option in options:
        if option not in fields:
            hint = f"expected one of {', '.join(sorted(fields))}"
            if option in vars(cell_class):
                hint = (
                    "it is a class attribute without annotation, which cannot be set: "
                    f"write `{option}: {type(vars(cell_class)[option]).__name__} = ...` "
                    "in the class"
                )
            raise InputError(
                f"config.model.cell: given {spec!r}, and {cell_class.__name__} has no option "
                f"{option!r}; {hint}"
            )
    try:
        return cell_class(**defaults, **options)
    except InputError as error:
        raise InputError(f"config.model.cell: given {spec!r}; {error}") from error
    except TypeError as error:
        raise InputError(
            f"config.model.cell: given {spec!r}, which cannot be made with features={features} "
            f"({error}); expected a cell with the attribute features"
        ) from error


def _find_class(spec: str, module: str | None, name: str) -> type[nn.Module]:
    if module is None:
        if name not in CELLS:
            close = difflib.get_close_matches(name, CELLS, n=1)
            hint = f"did you mean {close[0]}? There are " if close else "expected one of "
            raise InputError(
                f"config.model.cell: given {spec!r}; {hint}{', '.join(CELLS)}, or "
                "package.module:ClassName"
            )
        return CELLS[name]
    try:
        cell_class = import_class(module, name)
    except InputError as error:
        raise InputError(f"config.model.cell: given {spec!r}, and {error}") from error
    if not (isinstance(cell_class, type) and issubclass(cell_class, AbstractCell | nn.RNNCellBase)):
        raise InputError(
            f"config.model.cell: given {spec!r}, and {module} has no cell of that name; expected a "
            "class that derives from rnnjax.cells.Cell or from flax's RNNCellBase"
        )
    if cell_class.__module__ == AbstractCell.__module__:
        raise InputError(
            f"config.model.cell: given {spec!r}, and {name} is a base class that has no equations; "
            "expected a cell that derives from it"
        )
    return cell_class


def _parse_options(spec: str, text: str) -> dict[str, Any]:
    try:
        call = ast.parse(f"cell{text}", mode="eval").body
        assert isinstance(call, ast.Call)
        if call.args or any(keyword.arg is None for keyword in call.keywords):
            raise ValueError("an option has no name")
        return {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError, AssertionError) as error:
        raise InputError(
            f"config.model.cell: given {spec!r}, whose options cannot be read ({error}); expected "
            "name=value with numbers, strings, True, False: LSTMCell(peepholes=True)"
        ) from error
