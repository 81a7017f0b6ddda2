"""The CUDA device, emulated: kernels' text through a host compiler, memory and products on the host.

What runs here is what a GPU would be asked to do, compared with the CPU. It says that the plans and the kernels'
text are right; it is no test on a GPU.
"""

import numpy as np
import pytest

import luxon as lx
from luxon import _core, _cupy, cuda, losses, nn, optim, special
from luxon._emulator import Emulator
from luxon.cuda import _cases
from luxon.training import TrainState, single_train_step
from test_catalogue import CASES as LAYERS

pytestmark = pytest.mark.skipif(not Emulator.available(), reason="no C++ compiler to emulate kernels with")

DEVICE = "cuda-emulated"
KEY = lx.random.key(0)
RNG = np.random.default_rng(0)


def close(device, host, rtol=1e-12, atol=1e-12):
    """Trees on the device equal trees on the host, dtypes and shapes included."""
    got, expected = lx.tree.leaves(device), lx.tree.leaves(host)
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        if not isinstance(b, lx.Tensor):
            assert a == b
            continue
        assert a.device == f"{DEVICE}:0" and a.dtype == b.dtype and a.shape == b.shape
        a, b = np.asarray(a.to_device("cpu").numpy()), np.asarray(b.numpy())
        if b.dtype.kind in "biu":
            np.testing.assert_array_equal(a, b)
        else:
            np.testing.assert_allclose(a, b, rtol, atol, equal_nan=True)


def on_device(tree):
    return lx.to_device(tree, DEVICE)


def compare(function, *arguments, order=2, rtol=1e-10, atol=1e-10):
    """Results, gradients and gradients of gradients of a function of floating trees, on the device and the CPU."""
    arguments = lx.tree.map(
        lambda leaf: lx.asarray(leaf) if isinstance(leaf, np.ndarray) else leaf, list(arguments)
    )
    results = []
    for move in (lambda tree: tree, on_device):
        moved = move(arguments)
        outputs = [function(*moved)]

        def total(values, moved=moved):
            leaves = [leaf for leaf in lx.tree.leaves(function(*values)) if isinstance(leaf, lx.Tensor)]
            return sum(lx.sum(lx.sin(leaf) * leaf) for leaf in leaves if leaf.dtype.kind == "f")

        def slope(values):
            gradients = lx.grad(total)(values)
            leaves = [leaf for leaf in lx.tree.leaves(gradients) if isinstance(leaf, lx.Tensor)]
            return sum(lx.sum(lx.square(leaf)) for leaf in leaves)

        if order > 0:
            outputs.append(lx.grad(total)(moved))
        if order > 1:
            outputs.append(lx.grad(slope)(moved))
        results.append(outputs)
    close(results[1], results[0], rtol, atol)


def normal(*shape):
    return RNG.normal(size=shape)


def positive(*shape):
    return RNG.uniform(0.2, 0.9, size=shape)


X, Y, Z = normal(3, 4), normal(3, 4), normal(3, 4)
ROW = normal(4)
INDEX = np.array([2, 0, -1, 2])
PLACES = np.array([[0, 2, 1, 2], [1, 1, 0, 0], [2, 0, 2, 1]])


# --- memory -----------------------------------------------------------------------------------------------------

DTYPES = ["bool", "uint8", "int32", "int64", "bfloat16", "float16", "float32", "float64"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_round_trips_and_views(dtype):
    x = lx.astype(lx.reshape(lx.arange(24), (2, 3, 4)), dtype)
    there = on_device(x)
    assert there.device == f"{DEVICE}:0" and on_device(there) is not None
    for view in (
        lambda x: x,
        lambda x: x[1],
        lambda x: x[:, ::-1, 1:3],
        lambda x: lx.permute_dims(x, (2, 0, 1)),
        lambda x: lx.broadcast_to(x[:, :1], (2, 5, 4)),
        lambda x: lx.reshape(lx.permute_dims(x, (1, 0, 2)), (-1,)),
        lambda x: lx.concat([x, x[:1]], axis=0),
        lambda x: lx.stack([x[0], x[1]], axis=-1),
        lambda x: lx.roll(x, 1, axis=1),
        lambda x: x[:0],
    ):
        close(view(there), view(x))
    assert there.tolist() == x.tolist()


@pytest.mark.parametrize("dtype", DTYPES)
def test_casts(dtype):
    x = lx.asarray(np.array([0.0, 1.0, -1.5, 200.7, 3e9, np.nan, np.inf, -0.0]))
    # From the widest type and from those that are stored in their own way; each pair is a kernel of its own.
    for source in ("float64", "bfloat16", "int64") if dtype != "float64" else DTYPES[:7]:
        values = lx.astype(x, source)
        close(lx.astype(on_device(values), dtype), lx.astype(values, dtype))


def test_creation_beside_a_tensor():
    x = on_device(lx.ones((2, 3)))
    for make in (
        lx.zeros_like,
        lx.ones_like,
        lambda x: lx.full_like(x, 2.5),
        lambda x: lx.zeros_like(x, dtype="int64"),
    ):
        assert make(x).device == x.device
        close(make(x), make(lx.ones((2, 3))))
    for made in (
        lambda device: lx.zeros((2, 2), device=device),
        lambda device: lx.full((3,), 7, device=device),
        lambda device: lx.arange(5, device=device),
        lambda device: lx.eye(3, device=device),
        lambda device: lx.linspace(0, 1, 4, device=device),
        lambda device: lx.asarray([1.0, 2.0], device=device),
    ):
        close(made(DEVICE), made(None))


def test_printing_numbers_and_pickles():
    import pickle

    x = on_device(lx.asarray([1.0, 2.0]))
    assert repr(x) == f"Tensor([1., 2.], dtype=float32, device={DEVICE}:0)" and str(x) == "[1. 2.]"
    assert float(x[1]) == 2.0 and x[0].item() == 1.0 and bool((x > 0).all())
    assert pickle.loads(pickle.dumps(x)).tolist() == [1.0, 2.0]
    assert lx.device_of({"a": x}) == x.device


def test_memory_lives_as_long_as_its_views():
    view = on_device(lx.arange(1000.0))[500:]
    others = [on_device(lx.zeros(1000)) for _ in range(20)]
    assert view.tolist() == list(range(500, 1000)) and len(others) == 20


# --- refusals ---------------------------------------------------------------------------------------------------


def test_devices_do_not_mix():
    there, here = on_device(lx.ones(3)), lx.ones(3)
    with pytest.raises(
        RuntimeError, match=r"add: an input of shape \(3,\) is on the CPU, another on cuda-emulated:0"
    ):
        there + here
    close(there * 2.0 + lx.asarray(1.0), here * 2.0 + 1.0)
    with pytest.raises(ValueError, match="on several devices"):
        lx.device_of({"a": there, "b": here})
    model = nn.Dense(3, 2)
    ps, st = nn.setup(0, model)
    with pytest.raises(RuntimeError, match="on the CPU, another on cuda-emulated:0"):
        model(there, ps, st)


def test_names_of_devices():
    with pytest.raises(RuntimeError, match='there is no device "gpu"'):
        lx.ones(3).to_device("gpu")
    with pytest.raises(RuntimeError, match=r"^cuda:0: "):
        lx.cuda()
    with pytest.raises(ValueError, match="neither"):
        lx._cupy.set_precision("half")


def test_indices_out_of_range_read_nan_and_write_nothing():
    x = on_device(lx.asarray([1.0, 2.0, 3.0]))
    assert np.isnan(lx.take(x, on_device(lx.asarray([0, 7])), axis=0).tolist()[1])
    assert x.at[on_device(lx.asarray([5, 1]))].add(10.0).tolist() == [1.0, 12.0, 3.0]


# --- operations -------------------------------------------------------------------------------------------------

FUNCTIONS = {
    "matmul": (lx.matmul, normal(3, 4), normal(4, 2)),
    "matmul of batches": (lx.matmul, normal(2, 3, 4), normal(2, 4, 2)),
    "matmul repeated": (lx.matmul, normal(5, 1, 3, 4), normal(2, 4, 2)),
    "matmul of transposes": (lambda a, b: lx.matmul(a.mT, b.mT), normal(4, 3), normal(2, 4)),
    "matmul of slices": (lambda a, b: a[::2, ::2] @ b[:, ::-1], normal(5, 6), normal(3, 4)),
    "matmul of a vector": (lx.matmul, normal(3, 4), normal(4)),
    "einsum": (lambda a, b: lx.einsum("bij,kj->bik", a, b), normal(2, 3, 4), normal(5, 4)),
    "linear": (lambda x, w, b: lx.functional.linear(x, w, b), normal(2, 3, 4), normal(5, 4), normal(5)),
    "matrix_power": (lambda x: lx.linalg.matrix_power(x, 3) * lx.linalg.matrix_power(x, 0), normal(2, 3, 3)),
    "outer": (lambda a, b: lx.linalg.outer(a, b), normal(3), normal(4)),
    "take": (lambda x: lx.take(x, lx.asarray(INDEX, device=lx.device_of(x)), axis=1), X),
    "index twice": (
        lambda x: x[lx.asarray([0, 2, 2], device=x.device), lx.asarray([1, 3, 3], device=x.device)],
        X,
    ),
    "lists as indices": (lambda x: x[[2, 0, 2]] * x.at[[0, 1], [3, 3]].add(1.0), X),
    "lists of truth values": (lambda x: x[[True, False, True]], X),
    "add at": (lambda x, u: x.at[lx.asarray(INDEX, device=x.device)].add(u), normal(3, 2), normal(4, 2)),
    "set at": (lambda x, u: x.at[lx.asarray(INDEX, device=x.device)].set(u), normal(3, 2), normal(4, 2)),
    "set a window": (lambda x, u: x.at[1:, ::2].set(u), X, normal(2, 2)),
    "take_along_axis": (lambda x: lx.take_along_axis(x, lx.asarray(PLACES, device=x.device), axis=0), X),
    "embedding": (lambda w: lx.functional.embedding(w, lx.asarray(INDEX % 3, device=w.device)), X),
    "sort": (lambda x: lx.sort(x, axis=0), normal(70, 2)),
    "sort descending": (lambda x: lx.sort(x, descending=True), normal(2, 33)),
    "top_k": (lambda x: lx.top_k(x, 2)[0], X),
    "median": (lambda x: lx.median(x, axis=0), X),
    "cumulative_sum": (lambda x: lx.cumulative_sum(x, axis=0), normal(100, 3)),
    "cumulative_prod": (lambda x: lx.cumulative_prod(x, axis=1), positive(2, 5)),
    "cumulative_max": (lambda x: lx.cumulative_max(x, axis=0), X),
    "cumulative_logsumexp": (lambda x: lx.cumulative_logsumexp(x, axis=1), X),
    "diff": (lambda x: lx.diff(x, axis=1), X),
    "tril": (lambda x: lx.tril(x, k=1), X),
    "diag": (lambda x: lx.diag(x), ROW),
    "trace": (lambda x: lx.linalg.trace(x), X),
    "pad": (lambda x: lx.pad(x, ((1, 2), (0, 1))), X),
    "pad reflect": (lambda x: lx.pad(x, ((1, 2), (0, 1)), mode="reflect"), X),
    "where": (lambda x, y: lx.where(x > y, x, y * 2), X, Y),
    "tile": (lambda x: lx.tile(x, (2, 1, 3)), X),
    "repeat": (lambda x: lx.repeat(x, 2, axis=0), X),
    "flip": (lambda x: lx.flip(x, axis=1) * x, X),
    "sum": (lambda x: lx.sum(x, axis=0), X),
    "mean": (lambda x: lx.mean(x, axis=(0, 2)), normal(2, 3, 5)),
    "var": (lambda x: lx.var(x, axis=1), X),
    "std": (lambda x: lx.std(x), X),
    "prod": (lambda x: lx.prod(x, axis=1), positive(3, 4)),
    "max": (lambda x: lx.max(x, axis=0), X),
    "min": (lambda x: lx.min(x), X),
    "norm": (lambda x: lx.linalg.vector_norm(x, axis=1), X),
    "logsumexp": (lambda x: lx.logsumexp(x, axis=0), X),
    "softmax": (lambda x: lx.softmax(x, axis=0), X),
    "log_softmax": (lx.log_softmax, X),
    "rrelu": (lambda x: lx.rrelu(KEY, x), X),
    "dropout": (lambda x: lx.functional.dropout(KEY, x, 0.4), X),
    "dropout of rows": (lambda x: lx.functional.dropout(KEY, x, 0.4, axes=(0,)), X),
    "alpha_dropout": (lambda x: lx.functional.alpha_dropout(KEY, x, 0.4), X),
    "layer_norm": (lx.functional.layer_norm, X, ROW, ROW),
    "conv": (
        lambda x, w, b: lx.functional.conv(x, w, b, stride=2, padding=1, groups=2),
        normal(2, 4, 5, 6),
        normal(6, 2, 3, 2),
        normal(6),
    ),
    "conv dilated": (
        lambda x, w: lx.functional.conv(x, w, None, stride=1, padding=(2, 1), dilation=2),
        normal(1, 2, 7, 6),
        normal(3, 2, 3, 2),
    ),
    "conv of volumes": (lambda x, w: lx.functional.conv(x, w), normal(2, 1, 3, 4, 3), normal(2, 1, 2, 2, 1)),
    "conv of sequences": (lambda x, w: lx.functional.conv(x, w, stride=3), normal(2, 3, 11), normal(4, 3, 2)),
    "conv_transpose": (
        lambda x, w, b: lx.functional.conv_transpose(x, w, b, stride=2, output_padding=1),
        normal(2, 4, 3, 3),
        normal(4, 2, 3, 2),
        normal(2),
    ),
    "attention": (
        lambda q, k, v: lx.functional.scaled_dot_product_attention(q, k, v, causal=True),
        normal(2, 3, 5, 4),
        normal(2, 3, 5, 4),
        normal(2, 3, 5, 4),
    ),
    "mse": (losses.mse, X, Y),
    "mae": (losses.mae, X, Y),
    "huber": (lambda p, t: losses.huber(p, t, delta=0.7), X, Y),
    "binary_cross_entropy": (losses.binary_cross_entropy, X, positive(3, 4)),
    "kl_divergence": (losses.kl_divergence, positive(3, 4), positive(3, 4)),
    "focal": (losses.focal, positive(3, 4), positive(3, 4)),
    "gaussian_nll": (losses.gaussian_nll, X, Y, positive(3, 4)),
    "cosine": (lambda a, b: losses.cosine_embedding(a, b, lx.ones_like(a[:, 0]), margin=-0.9), X, Y),
    "cross_entropy": (
        lambda x: losses.cross_entropy(x, lx.asarray([2, 0, 3], device=x.device), label_smoothing=0.1),
        X,
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    function, *arguments = FUNCTIONS[name]
    compare(function, *arguments)


INTEGERS = {
    "arithmetic": (lambda x, y: [x + y, x * y - 3, x // (y + 7), x % 5, -x, lx.abs(x), lx.maximum(x, y)]),
    "bits": (lambda x, y: [x & y, x | 5, x ^ y, ~x, x << 2, x >> 1]),
    "comparisons": (lambda x, y: [x < y, x == y, lx.logical_and(x > 0, y > 0), x >= 2]),
    "sums": (
        lambda x, y: [lx.sum(x, axis=0), lx.prod(x[:2, :2]), lx.cumulative_sum(x, axis=1), lx.mean(x + 0.0)]
    ),
    "positions": (
        lambda x, y: [lx.argmax(x, axis=0), lx.argmin(x), lx.argsort(x, axis=1), lx.sort(y, axis=0)]
    ),
    "matmul": (lambda x, y: [x @ y.mT, lx.matmul(x[None], y.mT)]),
    "moved": (lambda x, y: [lx.flip(x), lx.roll(x, 1), lx.where(x > y, x, 0), lx.take(x, y[0] % 3, axis=0)]),
    "sizes that depend on data": (lambda x, y: [lx.nonzero(x > 3)[0], lx.unique_values(x), x[x > y]]),
    "searches": (lambda x, y: [lx.searchsorted(lx.sort(x.ravel()), y.ravel()), lx.count_nonzero(x, axis=1)]),
}


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_integers(name, dtype):
    x = lx.asarray(RNG.integers(-9, 9, (3, 4)).astype(dtype))
    y = lx.asarray(RNG.integers(0, 9, (3, 4)).astype(dtype))
    close(INTEGERS[name](on_device(x), on_device(y)), INTEGERS[name](x, y), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_narrow_types(dtype):
    x, y = (lx.astype(lx.asarray(normal(4, 6)), dtype) for _ in range(2))
    tolerance = 2e-6 if dtype == "float32" else 1e-2

    def results(x, y):
        return [
            x * y + 1, lx.exp(x), x @ y.mT, lx.sum(x, axis=0), lx.softmax(x), lx.sort(x), lx.cumulative_sum(x, axis=0),
            lx.functional.layer_norm(x, y[0], y[1]), lx.max(x, axis=1), lx.concat([x, y]), lx.take(x, lx.argmax(y, axis=1), axis=1),
        ]  # fmt: skip

    close(results(on_device(x), on_device(y)), results(x, y), tolerance, tolerance)


def test_random_numbers_have_the_same_bits():
    x = lx.asarray(normal(4, 6))
    layer = nn.Dropout(0.4)
    ps, st = nn.setup(0, layer)
    here, _ = layer(x, ps, st)
    there, _ = layer(on_device(x), *on_device((ps, st)))
    close(there, here, 0, 0)


def test_special_functions_and_large_products():
    x = positive(6)
    compare(lambda x: [special.gammaln(x), special.erf(x), special.digamma(x)], x, order=1)
    a, b = RNG.normal(size=(2, 70, 40)).astype("float32"), RNG.normal(size=(2, 40, 50)).astype("float32")
    close(on_device(lx.asarray(a)) @ on_device(lx.asarray(b)), lx.asarray(a @ b), 1e-4, 1e-4)


# --- layers -----------------------------------------------------------------------------------------------------


# Those without a result are there for their errors.
TRIED = [case for case in LAYERS if case.y is not None]


def inputs(shape):
    """An input of the catalogue's shape, or nest of shapes."""
    if isinstance(shape, lx.ShapeDtype):
        return lx.asarray(RNG.integers(0, 4, shape.shape).astype(shape.dtype))
    if isinstance(shape, tuple) and all(isinstance(size, int) for size in shape):
        return lx.asarray(RNG.normal(size=shape))
    return tuple(inputs(part) for part in shape)


@pytest.mark.parametrize("case", TRIED, ids=lambda case: case.printed[:50])
def test_layers(case):
    """Results, new states, and first and second derivatives of every layer of the catalogue."""
    ps, st = nn.setup(1, case.layer, "float64")
    ps = lx.tree.map(lambda leaf: leaf + 0.1 * lx.random.normal(KEY, leaf.shape, dtype=leaf.dtype), ps)
    x = inputs(case.x)
    results = []
    for move in (lambda tree: tree, on_device):
        here, states, data = move((ps, st, x))

        def total(here, states=states, data=data):
            y = case.layer(data, here, states)[0]
            leaves = [
                leaf for leaf in lx.tree.leaves(y) if isinstance(leaf, lx.Tensor) and leaf.dtype.kind == "f"
            ]
            return sum(lx.sum(lx.sin(leaf) * leaf) for leaf in leaves)

        y, new = case.layer(data, here, states)
        outputs = [y, new]
        if any(isinstance(leaf, lx.Tensor) for leaf in lx.tree.leaves(here)):
            gradients = lx.grad(total)(here)

            def slope(here):
                leaves = [
                    leaf for leaf in lx.tree.leaves(lx.grad(total)(here)) if isinstance(leaf, lx.Tensor)
                ]
                return sum(lx.sum(lx.square(leaf)) for leaf in leaves)

            outputs += [gradients, lx.grad(slope)(here)]
        results.append(outputs)
    # Some layers fix their own precision.
    close(results[1], results[0], 2e-5, 2e-5)


# --- training ---------------------------------------------------------------------------------------------------


def train(model, objective, optimizer, data, device, steps=4):
    state = TrainState.create(KEY, model, optimizer, device=device)
    data = data if device is None else on_device(data)
    found = []
    for _ in range(steps):
        _, loss, _, state = single_train_step(lx.AutoTape(), objective, data, state)
        found.append(float(loss))
    return state, found


IMAGES = lx.asarray(RNG.normal(size=(4, 1, 12, 12)))
LABELS = lx.asarray(RNG.integers(0, 4, 4))
MLP = nn.Chain(nn.Dense(6, 16, lx.gelu), nn.LayerNorm(16), nn.Dropout(0.2), nn.Dense(16, 4))
LENET = nn.Chain(
    nn.Conv((3, 3), 1, 4, lx.relu), nn.MaxPool(2), nn.Conv((3, 3), 4, 6, lx.tanh, padding=1), nn.MeanPool(2),
    nn.FlattenLayer(), nn.Dense(24, 4),
)  # fmt: skip
NETWORKS = {
    "mlp": (MLP, losses.CrossEntropyLoss(), lx.asarray(RNG.normal(size=(8, 6))), lx.asarray(RNG.integers(0, 4, 8))),
    "lenet": (LENET, losses.CrossEntropyLoss(), IMAGES, LABELS),
    "batch norm": (
        nn.Chain(nn.Conv((3, 3), 1, 2, use_bias=False), nn.BatchNorm(2, lx.relu), nn.GlobalMeanPool(), nn.FlattenLayer(), nn.Dense(2, 4)),
        losses.CrossEntropyLoss(), IMAGES, LABELS,
    ),
    "lstm": (
        nn.Chain(nn.Recurrence(nn.LSTMCell(5, 6)), nn.Dense(6, 3)), losses.MSELoss(),
        lx.asarray(RNG.normal(size=(3, 7, 5))), lx.asarray(RNG.normal(size=(3, 3))),
    ),
    "transformer": (
        nn.Chain(
            nn.Embedding(11, 8),
            nn.SkipConnection(nn.Chain(nn.LayerNorm(8), nn.MultiHeadAttention(8, 2, causal=True)), lx.add),
            nn.SkipConnection(nn.Chain(nn.LayerNorm(8), nn.Dense(8, 16, lx.gelu), nn.Dropout(0.1), nn.Dense(16, 8)), lx.add),
            nn.Dense(8, 11),
        ),
        losses.CrossEntropyLoss(), lx.asarray(RNG.integers(0, 11, (2, 6))), lx.asarray(RNG.integers(0, 11, (2, 6))),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_training_equals_the_cpu(name):
    model, objective, x, y = NETWORKS[name]
    x = lx.astype(x, "float32") if x.dtype.kind == "f" else x
    y = lx.astype(y, "float32") if y.dtype.kind == "f" else y
    here, expected = train(model, objective, optim.Adam(1e-2), (x, y), None)
    there, found = train(model, objective, optim.Adam(1e-2), (x, y), DEVICE)
    assert found[-1] < found[0]
    np.testing.assert_allclose(found, expected, 1e-5)
    close(there.parameters, here.parameters, 1e-3, 1e-4)
    assert lx.device_of(there.optimizer_state) == f"{DEVICE}:0"


RULES = {
    "SGD": optim.SGD(0.1, momentum=0.9, nesterov=True),
    "AdamW": optim.AdamW(1e-2, amsgrad=True),
    "NAdam": optim.NAdam(1e-2),
    "AdaBelief": optim.AdaBelief(1e-2),
    "Yogi": optim.Yogi(1e-2),
    "AdaMax": optim.AdaMax(1e-2),
    "Lamb": optim.Lamb(1e-2),
    "AdaGrad": optim.AdaGrad(1e-2),
    "AdaDelta": optim.AdaDelta(1.0),
    "RMSProp": optim.RMSProp(1e-2, centered=True, momentum=0.5),
    "Rprop": optim.Rprop(1e-2),
    "Lion": optim.Lion(1e-3),
    "Adafactor": optim.Adafactor(1e-2),
}


@pytest.mark.parametrize("name", RULES)
def test_optimisers(name):
    model, objective, x, y = NETWORKS["mlp"]
    data = (lx.astype(x, "float32"), y)
    here, expected = train(model, objective, RULES[name], data, None, 3)
    there, found = train(model, objective, RULES[name], data, DEVICE, 3)
    np.testing.assert_allclose(found, expected, 1e-5)
    close(there.parameters, here.parameters, 1e-4, 1e-5)


def test_donated_leaves_are_overwritten_and_shared_ones_are_not(monkeypatch):
    model, objective, x, y = NETWORKS["mlp"]
    data = on_device((lx.astype(x, "float32"), y))
    table = lx._cupy._opened["cuda-emulated", 0]
    allocate, sizes = table.allocate, []
    monkeypatch.setattr(table, "allocate", lambda size: (sizes.append(size), allocate(size))[1])

    def step(state, donate):
        sizes.clear()
        state = single_train_step(lx.AutoTape(), objective, data, state, donate=donate)[3]
        return state, len(sizes)

    kept = TrainState.create(KEY, model, optim.Adam(1e-2), device=DEVICE)
    given = TrainState.create(KEY, model, optim.Adam(1e-2), device=DEVICE)
    for _ in range(3):
        shared = lx.tree.leaves(given.parameters)[0]
        before = np.array(lx.to_device(shared, "cpu"))
        (kept, many), (given, few) = step(kept, False), step(given, True)
        assert np.array_equal(np.asarray(lx.to_device(shared, "cpu")), before)
    close(given.parameters, lx.to_device(kept.parameters, "cpu"), 0, 0)
    # The parameter and both moments of every leaf lie where they lay, but for the parameter that is held here.
    leaves = len(lx.tree.leaves(kept.parameters))
    assert many - few == 3 * leaves - 1


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_parameters_are_trained(dtype):
    p, g = (lx.astype(lx.asarray(normal(3, 4)), dtype) for _ in range(2))
    rule = optim.Adam(1e-2)

    def trained(move):
        ps, gs = move({"w": p}), move({"w": g})
        return optim.update(rule, optim.setup(rule, ps), ps, gs)[0]

    close(trained(on_device), trained(lambda tree: tree), 1e-2, 1e-2)


def test_saving_and_resuming(tmp_path):
    model, objective, x, y = NETWORKS["mlp"]
    data = on_device((lx.astype(x, "float32"), y))
    state, _ = train(model, objective, optim.Adam(1e-2), data, DEVICE, 2)
    lx.io.save_train_state(tmp_path / "state.safetensors", state)
    loaded = lx.io.load_train_state(tmp_path / "state.safetensors", model, optim.Adam(1e-2))
    close(on_device(loaded.parameters), lx.to_device(state.parameters, "cpu"), 0, 0)
    loaded = on_device(loaded)
    results = [single_train_step(lx.AutoTape(), objective, data, start)[3] for start in (state, loaded)]
    close(results[1].parameters, lx.to_device(results[0].parameters, "cpu"), 0, 0)


def test_debug_checks():
    model = nn.DebugLayer(nn.Dense(3, 2))
    ps, st = on_device(nn.setup(0, model))
    assert model(on_device(lx.ones((2, 3))), ps, st)[0].device == f"{DEVICE}:0"


# --- how operations run -----------------------------------------------------------------------------------------


# Everything else that ran above has a plan, or is a view.
EXPANDED = {
    "ctc",
    "ctc_gradient",
    "gru",
    "gru_gradient",
    "lstm",
    "lstm_gradient",
    "rnn",
    "rnn_gradient",
    "scaled_dot_product_attention",
    "scaled_dot_product_attention_gradient",
}
# Activations behind these are operations of their own.
WITH_ACTIVATION = {"conv", "linear"}
HOSTED = {"singular_values"}


@pytest.fixture(scope="module", autouse=True)
def ways():
    """Counts which way the operations of all tests here went."""
    _core._start_device_report()
    yield
    counts = _core._stop_device_report()
    found = {way: {name for name, how, _ in counts if how == way} for way in ("kernel", "expansion", "host")}
    assert found["host"] <= HOSTED
    assert found["expansion"] <= EXPANDED | WITH_ACTIVATION


def test_decompositions_go_through_the_host():
    compare(lambda x: lx.linalg.svdvals(x), X, order=1)


def test_ctc():
    lines, labels = (
        RNG.normal(size=(5, 2, 4)),
        [np.array([[1, 1], [2, 3]]), np.array([5, 4]), np.array([2, 2])],
    )
    compare(lambda x: losses.ctc(x, *(lx.asarray(part, device=x.device) for part in labels)), lines)


WAITS = {
    "allclose": lambda x, i: lx.allclose(x, x),
    "linalg.matrix_norm": lambda x, i: lx.linalg.matrix_norm(x, ord="nuc"),
    "linalg.matrix_rank": lambda x, i: lx.linalg.matrix_rank(x),
    "linalg.svdvals": lambda x, i: lx.linalg.svdvals(x),
    "nonzero": lambda x, i: lx.nonzero(x),
    "repeat": lambda x, i: lx.repeat(x, i, axis=0),
    "unique_all": lambda x, i: lx.unique_all(x),
    "unique_counts": lambda x, i: lx.unique_counts(x),
    "unique_inverse": lambda x, i: lx.unique_inverse(x),
    "unique_values": lambda x, i: lx.unique_values(x),
}


@pytest.fixture
def downloads(monkeypatch):
    """The sizes of what the host asked the device for."""
    on_device(lx.ones(1))  # Opened by now.
    table, sizes = _cupy._opened["cuda-emulated", 0], []
    download = table.download
    monkeypatch.setattr(
        table, "download", lambda to, source, size: (sizes.append(size), download(to, source, size))
    )
    return sizes


def test_what_waits_for_a_device_is_marked(downloads):
    assert WAITS.keys() == cuda.HOST_SYNCHRONISING
    x, i = on_device(lx.asarray(normal(3, 4))), on_device(lx.asarray([1, 2, 0]))
    for name, function in WAITS.items():
        downloads.clear()
        function(x, i)
        assert downloads, name


@pytest.mark.parametrize("family", _cases.FAMILIES)
def test_nothing_else_waits(family, downloads):
    for case in _cases.FAMILIES[family]():
        inputs = [on_device(lx.asarray(array)) for array in case.draw(np.random.default_rng(0))]
        case.function(*inputs)
        assert not downloads, case.name
