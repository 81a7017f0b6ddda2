"""Recurrent cells, and the layers that take a cell along a sequence."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from .. import _core, init, random
from .._core import Tree
from ._containers import updated
from ._dense import check_input, check_size, check_tensor, missing_parameter
from ._errors import add_path
from ._freeze import INNER_STATES, FrozenLayer
from ._layer import Container, Layer, Params, States, Wrapper, describe_value
from ._setup import update_state

tanh, relu = _core.tanh, _core.relu


class _Cell(Layer):
    """What the cells share; a subclass is a dataclass with `in_features` and `out_features`."""

    in_features: int | None
    out_features: int
    use_bias: bool
    train_state: bool

    _gates = 1
    _carries = 1
    """The number of tensors in the carry."""

    def __post_init__(self) -> None:
        check_size(self, "in_features", self.in_features, optional=True)
        check_size(self, "out_features", self.out_features)

    def with_input(self, shape: tuple[int, ...]) -> Layer:
        """The layer with its input size taken from an input's shape."""
        if self.in_features is not None:
            return self
        return dataclasses.replace(self, in_features=shape[-1])  # type: ignore[type-var]

    def _trained(self) -> tuple[str, ...]:
        """The parts of the first carry that are parameters."""
        return ("hidden_state",) if self.train_state else ()

    def _kind(self) -> str | None:
        """The core's name of the cell; None where the core has none."""
        raise NotImplementedError

    def initial_parameters(self, key: random.Key) -> Tree:
        if self.in_features is None:
            raise ValueError(f"{self.describe()}: in_features is None; give setup an x_spec to infer it from")
        rows, hidden = self._gates * self.out_features, self.out_features
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, self.in_features),
            "weight_hh": (rows, hidden),
        }
        if self.use_bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        arrays = {
            name: init.torch_default(key.fold_in(name), shape, fan_in=hidden)
            for name, shape in shapes.items()
        }
        return Tree(arrays | {name: _core.zeros((hidden,)) for name in self._trained()})

    def _first_carry(self, batch: int, ps: Params) -> tuple[Any, ...] | None:
        """The carry that a sequence starts from; None where it is zeros."""
        trained = self._trained()
        if not trained:
            return None
        shape = (batch, self.out_features)
        zeros = _core.zeros(shape, dtype=ps["weight_hh"].dtype, device=ps["weight_hh"].device)
        names = ("hidden_state", "memory")[: self._carries]
        return tuple(_core.broadcast_to(ps[name], shape) if name in trained else zeros for name in names)

    def _parts(self, carry: Any) -> tuple[Any, ...]:
        """The tensors of a carry, after a look at its kind."""
        if self._carries == 1:
            if not isinstance(carry, _core.Tensor):
                raise TypeError(
                    f"{self.describe()}: the carry is the hidden state, a tensor, got {type(carry).__name__}"
                )
            return (carry,)
        if not isinstance(carry, tuple | list) or len(carry) != 2:
            raise TypeError(
                f"{self.describe()}: the carry is the pair (hidden state, memory), got {type(carry).__name__}"
            )
        return tuple(carry)

    def _packed(self, hidden: Any, memory: Any) -> Any:
        return hidden if self._carries == 1 else (hidden, memory)

    def run(
        self,
        x: Any,
        ps: Params,
        carry: Any,
        *,
        time_major: bool = False,
        reverse: bool = False,
        sequence: bool = False,
        wants_carry: bool = False,
    ) -> tuple[Any, Any]:
        """The cell along a whole sequence, or for one step of x (batch, in), by the core's one operation.

        Returns (y, carry), the carry None where it is not wanted.
        """
        x, parts = self._checked(x, ps, carry, time_major)
        biases = (ps["bias_ih"], ps["bias_hh"]) if self.use_bias else (None, None)
        y, hidden, memory = _core.recurrent(
            self._kind() or "tanh",
            x,
            ps["weight_ih"],
            ps["weight_hh"],
            *biases,
            *(parts or ()),
            time_major=time_major,
            reverse=reverse,
            sequence=sequence,
            carry=wants_carry,
        )
        return y, self._packed(hidden, memory) if wants_carry else None

    def _checked(
        self, x: Any, ps: Params, carry: Any, time_major: bool = False
    ) -> tuple[Any, tuple[Any, ...] | None]:
        """The input in the parameters' dtype, and the tensors of the carry (None where it is zeros), which fit."""
        for name in self._names():
            if name not in ps:
                raise missing_parameter(self, ps, name)
        weight = ps["weight_ih"]
        if not hasattr(x, "dtype") or x.dtype != weight.dtype:
            x = check_input(self, x, weight, f"(..., {weight.shape[-1]})")
        if x.ndim < 2 or x.shape[-1] != weight.shape[-1]:
            raise ValueError(
                f"{self.describe()} got {tuple(x.shape)}, expected (..., {weight.shape[-1]}) with a batch axis"
            )
        batch = x.shape[1] if time_major and x.ndim == 3 else x.shape[0]
        if carry is None:
            return x, self._first_carry(batch, ps)
        parts = self._parts(carry)
        for part in parts:
            if tuple(part.shape) != (batch, self.out_features):
                raise ValueError(
                    f"{self.describe()} got a carry of shape {tuple(part.shape)} for input {tuple(x.shape)}, "
                    f"expected ({batch}, {self.out_features})"
                )
        return x, parts

    def _names(self) -> tuple[str, ...]:
        biases = ("bias_ih", "bias_hh") if self.use_bias else ()
        return ("weight_ih", "weight_hh", *biases, *self._trained())

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        x, carry = x if isinstance(x, tuple) else (x, None)
        if getattr(x, "ndim", 2) != 2:
            raise ValueError(
                f"{self.describe()} got {tuple(x.shape)}, expected (batch, {self.in_features}); "
                "nn.Recurrence takes a cell along a sequence"
            )
        return self.run(x, ps, carry, wants_carry=True), st

    def describe(self) -> str:
        shown = [f"{self.in_features} => {self.out_features}"]
        for field in dataclasses.fields(self)[2:]:  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if value != field.default:
                shown.append(
                    describe_value(value)
                    if field.name == "activation"
                    else f"{field.name}={describe_value(value)}"
                )
        return f"{type(self).__name__}({', '.join(shown)})"

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        """Floating-point operations of the products of one step."""
        batch, features = x_shape[0], x_shape[-1]
        return 2 * batch * self._gates * self.out_features * (features + self.out_features)


@dataclasses.dataclass(frozen=True, repr=False)
class RNNCell(_Cell):
    """h' = activation(W_ih x + b_ih + W_hh h + b_hh) (Elman 1990).

    Args:
        in_features: size of the input's last axis; None is inferred by `setup(rng, model, x_spec=...)`.
        out_features: size of the hidden state.
        activation: an elementwise function; `tanh` and `relu` have fused kernels.
        use_bias: whether there are biases.
        train_state: whether the first hidden state is a parameter; it is zeros otherwise.

    Called with x or the pair (x, carry); returns ((y, carry), st). Both y and the carry are the new hidden
    state.

    Shapes: x (batch, in_features), the carry and y (batch, out_features). FLOPs: 2 * out * (in + out) a row.

    Parameters: weight_ih (out, in), weight_hh (out, out), bias_ih (out,), bias_hh (out,) and, where it is
    trained, hidden_state (out,); uniform in +-1/sqrt(out), the state zeros. States: none.

    Raises:
        ValueError: an input or a carry of another size.
        TypeError: an integer input, or a carry that is no tensor.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> cell = nn.RNNCell(3, 4)
        >>> ps, st = nn.setup(0, cell)
        >>> (y, carry), st = cell(lx.ones((2, 3)), ps, st)
        >>> (y, carry), st = cell((lx.ones((2, 3)), carry), ps, st)
        >>> y.shape, carry.shape
        ((2, 4), (2, 4))
    """

    in_features: int | None
    out_features: int
    activation: Callable[[Any], Any] = tanh
    use_bias: bool = True
    train_state: bool = False

    def _kind(self) -> str | None:
        return "tanh" if self.activation is tanh else "relu" if self.activation is relu else None

    def run(self, x: Any, ps: Params, carry: Any, **options: Any) -> tuple[Any, Any]:
        if self._kind() is not None:
            return super().run(x, ps, carry, **options)
        x, hidden = self._checked(x, ps, carry)
        sum_ = _core.linear(x, ps["weight_ih"], ps["bias_ih"] if self.use_bias else None)
        if hidden is not None:
            sum_ = sum_ + _core.linear(hidden[0], ps["weight_hh"], ps["bias_hh"] if self.use_bias else None)
        elif self.use_bias:
            sum_ = sum_ + ps["bias_hh"]
        y = self.activation(sum_)
        return y, y


@dataclasses.dataclass(frozen=True, repr=False)
class LSTMCell(_Cell):
    """Long short-term memory (Hochreiter and Schmidhuber 1997; with a forget gate, Gers et al. 2000).

    With the gates i, f, g, o = the parts of W_ih x + b_ih + W_hh h + b_hh, sigmoid of i, f, o and tanh of g:
    c' = f c + i g, h' = o tanh(c').

    Args:
        in_features: size of the input's last axis; None is inferred by `setup(rng, model, x_spec=...)`.
        out_features: size of the hidden state and of the memory.
        use_bias: whether there are biases.
        train_state, train_memory: whether the first hidden state, and the first memory, are parameters; they
            are zeros otherwise.

    Called with x or the pair (x, carry) with the carry (h, c); returns ((h', (h', c')), st).

    Shapes: x (batch, in_features), h and c (batch, out_features). FLOPs: 8 * out * (in + out) a row.

    Parameters: weight_ih (4 out, in), weight_hh (4 out, out), bias_ih (4 out,), bias_hh (4 out,) in the order
    of the gates and, where they are trained, hidden_state and memory (out,); uniform in +-1/sqrt(out), the
    states zeros. States: none.

    Raises:
        ValueError: an input or a carry of another size.
        TypeError: an integer input, or a carry that is no pair.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> cell = nn.LSTMCell(3, 4)
        >>> ps, st = nn.setup(0, cell)
        >>> (y, (h, c)), st = cell(lx.ones((2, 3)), ps, st)
        >>> y.shape, c.shape, ps.weight_ih.shape
        ((2, 4), (2, 4), (16, 3))
    """

    in_features: int | None
    out_features: int
    use_bias: bool = True
    train_state: bool = False
    train_memory: bool = False

    _gates = 4
    _carries = 2

    def _kind(self) -> str | None:
        return "lstm"

    def _trained(self) -> tuple[str, ...]:
        return super()._trained() + (("memory",) if self.train_memory else ())


@dataclasses.dataclass(frozen=True, repr=False)
class GRUCell(_Cell):
    """Gated recurrent unit (Cho et al. 2014) with the reset gate on the product, as in cuDNN and PyTorch.

    r, z = sigmoid of the first two parts of W_ih x + b_ih + W_hh h + b_hh,
    n = tanh(W_in x + b_in + r (W_hn h + b_hn)), h' = (1 - z) n + z h.

    Args:
        in_features: size of the input's last axis; None is inferred by `setup(rng, model, x_spec=...)`.
        out_features: size of the hidden state.
        use_bias: whether there are biases.
        train_state: whether the first hidden state is a parameter; it is zeros otherwise.

    Called with x or the pair (x, carry); returns ((y, carry), st). Both y and the carry are the new hidden
    state.

    Shapes: x (batch, in_features), the carry and y (batch, out_features). FLOPs: 6 * out * (in + out) a row.

    Parameters: weight_ih (3 out, in), weight_hh (3 out, out), bias_ih (3 out,), bias_hh (3 out,) in the order
    r, z, n and, where it is trained, hidden_state (out,); uniform in +-1/sqrt(out), the state zeros. States:
    none.

    Raises:
        ValueError: an input or a carry of another size.
        TypeError: an integer input, or a carry that is no tensor.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> cell = nn.GRUCell(3, 4)
        >>> ps, st = nn.setup(0, cell)
        >>> (y, carry), st = cell(lx.ones((2, 3)), ps, st)
        >>> y.shape, ps.weight_hh.shape
        ((2, 4), (12, 4))
    """

    in_features: int | None
    out_features: int
    use_bias: bool = True
    train_state: bool = False

    _gates = 3

    def _kind(self) -> str | None:
        return "gru"


_CELLS = (RNNCell, LSTMCell, GRUCell)


def _sequence(
    cell: Layer,
    x: Any,
    ps: Params,
    st: States,
    *,
    carry: Any,
    time_major: bool,
    reverse: bool,
    sequence: bool,
    wants_carry: bool,
) -> tuple[Any, Any, States]:
    """y, carry and states of a cell along a sequence: the core's one operation for luxon's cells, bare or
    frozen, else one call of the cell a step."""
    if getattr(x, "ndim", 0) < 3:
        axes = "(time, batch, ...)" if time_major else "(batch, time, ...)"
        check_tensor(cell, x, axes)
        raise ValueError(f"a recurrence over {cell.describe()} got {tuple(x.shape)}, expected {axes}")
    axis = 0 if time_major else 1
    steps = x.shape[axis]
    if steps == 0:
        raise ValueError(f"a recurrence over {cell.describe()} got {tuple(x.shape)}: a sequence of no steps")
    bare, bare_ps, frozen_st = cell, ps, st
    while isinstance(bare, FrozenLayer):
        bare_ps, frozen_st, bare = bare.merged(bare_ps, frozen_st), frozen_st[INNER_STATES], bare.layer
    if type(bare) in _CELLS and isinstance(bare, _Cell) and bare._kind() is not None and x.ndim == 3:
        y, carry = bare.run(
            x,
            bare_ps,
            carry,
            time_major=time_major,
            reverse=reverse,
            sequence=sequence,
            wants_carry=wants_carry,
        )
        return y, carry, st
    outputs: list[Any] = [None] * steps
    frames = _core.unstack(x, axis=axis)
    for position in reversed(range(steps)) if reverse else range(steps):
        frame = frames[position]
        result, st = cell(frame if carry is None else (frame, carry), ps, st)
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(f"{cell.describe()} is no cell: it must return ((y, carry), st)")
        outputs[position], carry = result
    y = _core.stack(outputs, axis=axis) if sequence else outputs[0 if reverse else -1]
    return y, carry, st


def _given(x: Any) -> tuple[Any, Any]:
    """The sequence and the first carry of an input that may have one."""
    return x if isinstance(x, tuple) and len(x) == 2 else (x, None)


@dataclasses.dataclass(frozen=True, repr=False)
class Recurrence(Wrapper):
    """A cell along a sequence.

    Args:
        cell: a layer that takes x or (x, carry) and returns ((y, carry), st).
        return_sequence: whether y has the outputs of all steps; else it is that of the last.
        time_major: whether time is the first axis; else it is the second, after the batch.
        return_carry: whether the output is the pair (y, carry), the carry that after the last step.

    Input: a sequence, or the pair (sequence, carry) with the carry to start from.

    Shapes: (batch, time, in) to (batch, out), or with `return_sequence` (batch, time, out); with `time_major`
    the first two axes change places.

    FLOPs: the cell's, for each step.

    luxon's own cells run as one fused operation over the whole sequence; every other cell, and a cell that is
    wrapped (by `debug_mode`, for one), is called once a step. The results are the same up to rounding.

    Parameters and states: the cell's own, with no extra level. A cell's state is threaded through the steps.

    Raises:
        ValueError: an input without a time axis, a sequence of no steps, sizes that do not fit the cell.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> model = nn.Chain(nn.Recurrence(nn.LSTMCell(3, 8)), nn.Dense(8, 2))
        >>> ps, st = nn.setup(0, model)
        >>> model(lx.ones((5, 7, 3)), ps, st)[0].shape
        (5, 2)
        >>> list(ps.layer_1)
        ['weight_ih', 'weight_hh', 'bias_ih', 'bias_hh']
    """

    cell: Layer
    return_sequence: bool = False
    time_major: bool = False
    return_carry: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.cell, Layer):
            raise TypeError(f"Recurrence needs a cell, got {type(self.cell).__name__}")

    def inner(self) -> Layer:
        return self.cell

    def with_inner(self, inner: Any) -> Layer:
        return dataclasses.replace(self, cell=inner)

    def describe(self) -> str:
        options = ("return_sequence", "time_major", "return_carry")
        shown = ", ".join(f"{name}=True" for name in options if getattr(self, name))
        return f"Recurrence({shown})" if shown else "Recurrence"

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        x, carry = _given(x)
        y, carry, st = _sequence(
            self.cell,
            x,
            ps,
            st,
            carry=carry,
            time_major=self.time_major,
            reverse=False,
            sequence=self.return_sequence,
            wants_carry=self.return_carry,
        )
        return ((y, carry) if self.return_carry else y), st


CELL, CARRY = "cell", "carry"


@dataclasses.dataclass(frozen=True, repr=False)
class StatefulRecurrentCell(Wrapper):
    """A cell that keeps its carry in its state from one call to the next.

    Args:
        cell: a layer that takes x or (x, carry) and returns ((y, carry), st).

    Shapes: the cell's, without the carry. FLOPs: the cell's.

    Parameters: the cell's. States: `cell`, the cell's own, and `carry`, an empty tree until the first call;
    `nn.reset_carry(st)` makes it one again.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> layer = nn.StatefulRecurrentCell(nn.GRUCell(3, 4))
        >>> ps, st = nn.setup(0, layer)
        >>> y, st = layer(lx.ones((2, 3)), ps, st)
        >>> y, st = layer(lx.ones((2, 3)), ps, st)
        >>> st.carry.shape
        (2, 4)
        >>> st = nn.reset_carry(st)
    """

    cell: Layer

    def __post_init__(self) -> None:
        if not isinstance(self.cell, Layer):
            raise TypeError(f"StatefulRecurrentCell needs a cell, got {type(self.cell).__name__}")

    def inner(self) -> Layer:
        return self.cell

    def with_inner(self, inner: Any) -> Layer:
        return dataclasses.replace(self, cell=inner)

    def inner_states(self, st: States) -> States:
        return st[CELL]

    def with_inner_states(self, st: States, new: States) -> States:
        return updated(st, {CELL: new})

    def initial_states(self, key: random.Key) -> Tree:
        return Tree({CELL: self.cell.initial_states(key), CARRY: {}})

    def describe(self) -> str:
        return "StatefulRecurrentCell"

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        carry = st[CARRY]
        empty = isinstance(carry, Mapping) and not carry
        (y, carry), after = self.cell(x if empty else (x, carry), ps, st[CELL])
        return y, updated(st, {CELL: after, CARRY: carry})


def reset_carry(st: States) -> Any:
    """The states with the carry of every `StatefulRecurrentCell` dropped: the next call starts a new sequence.

    Raises:
        KeyError: no entry is called `carry`.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> layer = nn.StatefulRecurrentCell(nn.RNNCell(3, 4))
        >>> ps, st = nn.setup(0, layer)
        >>> first, st = layer(lx.ones((2, 3)), ps, st)
        >>> again, st = layer(lx.ones((2, 3)), ps, nn.reset_carry(st))
        >>> bool(lx.all(first == again))
        True
    """
    return update_state(st, CARRY, Tree({}))


_MERGES: dict[str | None, Callable[[Any, Any], Any]] = {
    "concat": lambda forward, backward: _core.concat([forward, backward], axis=-1),
    "sum": lambda forward, backward: forward + backward,
    "mean": lambda forward, backward: (forward + backward) * 0.5,
    None: lambda forward, backward: (forward, backward),
}


@dataclasses.dataclass(frozen=True, repr=False)
class BidirectionalRNN(Container):
    """One cell along a sequence and another one back, their outputs at each step merged.

    Args:
        forward: the cell that goes forward; any layer that takes x or (x, carry) and gives ((y, carry), st).
        backward: the cell that goes backward; None is one like `forward`, with parameters of its own.
        merge: "concat" (along the last axis), "sum", "mean", or None for the pair.
        time_major: whether time is the first axis; else it is the second, after the batch.

    Shapes: (batch, time, in) to (batch, time, 2 out) for "concat", (batch, time, out) for "sum" and "mean".
    FLOPs: those of both cells, for each step.

    Parameters and states: two children, `forward` and `backward`.

    Raises:
        ValueError: another `merge`; an input without a time axis or of no steps.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> model = nn.BidirectionalRNN(nn.GRUCell(3, 4))
        >>> ps, st = nn.setup(0, model)
        >>> model(lx.ones((5, 7, 3)), ps, st)[0].shape
        (5, 7, 8)
    """

    forward: Layer
    backward: Layer | None = None
    merge: str | None = "concat"
    time_major: bool = False

    def __post_init__(self) -> None:
        if self.backward is None:
            object.__setattr__(self, "backward", self.forward)
        for cell in (self.forward, self.backward):
            if not isinstance(cell, Layer) or isinstance(cell, Recurrence):
                got = type(cell).__name__
                raise TypeError(
                    f"BidirectionalRNN needs cells (it goes along the sequence itself), got {got}"
                )
        if self.merge not in _MERGES:
            raise ValueError(f"merge must be 'concat', 'sum', 'mean' or None, got {self.merge!r}")

    def describe(self) -> str:
        merge = "" if self.merge == "concat" else f"(merge={self.merge})"
        return f"BidirectionalRNN{merge}"

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        changed: dict[str, Any] = {}
        outputs = []
        for name, cell in (("forward", self.forward), ("backward", self.backward)):
            try:
                y, _, after = _sequence(
                    cell,  # type: ignore[arg-type]
                    x,
                    ps[name],
                    st[name],
                    carry=None,
                    time_major=self.time_major,
                    reverse=name == "backward",
                    sequence=True,
                    wants_carry=False,
                )
            except Exception as error:
                add_path(error, name, cell)
                raise
            if after is not st[name]:
                changed[name] = after
            outputs.append(y)
        return _MERGES[self.merge](*outputs), (updated(st, changed) if changed else st)
