"""Every layer by one table: arguments, trees, shapes, printing, FLOPs and what it says to a bad input.

What the layers compute is in the tests of their families, their derivatives in test_layer_gradients.py; here is what
files, freezing and users' code rely on, and a layer that is not in the table fails.
"""

import inspect
import itertools
import re
from typing import Any, NamedTuple

import numpy as np
import pytest

import luxon as lx
from luxon import functional, init, losses, nn, optim

SIGNATURES = """
nn.Chain(*layers, name=None, **named)
nn.Parallel(connection, /, *layers, name=None, **named)
nn.BranchLayer(*layers, fusion=None, name=None, **named)
nn.PairwiseFusion(connection, /, *layers, name=None, **named)
nn.SkipConnection(layer, connection)
nn.RepeatedLayer(layer, repeats=10, input_injection=False)
nn.Maxout(*layers, name=None, **named)
nn.WrappedFunction(f)
nn.NoOpLayer()
nn.ReshapeLayer(shape)
nn.FlattenLayer(start=1)
nn.SelectDim(axis, index)
nn.ReverseSequence(axis=1)
nn.AlternatePrecision(dtype, layer)
nn.Dense(in_features, out_features, activation=identity, use_bias=True, init_weight=None, init_bias=None)
nn.Bilinear(in_features, out_features, activation=identity, use_bias=True, init_weight=None, init_bias=None)
nn.Scale(shape, activation=identity, use_bias=True, init_weight=ones, init_bias=zeros)
nn.Embedding(n, dim, padding_index=None, init_weight=None)
nn.SinusoidalPositionalEmbedding(dim, min_freq=0.0001, max_freq=1.0, scale=None, full_turns=False)
nn.RotaryPositionalEmbedding(dim, max_sequence_length=4096, base=10000)
nn.PeriodicEmbedding(indices, periods)
nn.Conv(kernel, in_channels, out_channels, activation=identity, stride=1, padding=0, dilation=1, groups=1,
  padding_mode='zeros', use_bias=True, flip_kernel=False, *, init_weight=None, init_bias=None)
nn.ConvTranspose(kernel, in_channels, out_channels, activation=identity, stride=1, padding=0, dilation=1, groups=1,
  padding_mode='zeros', use_bias=True, flip_kernel=False, output_padding=0, *, init_weight=None, init_bias=None)
nn.MaxPool(window, stride=None, padding=0, dilation=1, ceil_mode=False)
nn.MeanPool(window, stride=None, padding=0, ceil_mode=False, count_include_pad=True)
nn.LPPool(window, p=2, stride=None, ceil_mode=False)
nn.GlobalMaxPool()
nn.GlobalMeanPool()
nn.GlobalLPPool(p=2)
nn.AdaptiveMaxPool(output)
nn.AdaptiveMeanPool(output)
nn.AdaptiveLPPool(output, p=2)
nn.Upsample(scale=None, size=None, mode='nearest', align_corners=False)
nn.PixelShuffle(r)
nn.PixelUnshuffle(r)
nn.Pad(pad_width, mode='constant')
nn.BatchNorm(channels, activation=identity, affine=True, track_stats=True, eps=1e-05, momentum=0.1)
nn.GroupNorm(channels, groups, affine=True, eps=1e-05, activation=identity)
nn.InstanceNorm(channels, affine=False, track_stats=False, eps=1e-05, momentum=0.1, activation=identity)
nn.LayerNorm(shape, affine=True, use_bias=True, eps=1e-05)
nn.RMSNorm(shape, affine=True, eps=1e-05)
nn.WeightNorm(layer, which, axis=0)
nn.Dropout(p, axes=None)
nn.AlphaDropout(p)
nn.VariationalHiddenDropout(p, axes=None)
nn.RNNCell(in_features, out_features, activation=tanh, use_bias=True, train_state=False)
nn.LSTMCell(in_features, out_features, use_bias=True, train_state=False, train_memory=False)
nn.GRUCell(in_features, out_features, use_bias=True, train_state=False)
nn.Recurrence(cell, return_sequence=False, time_major=False, return_carry=False)
nn.StatefulRecurrentCell(cell)
nn.BidirectionalRNN(forward, backward=None, merge='concat', time_major=False)
nn.MultiHeadAttention(dim, heads, dropout=0.0, causal=False, use_bias=False, kv_heads=None, return_weights=False,
  *, q_proj=None, k_proj=None, v_proj=None, out_proj=None, attention_dropout=None)
functional.linear(x, weight, bias=None, activation=None)
functional.conv(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1)
functional.conv_transpose(x, weight, bias=None, stride=1, padding=0, output_padding=0, dilation=1, groups=1)
functional.max_pool(x, window, stride=None, padding=0, dilation=1, ceil_mode=False)
functional.mean_pool(x, window, stride=None, padding=0, ceil_mode=False, count_include_pad=True)
functional.batch_norm(x, weight=None, bias=None, mean=None, var=None, eps=1e-05)
functional.layer_norm(x, weight=None, bias=None, axes=1, eps=1e-05)
functional.group_norm(x, groups, weight=None, bias=None, eps=1e-05)
functional.instance_norm(x, weight=None, bias=None, eps=1e-05)
functional.rms_norm(x, weight=None, axes=1, eps=1e-05)
functional.dropout(key, x, p, axes=None)
functional.embedding(weight, indices)
functional.upsample(x, scale=None, size=None, mode='nearest', align_corners=False)
functional.pixel_shuffle(x, r)
functional.scaled_dot_product_attention(q, k, v, mask=None, bias=None, causal=False, scale=None)
losses.mse(prediction, target, reduction='mean')
losses.mae(prediction, target, reduction='mean')
losses.huber(prediction, target, delta=1.0, reduction='mean')
losses.smooth_l1(prediction, target, beta=1.0, reduction='mean')
losses.msle(prediction, target, reduction='mean')
losses.log_cosh(prediction, target, reduction='mean')
losses.cross_entropy(prediction, target, axis=-1, from_logits=True, label_smoothing=0.0, weight=None,
  ignore_index=None, reduction='mean')
losses.binary_cross_entropy(prediction, target, from_logits=True, label_smoothing=0.0, weight=None, pos_weight=None,
  reduction='mean')
losses.focal(prediction, target, gamma=2.0, axis=-1, reduction='mean')
losses.binary_focal(prediction, target, gamma=2.0, reduction='mean')
losses.kl_divergence(prediction, target, axis=-1, log_prediction=False, log_target=False, reduction='mean')
losses.hinge(prediction, target, reduction='mean')
losses.squared_hinge(prediction, target, reduction='mean')
losses.poisson_nll(prediction, target, log_prediction=False, full=False, reduction='mean', *, eps=1e-08)
losses.gaussian_nll(mean, target, variance, full=False, reduction='mean', *, eps=1e-06)
losses.dice(prediction, target, smooth=1.0, reduction='mean')
losses.siamese_contrastive(prediction, target, margin=1.0, reduction='mean')
losses.cosine_embedding(x1, x2, target, margin=0.0, reduction='mean')
losses.margin_ranking(x1, x2, target, margin=0.0, reduction='mean')
losses.triplet_margin(anchor, positive, negative, margin=1.0, p=2.0, swap=False, reduction='mean', *, eps=1e-06)
losses.ctc(log_probabilities, targets, input_lengths, target_lengths, blank=0, zero_infinity=False, reduction='mean')
init.zeros(key, shape, dtype=float32)
init.ones(key, shape, dtype=float32)
init.constant(key, shape, dtype=float32, value=0.0)
init.uniform(key, shape, dtype=float32, low=0.0, high=1.0)
init.normal(key, shape, dtype=float32, mean=0.0, std=1.0)
init.truncated_normal(key, shape, dtype=float32, mean=0.0, std=1.0, low=-2.0, high=2.0)
init.glorot_uniform(key, shape, dtype=float32, gain=1.0)
init.glorot_normal(key, shape, dtype=float32, gain=1.0)
init.kaiming_uniform(key, shape, dtype=float32, gain=1.4142135623730951, mode='fan_in')
init.kaiming_normal(key, shape, dtype=float32, gain=1.4142135623730951, mode='fan_in')
init.lecun_uniform(key, shape, dtype=float32)
init.lecun_normal(key, shape, dtype=float32)
init.orthogonal(key, shape, dtype=float32, gain=1.0)
init.sparse(key, shape, dtype=float32, sparsity=0.1, std=0.01)
init.identity(key, shape, dtype=float32, gain=1.0)
init.torch_default(key, shape, dtype=float32, fan_in=None)
optim.schedules.constant(lr)
optim.schedules.step(lr, step_size, gamma=0.1)
optim.schedules.multi_step(lr, milestones, gamma=0.1)
optim.schedules.exponential(lr, gamma)
optim.schedules.polynomial(lr, total_steps, power=1.0, end=0.0)
optim.schedules.linear(start, end, total_steps)
optim.schedules.cosine(lr, total_steps, end=0.0)
optim.schedules.cosine_restarts(lr, period, multiplier=1, end=0.0)
optim.schedules.warmup(schedule, steps, start=0.0)
optim.schedules.join(schedules, boundaries)
optim.schedules.inverse_sqrt(lr, warmup_steps)
optim.schedules.piecewise(boundaries, values)
optim.SGD(lr=0.001, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, *, maximize=False)
optim.Rprop(lr=0.01, etas=(0.5, 1.2), step_sizes=(1e-06, 50.0), *, maximize=False)
optim.RMSProp(lr=0.01, alpha=0.99, eps=1e-08, weight_decay=0.0, momentum=0.0, centered=False, *, eps_in_sqrt=False,
  maximize=False)
optim.Adam(lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.0, amsgrad=False, *, nesterov=False,
  eps_root=0.0, maximize=False)
optim.AdamW(lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.01, amsgrad=False, *, nesterov=False,
  eps_root=0.0, maximize=False)
optim.NAdam(lr=0.002, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.0, momentum_decay=0.004,
  decoupled_weight_decay=False, *, maximize=False)
optim.RAdam(lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.0, decoupled_weight_decay=False, *,
  corrected_eps=False, nesterov=False, threshold=5.0, maximize=False)
optim.AdaMax(lr=0.002, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.0, *, maximize=False)
optim.AMSGrad(lr=0.001, betas=(0.9, 0.999), eps=1e-08, eps_root=0.0, bias_correction_mu=True,
  bias_correction_nu=True)
optim.AdaGrad(lr=0.01, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0, eps=1e-10, *,
  eps_in_sqrt=False, maximize=False)
optim.AdaDelta(lr=1.0, rho=0.9, eps=1e-06, weight_decay=0.0, *, maximize=False)
optim.ASGD(lr=0.01, lambd=0.0001, alpha=0.75, t0=1000000.0, weight_decay=0.0, *, maximize=False)
optim.AdaBelief(lr=0.001, betas=(0.9, 0.999), eps=1e-16, eps_root=1e-16, *, nesterov=False)
optim.OAdam(lr=0.001, betas=(0.9, 0.999), eps=1e-08, alpha=1.0, beta=1.0, *, eps_root=0.0, nesterov=True)
optim.Yogi(lr=0.01, betas=(0.9, 0.999), eps=0.001, *, eps_root=0.0, initial_accumulator_value=1e-06)
optim.Lion(lr=0.0001, betas=(0.9, 0.99), weight_decay=0.001)
optim.Lamb(lr=0.001, betas=(0.9, 0.999), eps=1e-06, eps_root=0.0, weight_decay=0.0)
optim.Lars(lr=0.001, weight_decay=0.0, trust_coefficient=0.001, eps=0.0, momentum=0.9, nesterov=False)
optim.NovoGrad(lr=0.001, betas=(0.9, 0.25), eps=1e-06, eps_root=0.0, weight_decay=0.0)
optim.Adafactor(lr=0.01, beta2_decay=-0.8, eps=(None, 0.001), d=1.0, weight_decay=0.0, *, maximize=False)
optim.Muon(lr=0.001, weight_decay=0.1, momentum=0.95, nesterov=True, ns_coefficients=(3.4445, -4.775, 2.0315),
  eps=1e-07, ns_steps=5, adjust_lr_fn=None)
optim.LBFGS(lr=1.0, max_iter=20, max_eval=None, tolerance_grad=1e-07, tolerance_change=1e-09, history_size=100,
  line_search_fn=None, *, maximize=False)
optim.clip_value(c)
optim.clip_norm(c)
optim.clip_global_norm(c, p=2.0)
optim.weight_decay(d, mask=None)
optim.sign_decay(d, mask=None)
optim.accumulate(n)
optim.ema(decay, debias=True)
optim.lookahead(rule, sync_period=5, slow_step_size=0.5, reset_state=False)
optim.mixed_precision(rule, dtype='float32')
optim.chain(*members)
optim.partition(rules)
optim.setup(rule, ps)
optim.update(rule, state, ps, grads)
optim.schedules.one_cycle(max_lr, total_steps, pct_start=0.3, anneal_strategy='cos', div_factor=25.0,
  final_div_factor=10000.0, three_phase=False)
optim.schedules.triangular(low, high, half_period, half_period_down=None, mode='triangular', gamma=1.0)
special.erf(x, /)
special.erfc(x, /)
special.erfinv(x, /)
special.expit(x, /)
special.logit(x, /)
special.gammaln(x, /)
special.digamma(x, /)
special.xlogy(x1, x2, /)
special.xlog1py(x1, x2, /)
special.entr(x, /)
special.log_ndtr(x, /)
special.sinc(x, /)
special.i0e(x, /)
lx.einsum(equation, /, *operands)
lx.pad(x, /, pad_width, mode='constant', constant_values=None)
lx.split(x, /, indices_or_sections, axis=0)
lx.top_k(x, k, /, axis=-1, largest=True)
lx.median(x, /, axis=None, *, keepdims=False)
lx.quantile(x, q, /, axis=None, *, keepdims=False, method='linear')
lx.logsumexp(x, axis=None, keepdims=False)
lx.softmax(x, axis=-1)
lx.log_softmax(x, axis=-1)
lx.nan_to_num(x, /, nan=0.0, posinf=None, neginf=None)
lx.rot90(x, k=1, axes=(0, 1))
lx.diag(x, k=0)
lx.swapaxes(x, axis1, axis2, /)
lx.ravel(x, /)
lx.one_hot(indices, n, dtype=None)
lx.scatter_add(x, indices, updates, /, axis=0)
lx.grad(function, argnums=0, has_aux=False, unused='zeros')
lx.value_and_grad(function, argnums=0, has_aux=False, unused='zeros')
lx.cpu()
lx.cuda(i=0)
lx.device_of(tree)
lx.to_device(tree, device)
io.save(path, *, ps=None, st=None, model=None, optimizer_state=None, loader=None, step=None, metadata=None)
io.load(path, patterns=None, *, model=None)
io.save_train_state(path, ts, metadata=None, *, loader=None)
io.load_train_state(path, model, optimizer)
io.from_torch(state_dict, model)
data.DataLoader(arrays, batch_size, key=None, drop_last=False)
data.DeviceLoader(loader, device)
nn.cast(value, dtype)
nn.reset_carry(st)
nn.setup(rng, model, dtype=None, *, x_spec=None)
nn.summary(model, x_spec)
nn.output_shape(model, x_spec)
nn.testmode(st)
nn.trainmode(st)
"""


def signature_text(of: Any) -> str:
    """A signature without annotations, with functions and dtypes by name."""
    parameters = []
    for parameter in inspect.signature(of).parameters.values():
        default = parameter.default
        if callable(default) and default is not parameter.empty:
            text = f"{parameter.name}={default.__name__}"
        elif isinstance(default, np.dtype):
            text = f"{parameter.name}={default.name}"
        else:
            text = str(parameter.replace(annotation=parameter.empty))
        parameters.append((parameter.kind, text))
    shown, seen_star = [], False
    for position, (kind, text) in enumerate(parameters):
        if kind is inspect.Parameter.KEYWORD_ONLY and not seen_star:
            seen_star = True
            if all(before is not inspect.Parameter.VAR_POSITIONAL for before, _ in parameters[:position]):
                shown.append("*")
        shown.append(text)
        following = parameters[position + 1 :]
        if kind is inspect.Parameter.POSITIONAL_ONLY and (not following or following[0][0] is not kind):
            shown.append("/")
    return f"({', '.join(shown)})"


@pytest.mark.parametrize("line", re.sub(r"\n  ", " ", SIGNATURES.strip()).split("\n"))
def test_arguments(line):
    name, arguments = re.fullmatch(r"([\w.]+)(\(.*\))", line).groups()
    module, _, member = name.rpartition(".")
    modules = {
        "nn": nn,
        "functional": functional,
        "losses": losses,
        "init": init,
        "optim": optim,
        "optim.schedules": optim.schedules,
        "special": lx.special,
        "io": lx.io,
        "data": lx.data,
        "lx": lx,
    }
    assert signature_text(getattr(modules[module], member)) == arguments


class Case(NamedTuple):
    """A layer; the shape it takes (or a nest of shapes) and gives; its trees; its FLOPs; inputs it refuses."""

    layer: nn.Layer
    x: Any
    y: Any
    parameters: dict[str, tuple[int, ...]]
    states: str
    flops: int | None
    printed: str
    bad: tuple[tuple[Any, type[Exception], str], ...] = ()


def integers(*shape):
    return lx.ShapeDtype(shape, "int32")


NO_TENSOR = (None, TypeError, "got NoneType")
VALUE, TYPE, INDEX = ValueError, TypeError, IndexError
DENSE = {"weight": (2, 3), "bias": (2,)}
NORM = "running_mean running_var training"


def affine(*shape):
    return {"weight": shape, "bias": shape}


def pooled(text):
    """Bad inputs of a pooling along two axes."""
    return ((2, 3, 8), VALUE, f"{text} got (2, 3, 8), expected (batch, channels, size, size)"), NO_TENSOR


def cell(rows, **more):
    return {"weight_ih": (rows, 3), "weight_hh": (rows, 4), "bias_ih": (rows,), "bias_hh": (rows,)} | more


def cells(text):
    return (
        ((3,), VALUE, f"{text} got (3,), expected (batch, 3)"),
        ((2, 5), VALUE, f"{text} got (2, 5), expected (..., 3)"),
        (
            ((2, 3), (2, 5)),
            (VALUE, TYPE),
            "the carry is the pair" if "LSTM" in text else "carry of shape (2, 5)",
        ),
        (integers(2, 3), TYPE, "got int32 input of shape (2, 3)"),
        NO_TENSOR,
    )


def sequences(text):
    return (
        ((2, 3), VALUE, f"{text} got (2, 3), expected (batch, time, ...)"),
        ((2, 5, 4), VALUE, f"{text} got (2, 5, 4), expected (..., 3)"),
        (integers(2, 5, 3), TYPE, "got int32 input of shape (2, 5, 3)"),
        NO_TENSOR,
    )


def named(prefix, shapes):
    return {f"{prefix}.{name}": shape for name, shape in shapes.items()}


GRU = nn.GRUCell(3, 4)
CASES = [
    Case(
        nn.Dense(3, 2, lx.relu),
        (5, 4, 3),
        (5, 4, 2),
        DENSE,
        "",
        20 * 2 * 7,
        "Dense(3 => 2, relu)",
        (
            ((), VALUE, "got (), expected (..., 3)"),
            ((5, 4), VALUE, "got (5, 4), expected (..., 3)"),
            (integers(5, 3), TYPE, "int32 input of shape (5, 3); it takes float32: convert"),
            NO_TENSOR,
        ),
    ),
    Case(
        nn.Bilinear((3, 4), 2),
        ((5, 3), (5, 4)),
        (5, 2),
        {"weight": (2, 3, 4), "bias": (2,)},
        "",
        10 * (2 * 4 * 4 + 1),
        "Bilinear((3, 4) => 2)",
        (
            (((5, 3), (5, 3)), VALUE, "got (5, 3) and (5, 3), expected (..., 3) and (..., 4)"),
            (((5, 3), (6, 4)), VALUE, "got (5, 3) and (6, 4), of which the axes before the last do not"),
            (((5, 3), integers(5, 4)), TYPE, "int32 input of shape (5, 4)"),
            (((5, 3),), TYPE, "got a tuple of 1"),
            NO_TENSOR,
        ),
    ),
    Case(
        nn.Scale((3, 1)),
        (2, 3, 4),
        (2, 3, 4),
        affine(3, 1),
        "",
        48,
        "Scale((3, 1))",
        (
            ((2, 4, 4), VALUE, "got (2, 4, 4), expected (..., 3, 1)"),
            (integers(2, 3, 4), TYPE, "int32 input"),
            NO_TENSOR,
        ),
    ),
    Case(
        nn.Embedding(10, 4),
        integers(2, 5),
        (2, 5, 4),
        {"weight": (10, 4)},
        "",
        0,
        "Embedding(10 => 4)",
        (((2, 5), TYPE, "got float32 input of shape (2, 5), expected integers"), NO_TENSOR),
    ),
    Case(
        nn.SinusoidalPositionalEmbedding(4),
        (2, 5),
        (2, 5, 4),
        {},
        "sigmas",
        80,
        "SinusoidalPositionalEmbedding(4)",
        (NO_TENSOR,),
    ),
    Case(
        nn.RotaryPositionalEmbedding(4, 16),
        (2, 5, 4),
        (2, 5, 4),
        {},
        "cos_cache sin_cache",
        120,
        "RotaryPositionalEmbedding(4, max_sequence_length=16)",
        (
            ((4,), VALUE, "got (4,), expected (..., time, 4)"),
            ((2, 5, 6), VALUE, "got (2, 5, 6), expected (..., time, 4)"),
            ((2, 17, 4), VALUE, "17 positions, 16 are prepared; raise max_sequence_length"),
            (integers(2, 5, 4), TYPE, "int32 input of shape (2, 5, 4)"),
            NO_TENSOR,
        ),
    ),
    Case(
        nn.PeriodicEmbedding((1,), (4.0,)),
        (5, 3),
        (5, 4),
        {},
        "k",
        10,
        "PeriodicEmbedding((1,), (4.0,))",
        (((5, 1), INDEX, "got (5, 1), which lacks some of these features"), NO_TENSOR),
    ),
    Case(
        nn.Conv((3, 3), 4, 6, stride=2, padding=1, groups=2),
        (2, 4, 8, 8),
        (2, 6, 4, 4),
        {"weight": (6, 2, 3, 3), "bias": (6,)},
        "",
        192 * 37,
        "Conv((3, 3), 4 => 6, stride=2, padding=1, groups=2)",
        (
            ((4, 8, 8), VALUE, "got (4, 8, 8), expected (batch, 4, size, size)"),
            ((2, 3, 8, 8), VALUE, "got (2, 3, 8, 8), expected (batch, 4, size, size)"),
            ((2, 4, 8, 0), VALUE, "x (2, 4, 8, 0), weight (6, 2, 3, 3), bias (6,) do not fit"),
            (integers(2, 4, 8, 8), TYPE, "int32 input"),
            NO_TENSOR,
        ),
    ),
    Case(
        nn.ConvTranspose((2,), 4, 6, stride=2),
        (2, 4, 5),
        (2, 6, 10),
        {"weight": (4, 6, 2), "bias": (6,)},
        "",
        40 * 24 + 120,
        "ConvTranspose((2,), 4 => 6, stride=2)",
        (
            ((4, 5), VALUE, "got (4, 5), expected (batch, 4, size)"),
            ((2, 3, 5), VALUE, "got (2, 3, 5), expected (batch, 4, size)"),
            (integers(2, 4, 5), TYPE, "int32 input"),
            NO_TENSOR,
        ),
    ),
    Case(
        nn.MaxPool((3, 2), 2),
        (2, 3, 9, 8),
        (2, 3, 4, 4),
        {},
        "",
        96 * 6,
        "MaxPool((3, 2), stride=2)",
        (
            *pooled("MaxPool((3, 2), stride=2)"),
            ((2, 3, 1, 8), VALUE, "windows of 3 elements do not fit axis 2 of shape (2, 3, 1, 8)"),
            (integers(2, 3, 9, 8), TYPE, "dtype int32 is not supported"),
        ),
    ),
    Case(
        nn.MeanPool((2, 2)),
        (2, 3, 8, 8),
        (2, 3, 4, 4),
        {},
        "",
        96 * 4,
        "MeanPool((2, 2))",
        (
            *pooled("MeanPool((2, 2))"),
            ((2, 3, 1, 8), VALUE, "windows of 2 elements do not fit axis 2 of shape (2, 3, 1, 8)"),
            (integers(2, 3, 8, 8), TYPE, "dtype int32 is not supported"),
        ),
    ),
    Case(
        nn.LPPool((2, 2), 3),
        (2, 3, 8, 8),
        (2, 3, 4, 4),
        {},
        "",
        96 * 8,
        "LPPool((2, 2), p=3)",
        pooled("LPPool((2, 2), p=3)"),
    ),
    *(
        Case(
            layer,
            (2, 3, 4, 5),
            (2, 3, 1, 1),
            {},
            "",
            flops,
            text,
            (((2, 3), VALUE, f"{text} got (2, 3), expected (batch, channels, spatial...)"), NO_TENSOR),
        )
        for layer, flops, text in (
            (nn.GlobalMaxPool(), 120, "GlobalMaxPool()"),
            (nn.GlobalMeanPool(), 120, "GlobalMeanPool()"),
            (nn.GlobalLPPool(3), 240, "GlobalLPPool(p=3)"),
        )
    ),
    *(
        Case(layer, (2, 3, 5, 4), (2, 3, 2, 2), {}, "", flops, text, pooled(text))
        for layer, flops, text in (
            (nn.AdaptiveMaxPool((2, 2)), 144, "AdaptiveMaxPool((2, 2))"),
            (nn.AdaptiveMeanPool((2, 2)), 144, "AdaptiveMeanPool((2, 2))"),
            (nn.AdaptiveLPPool((2, 2)), 288, "AdaptiveLPPool((2, 2))"),
        )
    ),
    Case(
        nn.Upsample(2, mode="bilinear"),
        (2, 3, 4, 5),
        (2, 3, 8, 10),
        {},
        "",
        4 * 6 * (8 * 5 + 8 * 10),
        "Upsample(scale=2, mode='bilinear')",
        (
            ((2, 3), VALUE, "got (2, 3), expected (batch, channels, spatial...)"),
            ((2, 3, 4), VALUE, 'mode "bilinear" is for 2 spatial axes, got 1'),
            (integers(2, 3, 4, 5), TYPE, "dtype int32 is not supported"),
            NO_TENSOR,
        ),
    ),
    Case(
        nn.Upsample(size=(3,)),
        (2, 3, 4),
        (2, 3, 3),
        {},
        "",
        0,
        "Upsample(size=(3,))",
        (((2, 3, 4, 5), VALUE, "got (2, 3, 4, 5), expected (batch, channels, size)"),),
    ),
    Case(
        nn.PixelShuffle(2),
        (2, 8, 3, 3),
        (2, 2, 6, 6),
        {},
        "",
        0,
        "PixelShuffle(2)",
        (
            ((2, 8), VALUE, "pixel_shuffle: got shape (2, 8), expected (batch, channels"),
            ((2, 6, 3, 3), VALUE, "6 channels of shape (2, 6, 3, 3) are no multiple of 2^2"),
            (None, TYPE, "NoneType"),
        ),
    ),
    Case(
        nn.PixelUnshuffle(2),
        (2, 2, 6, 6),
        (2, 8, 3, 3),
        {},
        "",
        0,
        "PixelUnshuffle(2)",
        (
            ((2, 8), VALUE, "pixel_unshuffle: got shape (2, 8), expected (batch, channels"),
            ((2, 2, 5, 6), VALUE, "axes of shape (2, 2, 5, 6) are no multiples of 2"),
            (None, TYPE, "NoneType"),
        ),
    ),
    Case(
        nn.Pad([(1, 2)], "edge"),
        (2, 3, 4),
        (2, 3, 7),
        {},
        "",
        0,
        "Pad(((1, 2),), mode='edge')",
        (
            ((2, 3, 4, 5), VALUE, "got (2, 3, 4, 5), expected a pair (before, after) for each of its 2"),
            NO_TENSOR,
        ),
    ),
    Case(
        nn.BatchNorm(3, lx.relu),
        (2, 3, 5),
        (2, 3, 5),
        affine(3),
        NORM,
        240,
        "BatchNorm(3, relu)",
        (
            ((3,), VALUE, "got (3,), expected (batch, 3, ...)"),
            ((2, 4), VALUE, "got (2, 4), expected (batch, 3, ...)"),
            ((1, 3), VALUE, "one value per channel has no variance; train with larger batches"),
            (integers(2, 3), TYPE, "int32 input"),
            NO_TENSOR,
        ),
    ),
    Case(
        nn.GroupNorm(4, 2),
        (2, 4, 5),
        (2, 4, 5),
        affine(4),
        "",
        320,
        "GroupNorm(4, 2)",
        (
            ((4,), VALUE, "got (4,), expected (batch, 4, ...)"),
            ((2, 3, 5), VALUE, "got (2, 3, 5), expected (batch, 4, ...)"),
            (integers(2, 4, 5), TYPE, "int32 input"),
            NO_TENSOR,
        ),
    ),
    Case(
        nn.InstanceNorm(3),
        (2, 3, 5),
        (2, 3, 5),
        {},
        "",
        240,
        "InstanceNorm(3)",
        (
            ((2, 4, 5), VALUE, "got (2, 4, 5), expected (batch, 3, ...)"),
            ((2, 3), VALUE, "it needs spatial axes (batch, channels, ...)"),
            (integers(2, 3, 5), TYPE, "int32 input of shape (2, 3, 5)"),
            NO_TENSOR,
        ),
    ),
    Case(
        nn.InstanceNorm(3, True, True),
        (2, 3, 5),
        (2, 3, 5),
        affine(3),
        NORM,
        240,
        "InstanceNorm(3, affine=True, track_stats=True)",
    ),
    Case(
        nn.LayerNorm((3, 4)),
        (2, 3, 4),
        (2, 3, 4),
        affine(3, 4),
        "",
        192,
        "LayerNorm((3, 4))",
        (
            ((4,), VALUE, "got (4,), expected (..., 3, 4)"),
            ((2, 4, 4), VALUE, "got (2, 4, 4), expected (..., 3, 4)"),
            (integers(2, 3, 4), TYPE, "int32 input"),
            NO_TENSOR,
        ),
    ),
    Case(
        nn.RMSNorm(4),
        (2, 4),
        (2, 4),
        {"weight": (4,)},
        "",
        64,
        "RMSNorm((4,))",
        (((2, 3), VALUE, "got (2, 3), expected (..., 4)"), (integers(2, 4), TYPE, "int32 input"), NO_TENSOR),
    ),
    Case(
        nn.WeightNorm(nn.Dense(3, 2), "weight"),
        (5, 3),
        (5, 2),
        {"normalized.weight_g": (2, 1), "normalized.weight_v": (2, 3), "unnormalized.bias": (2,)},
        "",
        24 + 70,
        "WeightNorm(Dense(3 => 2), weight)",
        (((5, 4), VALUE, "Dense(3 => 2) got (5, 4), expected (..., 3)"), NO_TENSOR),
    ),
    Case(
        nn.Dropout(0.5, axes=(0,)),
        (2, 3),
        (2, 3),
        {},
        "key training",
        6,
        "Dropout(0.5, axes=(0,))",
        (
            (integers(2, 3), TYPE, "int32 input of shape (2, 3)"),
            ((), INDEX, "axis 0 is out of range"),
            NO_TENSOR,
        ),
    ),
    Case(
        nn.AlphaDropout(0.5),
        (2, 3),
        (2, 3),
        {},
        "key training",
        12,
        "AlphaDropout(0.5)",
        ((integers(2, 3), TYPE, "int32 input of shape (2, 3)"), NO_TENSOR),
    ),
    Case(
        nn.VariationalHiddenDropout(0.5, axes=(1,)),
        (2, 3),
        (2, 3),
        {},
        "key training mask update_mask",
        6,
        "VariationalHiddenDropout(0.5, axes=(1,))",
        ((integers(2, 3), TYPE, "int32 input"), ((2,), INDEX, "got (2,), which has no axis 1"), NO_TENSOR),
    ),
    Case(
        nn.RNNCell(3, 4),
        (2, 3),
        ((2, 4), (2, 4)),
        cell(4),
        "",
        2 * 2 * 4 * 7,
        "RNNCell(3 => 4)",
        cells("RNNCell(3 => 4)"),
    ),
    Case(
        nn.RNNCell(3, 4, lx.sigmoid),
        ((2, 3), (2, 4)),
        ((2, 4), (2, 4)),
        cell(4),
        "",
        2 * 2 * 4 * 7,
        "RNNCell(3 => 4, sigmoid)",
        cells("RNNCell(3 => 4, sigmoid)"),
    ),
    Case(
        nn.LSTMCell(3, 4, train_state=True, train_memory=True),
        (2, 3),
        ((2, 4), ((2, 4), (2, 4))),
        cell(16, hidden_state=(4,), memory=(4,)),
        "",
        2 * 2 * 16 * 7,
        "LSTMCell(3 => 4, train_state=True, train_memory=True)",
        cells("LSTMCell(3 => 4, train_state=True, train_memory=True)"),
    ),
    Case(
        nn.GRUCell(3, 4, use_bias=False),
        (2, 3),
        ((2, 4), (2, 4)),
        {"weight_ih": (12, 3), "weight_hh": (12, 4)},
        "",
        2 * 2 * 12 * 7,
        "GRUCell(3 => 4, use_bias=False)",
        cells("GRUCell(3 => 4, use_bias=False)"),
    ),
    Case(
        nn.Recurrence(GRU),
        (2, 5, 3),
        (2, 4),
        cell(12),
        "",
        5 * 2 * 2 * 12 * 7,
        "Recurrence of GRUCell(3 => 4)",
        sequences("GRUCell(3 => 4)"),
    ),
    Case(
        nn.StatefulRecurrentCell(GRU),
        (2, 3),
        (2, 4),
        cell(12),
        "cell carry",
        2 * 2 * 12 * 7,
        "StatefulRecurrentCell of GRUCell(3 => 4)",
        (
            ((2, 5), VALUE, "GRUCell(3 => 4) got (2, 5), expected (..., 3)"),
            ((2, 5, 3), VALUE, "nn.Recurrence takes a cell along a sequence"),
            NO_TENSOR,
        ),
    ),
    Case(
        nn.BidirectionalRNN(GRU),
        (2, 5, 3),
        (2, 5, 8),
        named("forward", cell(12)) | named("backward", cell(12)),
        "forward backward",
        2 * 5 * 2 * 2 * 12 * 7,
        "BidirectionalRNN(",
        sequences("GRUCell(3 => 4)"),
    ),
    Case(
        nn.MultiHeadAttention(8, 4, causal=True, kv_heads=2),
        (2, 5, 8),
        (2, 5, 8),
        {f"{name}_proj.weight": (4 if name in "kv" else 8, 8) for name in ("q", "k", "v", "out")},
        "q_proj k_proj v_proj out_proj",
        10 * 2 * 8 * (8 + 4 + 4 + 8) + 4 * 8 * 2 * 5 * 5,
        "MultiHeadAttention(8, heads=4, causal=True, kv_heads=2)(",
        (
            ((5, 8), VALUE, "got (5, 8), expected (batch, time, 8)"),
            ((2, 5, 6), VALUE, "q_proj: Dense(8 => 8, use_bias=False) got (2, 5, 6), expected (..., 8)"),
            (((2, 5, 8), (3, 5, 8)), VALUE, "q (2, 5, 4, 2), k (3, 5, 2, 2)"),
            (
                ((2, 5, 8),) * 3 + ((5, 5),),
                TYPE,
                "expected bool (true = attend); give numbers to add as bias",
            ),
            (integers(2, 5, 8), TYPE, "int32 input"),
            NO_TENSOR,
        ),
    ),
    Case(
        nn.MultiHeadAttention(8, 2, 0.1, use_bias=True, return_weights=True),
        ((2, 5, 8), (2, 7, 8)),
        ((2, 5, 8), (2, 2, 5, 7)),
        {
            f"{name}_proj.{leaf}": shape
            for name in ("q", "k", "v", "out")
            for leaf, shape in (("weight", (8, 8)), ("bias", (8,)))
        },
        "q_proj k_proj v_proj out_proj attention_dropout",
        (10 + 14 + 14 + 10) * 8 * 17 + 4 * 8 * 2 * 5 * 7 + 2 * 2 * 5 * 7,
        "MultiHeadAttention(8, heads=2, dropout=0.1, use_bias=True, return_weights=True)(",
    ),
    Case(
        nn.WrappedFunction(lx.relu),
        (2, 3),
        (2, 3),
        {},
        "",
        None,
        "WrappedFunction(relu)",
        ((None, TYPE, "NoneType"),),
    ),
    Case(nn.NoOpLayer(), ((2, 3), (4,)), ((2, 3), (4,)), {}, "", 0, "NoOpLayer()"),
    Case(
        nn.ReshapeLayer((2, -1)),
        (5, 6),
        (5, 2, 3),
        {},
        "",
        0,
        "ReshapeLayer((2, -1))",
        (
            ((5, 3), VALUE, "cannot view shape (5, 3) (15 elements) as (5, 2, -1)"),
            ((), VALUE, "got (), expected (batch, ...)"),
            NO_TENSOR,
        ),
    ),
    Case(
        nn.FlattenLayer(2),
        (5, 2, 3, 4),
        (5, 2, 12),
        {},
        "",
        0,
        "FlattenLayer(start=2)",
        (((5,), VALUE, "got (5,), expected at least 2 axes"), NO_TENSOR),
    ),
    Case(
        nn.SelectDim(1, -1),
        (5, 2, 3),
        (5, 3),
        {},
        "",
        0,
        "SelectDim(1, -1)",
        (
            ((5,), INDEX, "got (5,), which has no axis 1"),
            ((5, 0), INDEX, "axis 1 has no index -1"),
            NO_TENSOR,
        ),
    ),
    Case(
        nn.ReverseSequence(),
        (5, 2),
        (5, 2),
        {},
        "",
        0,
        "ReverseSequence()",
        (((5,), INDEX, "got (5,), which has no axis 1"), NO_TENSOR),
    ),
    Case(
        nn.AlternatePrecision("float64", nn.Dense(3, 2)),
        (5, 3),
        (5, 2),
        DENSE,
        "",
        70,
        "AlternatePrecision of Dense(3 => 2)",
        (((5, 4), VALUE, "Dense(3 => 2) got (5, 4), expected (..., 3)"),),
    ),
    Case(
        nn.Chain(nn.Dense(3, 2), lx.relu),
        (5, 3),
        (5, 2),
        named("layer_1", DENSE),
        "layer_1 layer_2",
        70,
        "Chain(",
        (((5, 4), VALUE, "first.layer_1: Dense(3 => 2) got (5, 4), expected (..., 3)"),),
    ),
    Case(
        nn.Parallel(None, nn.Dense(3, 2), nn.NoOpLayer()),
        ((5, 3), (4,)),
        ((5, 2), (4,)),
        named("layer_1", DENSE),
        "layer_1 layer_2",
        70,
        "Parallel(",
        (
            (((5, 3),), VALUE, "Parallel got a tuple of 1 inputs for 2 layers; give one per layer"),
            ((5, 4), VALUE, "first.layer_1: Dense(3 => 2) got (5, 4), expected (..., 3)"),
        ),
    ),
    Case(
        nn.BranchLayer(nn.Dense(3, 2), nn.NoOpLayer(), fusion=lx.add),
        (2, 3),
        None,
        named("layer_1", DENSE),
        "layer_1 layer_2",
        28,
        "BranchLayer(add)(",
        (((2, 3), VALUE, "add: shapes (2, 2) and (2, 3) do not broadcast"),),
    ),
    Case(
        nn.PairwiseFusion(lx.add, nn.Dense(3, 2)),
        ((5, 3), (5, 2)),
        (5, 2),
        named("layer_1", DENSE),
        "layer_1",
        70,
        "PairwiseFusion(add)(",
        (
            (((5, 3),), VALUE, "PairwiseFusion(add) with 1 layers needs 2 inputs, got a tuple of 1"),
            (((5, 3), (5, 3)), VALUE, "add: shapes (5, 2) and (5, 3) do not broadcast"),
        ),
    ),
    Case(
        nn.SkipConnection(nn.Dense(3, 3), lx.add),
        (5, 3),
        (5, 3),
        {"weight": (3, 3), "bias": (3,)},
        "",
        105,
        "SkipConnection(add) of Dense(3 => 3)",
        (((5, 4), VALUE, "first: Dense(3 => 3) got (5, 4), expected (..., 3)"),),
    ),
    Case(
        nn.RepeatedLayer(nn.Dense(3, 3), 4),
        (5, 3),
        (5, 3),
        {"weight": (3, 3), "bias": (3,)},
        "",
        420,
        "RepeatedLayer(repeats=4) of Dense(3 => 3)",
        (((5, 4), VALUE, "first: Dense(3 => 3) got (5, 4), expected (..., 3)"),),
    ),
    Case(
        nn.Maxout(lambda: nn.Dense(3, 2), 2),
        (5, 3),
        (5, 2),
        named("layer_1", DENSE) | named("layer_2", DENSE),
        "layer_1 layer_2",
        140,
        "Maxout(",
        (((5, 4), VALUE, "first.layer_1: Dense(3 => 2) got (5, 4), expected (..., 3)"),),
    ),
]
IDS = [case.printed.rstrip("(") for case in CASES]
# What the user's own layers are made of, and what is put around layers rather than written into models.
TOOLS = {"Container", "DebugLayer", "FrozenLayer", "Layer", "Wrapper"}
# Their FLOPs are their children's.
JOINING = {"AlternatePrecision", "BranchLayer", "Chain", "Maxout", "PairwiseFusion", "Parallel"} | {
    "RepeatedLayer",
    "SkipConnection",
}


def filled(spec):
    """Ones for a shape, a spec, or a nest of those; None is itself."""
    if isinstance(spec, lx.ShapeDtype):
        return lx.ones(spec.shape, dtype=spec.dtype)
    if spec is None or all(isinstance(size, int) for size in spec):
        return None if spec is None else lx.ones(spec)
    return tuple(filled(part) for part in spec)


def shapes(value):
    return tuple(shapes(part) for part in value) if isinstance(value, tuple) else tuple(value.shape)


def leaf_shapes(ps):
    return {path: tuple(ps[path].shape) for path in ps.paths()}


def test_every_layer_is_here_and_documented():
    layers = {
        name
        for name in nn.__all__
        if inspect.isclass(kind := getattr(nn, name)) and issubclass(kind, nn.Layer)
    }
    assert {type(case.layer).__name__ for case in CASES} == layers - TOOLS
    assert set(re.findall(r"^nn\.([A-Z]\w+)", SIGNATURES, re.MULTILINE)) == layers - TOOLS
    for name in layers - TOOLS:
        text = inspect.getdoc(getattr(nn, name))
        assert "Example:" in text, name
        assert "FLOPs" in text or name in JOINING, name


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_trees_and_shapes(case):
    ps, st = nn.setup(0, case.layer)
    assert leaf_shapes(ps) == case.parameters
    assert list(st) == case.states.split()
    if case.y is None:
        return
    assert nn.output_shape(case.layer, case.x) == case.y
    assert shapes(case.layer(filled(case.x), ps, st)[0]) == case.y


def test_functions_are_wrapped_and_children_named():
    two = {"first": nn.Dense(3, 3), "second": lx.tanh}
    for model in (
        nn.Chain(**two),
        nn.Parallel(lx.add, **two),
        nn.BranchLayer(fusion=lx.add, **two),
        nn.PairwiseFusion(lx.add, **two),
        nn.SkipConnection(layer=lx.tanh, connection=lx.add),
        nn.RepeatedLayer(layer=lx.tanh, repeats=2),
        nn.Maxout(**two),
        nn.AlternatePrecision(dtype="float64", layer=lx.tanh),
    ):
        ps, st = nn.setup(0, model)
        assert list(ps) in ([], list(two))
        assert model(lx.ones((2, 3)), ps, st)[0].shape == (2, 3)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_printing_and_flops(case):
    assert repr(case.layer).startswith(case.printed)
    count = sum(np.prod(shape, dtype=int) for shape in case.parameters.values())
    chain = repr(nn.Chain(first=case.layer))
    assert f"first: {case.printed.split(' of ')[0]}" in chain
    assert not count or f"{count:,} parameter" in chain
    assert "object at" not in chain and "<" not in chain
    if case.y is None:
        return
    table = nn.summary(nn.Chain(first=case.layer), case.x)
    assert table.trainable == count
    flops = [row.flops for row in table.rows if "WrappedFunction" not in row.layer]
    assert (sum(flops) if None not in flops and flops else None) == case.flops


BAD = [(case, *bad) for case in CASES for bad in case.bad]


@pytest.mark.parametrize(
    ("case", "x", "kind", "text"), BAD, ids=[f"{case.printed.rstrip('(')} of {x}" for case, x, *_ in BAD]
)
def test_bad_inputs(case, x, kind, text):
    model = nn.Chain(first=case.layer)
    ps, st = nn.setup(0, model)
    with pytest.raises(kind) as caught:
        model(filled(x), ps, st)
    assert text in str(caught.value)
    assert any(note.startswith("in layer first") for note in caught.value.__notes__)


OPEN = [
    (nn.Dense(None, 2), nn.Dense(3, 2), (5, 3)),
    (nn.Conv((3, 3), None, 4), nn.Conv((3, 3), 3, 4), (2, 3, 8, 8)),
    (nn.ConvTranspose((3,), None, 4), nn.ConvTranspose((3,), 3, 4), (2, 3, 8)),
    (nn.BatchNorm(None), nn.BatchNorm(3), (2, 3)),
    (nn.GroupNorm(None, 2), nn.GroupNorm(4, 2), (2, 4, 5)),
    (nn.InstanceNorm(None, True, True), nn.InstanceNorm(3, True, True), (2, 3, 5)),
    (nn.RNNCell(None, 4), nn.RNNCell(3, 4), (2, 3)),
    (nn.LSTMCell(None, 4), nn.LSTMCell(3, 4), (2, 3)),
    (nn.GRUCell(None, 4), nn.GRUCell(3, 4), (2, 3)),
    (nn.Recurrence(nn.LSTMCell(None, 4)), nn.Recurrence(nn.LSTMCell(3, 4)), (2, 5, 3)),
    (nn.BidirectionalRNN(nn.GRUCell(None, 4)), nn.BidirectionalRNN(nn.GRUCell(3, 4)), (2, 5, 3)),
    (nn.WeightNorm(nn.Dense(None, 2), "weight"), nn.WeightNorm(nn.Dense(3, 2), "weight"), (5, 3)),
]


@pytest.mark.parametrize(
    ("layer", "settled", "x"), OPEN, ids=[repr(layer).split("(\n")[0] for layer, *_ in OPEN]
)
def test_sizes_that_are_inferred(layer, settled, x):
    with pytest.raises(ValueError, match="give setup an x_spec to infer it from"):
        nn.setup(0, layer)
    inferred, expected = (trees for trees in (nn.setup(0, layer, x_spec=x), nn.setup(0, settled)))
    for got, want in zip(
        itertools.chain(*map(lx.tree.leaves, inferred)),
        itertools.chain(*map(lx.tree.leaves, expected)),
        strict=True,
    ):
        assert np.array_equal(np.asarray(got), np.asarray(want))
    y, _ = layer(lx.ones(x), *inferred)
    assert lx.tree.map(lambda leaf: leaf.shape, (y,)) == lx.tree.map(
        lambda leaf: leaf.shape, (settled(lx.ones(x), *expected)[0],)
    )
