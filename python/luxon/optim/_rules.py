"""The rules: frozen descriptions whose arithmetic is in the Rust core.

Formulas, argument names and defaults are PyTorch's where it has the rule, else Optax's; what PyTorch lacks comes
by keyword after its own arguments. `p` is a parameter, `g` its gradient, `t` the number of the step, from 1.
"""

from __future__ import annotations

import dataclasses

from ._base import LearningRate, Rule


@dataclasses.dataclass(frozen=True)
class SGD(Rule):
    """Stochastic gradient descent: b = momentum b + (1 - dampening) g; p = p - lr b (PyTorch).

    Args:
        lr: the learning rate: a number or a schedule.
        momentum: what is kept of the buffer b; 0 keeps none. The first b is g itself.
        dampening: what of the gradient does not enter the buffer.
        weight_decay: adds weight_decay * p to the gradient.
        nesterov: step along g + momentum b.
        maximize: climb instead of descend.

    Raises:
        ValueError: a setting out of range; nesterov without momentum or with dampening.
    """

    lr: LearningRate = 1e-3
    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False
    maximize: bool = dataclasses.field(default=False, kw_only=True)


@dataclasses.dataclass(frozen=True)
class Rprop(Rule):
    """Resilient propagation (Riedmiller and Braun 1993; PyTorch).

    Every element has a step size, which grows while its gradient keeps its sign and shrinks when it turns; p moves
    by it against the sign.

    Args:
        lr: the first step size.
        etas: by how much a step size shrinks and grows.
        step_sizes: the smallest and the largest step size.
        maximize: climb instead of descend.

    Raises:
        ValueError: a setting out of range.
    """

    lr: LearningRate = 1e-2
    etas: tuple[float, float] = (0.5, 1.2)
    step_sizes: tuple[float, float] = (1e-6, 50.0)
    maximize: bool = dataclasses.field(default=False, kw_only=True)


@dataclasses.dataclass(frozen=True)
class RMSProp(Rule):
    """RMSProp (Hinton 2012; PyTorch): v = alpha v + (1 - alpha) g^2; p = p - lr g / (sqrt(v) + eps).

    Args:
        lr: the learning rate: a number or a schedule.
        alpha: what is kept of v.
        eps: added to the root.
        weight_decay: adds weight_decay * p to the gradient.
        momentum: what is kept of a buffer of the steps; 0 keeps none.
        centered: subtract the squared mean gradient from v.
        eps_in_sqrt: add eps inside the root, as Optax does.
        maximize: climb instead of descend.

    Raises:
        ValueError: a setting out of range.
    """

    lr: LearningRate = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum: float = 0.0
    centered: bool = False
    eps_in_sqrt: bool = dataclasses.field(default=False, kw_only=True)
    maximize: bool = dataclasses.field(default=False, kw_only=True)


@dataclasses.dataclass(frozen=True)
class Adam(Rule):
    """Adam (Kingma and Ba 2015; PyTorch).

    m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; p = p - lr m' / (sqrt(v') + eps) with m' = m / (1 - b1^t)
    and v' = v / (1 - b2^t). The step t is counted per leaf.

    Args:
        lr: the learning rate: a number or a schedule.
        betas: the decay rates (b1, b2).
        eps: added to the root.
        weight_decay: adds weight_decay * p to the gradient.
        amsgrad: divide by the largest v so far (Reddi et al. 2018).
        nesterov: look a step ahead (Dozat 2016).
        eps_root: added inside the root.
        maximize: climb instead of descend.

    Raises:
        ValueError: a setting out of range.
    """

    lr: LearningRate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    amsgrad: bool = False
    nesterov: bool = dataclasses.field(default=False, kw_only=True)
    eps_root: float = dataclasses.field(default=0.0, kw_only=True)
    maximize: bool = dataclasses.field(default=False, kw_only=True)


@dataclasses.dataclass(frozen=True)
class AdamW(Rule):
    """Adam with decoupled decay: p is first shrunk by 1 - lr * weight_decay (Loshchilov and Hutter 2019; PyTorch).

    Args:
        lr: the learning rate: a number or a schedule.
        betas: decay rates of the moments.
        eps: added to the root.
        weight_decay: the decay.
        amsgrad: divide by the largest second moment so far.
        nesterov: look a step ahead (Dozat 2016).
        eps_root: added inside the root.
        maximize: climb instead of descend.

    Raises:
        ValueError: a setting out of range.
    """

    lr: LearningRate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 1e-2
    amsgrad: bool = False
    nesterov: bool = dataclasses.field(default=False, kw_only=True)
    eps_root: float = dataclasses.field(default=0.0, kw_only=True)
    maximize: bool = dataclasses.field(default=False, kw_only=True)


@dataclasses.dataclass(frozen=True)
class NAdam(Rule):
    """Adam with Nesterov's momentum, which grows to its full size (Dozat 2016; PyTorch).

    The momentum of step t is b1 (1 - 0.96^(t momentum_decay) / 2).

    Args:
        lr: the learning rate: a number or a schedule.
        betas: decay rates of the moments.
        eps: added to the root.
        weight_decay: weight decay.
        momentum_decay: how fast the momentum grows.
        decoupled_weight_decay: decay shrinks p by 1 - lr * weight_decay instead of adding to g.
        maximize: climb instead of descend.

    Raises:
        ValueError: a setting out of range.
    """

    lr: LearningRate = 2e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum_decay: float = 4e-3
    decoupled_weight_decay: bool = False
    maximize: bool = dataclasses.field(default=False, kw_only=True)


@dataclasses.dataclass(frozen=True)
class RAdam(Rule):
    """Rectified Adam (Liu et al. 2020; PyTorch).

    Without the second moment until its average is long enough to be trusted.

    Args:
        lr: the learning rate: a number or a schedule.
        betas: decay rates of the moments.
        eps: added to the root.
        weight_decay: weight decay.
        decoupled_weight_decay: decay shrinks p by 1 - lr * weight_decay instead of adding to g.
        corrected_eps: add eps to the bias-corrected root, as Optax does.
        nesterov: look a step ahead (Dozat 2016).
        threshold: the length from which the average is trusted.
        maximize: climb instead of descend.

    Raises:
        ValueError: a setting out of range.
    """

    lr: LearningRate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled_weight_decay: bool = False
    corrected_eps: bool = dataclasses.field(default=False, kw_only=True)
    nesterov: bool = dataclasses.field(default=False, kw_only=True)
    threshold: float = dataclasses.field(default=5.0, kw_only=True)
    maximize: bool = dataclasses.field(default=False, kw_only=True)


@dataclasses.dataclass(frozen=True)
class AdaMax(Rule):
    """Adam over the largest gradient: u = max(b2 u, abs(g) + eps) (Kingma and Ba 2015; PyTorch).

    m = b1 m + (1 - b1) g; p = p - lr / (1 - b1^t) m / u.

    Args:
        lr: the learning rate: a number or a schedule.
        betas: the decay rates (b1, b2).
        eps: added to abs(g).
        weight_decay: adds weight_decay * p to the gradient.
        maximize: climb instead of descend.

    Raises:
        ValueError: a setting out of range.
    """

    lr: LearningRate = 2e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    maximize: bool = dataclasses.field(default=False, kw_only=True)


@dataclasses.dataclass(frozen=True)
class AMSGrad(Rule):
    """Adam over the largest bias-corrected second moment so far (Reddi et al. 2018; Optax).

    PyTorch's variant, which corrects after taking the maximum, is `Adam(amsgrad=True)`.

    Args:
        lr: the learning rate: a number or a schedule.
        betas: decay rates of the moments.
        eps: added to the root.
        eps_root: added inside the root.
        bias_correction_mu: correct the first moment for its start at 0.
        bias_correction_nu: correct the second moment for its start at 0.

    Raises:
        ValueError: a setting out of range.
    """

    lr: LearningRate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    eps_root: float = 0.0
    bias_correction_mu: bool = True
    bias_correction_nu: bool = True


@dataclasses.dataclass(frozen=True)
class AdaGrad(Rule):
    """AdaGrad (Duchi et al. 2011; PyTorch): s = s + g^2; p = p - lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps).

    Args:
        lr: the learning rate: a number or a schedule.
        lr_decay: how the rate decays.
        weight_decay: adds weight_decay * p to the gradient.
        initial_accumulator_value: what s starts from.
        eps: added to the root.
        eps_in_sqrt: add eps inside the root, as Optax does.
        maximize: climb instead of descend.

    Raises:
        ValueError: a setting out of range.
    """

    lr: LearningRate = 1e-2
    lr_decay: float = 0.0
    weight_decay: float = 0.0
    initial_accumulator_value: float = 0.0
    eps: float = 1e-10
    eps_in_sqrt: bool = dataclasses.field(default=False, kw_only=True)
    maximize: bool = dataclasses.field(default=False, kw_only=True)


@dataclasses.dataclass(frozen=True)
class AdaDelta(Rule):
    """AdaDelta (Zeiler 2012; PyTorch).

    v = rho v + (1 - rho) g^2; d = sqrt(a + eps) / sqrt(v + eps) g; a = rho a + (1 - rho) d^2; p = p - lr d.

    Args:
        lr: the learning rate: a number or a schedule.
        rho: what is kept of the mean squares.
        eps: added inside both roots.
        weight_decay: adds weight_decay * p to the gradient.
        maximize: climb instead of descend.

    Raises:
        ValueError: a setting out of range.
    """

    lr: LearningRate = 1.0
    rho: float = 0.9
    eps: float = 1e-6
    weight_decay: float = 0.0
    maximize: bool = dataclasses.field(default=False, kw_only=True)


@dataclasses.dataclass(frozen=True)
class ASGD(Rule):
    """Averaged stochastic gradient descent (Polyak and Juditsky 1992; PyTorch).

    p = p (1 - lambd eta) - eta g with eta = lr / (1 + lambd lr (t - 1))^alpha. From step t0 on the state's entry
    `ax` is the average of p.

    Args:
        lr: the learning rate: a number or a schedule.
        lambd: decay of p and of the rate.
        alpha: the exponent of the rate.
        t0: the step at which averaging begins.
        weight_decay: adds weight_decay * p to the gradient.
        maximize: climb instead of descend.

    Raises:
        ValueError: a setting out of range.
    """

    lr: LearningRate = 1e-2
    lambd: float = 1e-4
    alpha: float = 0.75
    t0: float = 1e6
    weight_decay: float = 0.0
    maximize: bool = dataclasses.field(default=False, kw_only=True)


@dataclasses.dataclass(frozen=True)
class AdaBelief(Rule):
    """Adam by belief in the gradient: v = b2 v + (1 - b2) (g - m)^2 + eps_root (Zhuang et al. 2020; Optax).

    Args:
        lr: the learning rate: a number or a schedule.
        betas: decay rates of the moments.
        eps: added to the root.
        eps_root: added to v at each step.
        nesterov: look a step ahead (Dozat 2016).

    Raises:
        ValueError: a setting out of range.
    """

    lr: LearningRate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-16
    eps_root: float = 1e-16
    nesterov: bool = dataclasses.field(default=False, kw_only=True)


@dataclasses.dataclass(frozen=True)
class OAdam(Rule):
    """Optimistic Adam: with Adam's step u, p = p - lr ((alpha + beta) u - beta u_before) (Daskalakis et al. 2018; Optax).

    Args:
        lr: the learning rate: a number or a schedule.
        betas: decay rates of the moments.
        eps: added to the root.
        alpha: the weight of the step.
        beta: the weight of its change; the first step has none.
        eps_root: added inside the root.
        nesterov: look a step ahead (Dozat 2016).

    Raises:
        ValueError: a setting out of range.
    """

    lr: LearningRate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    alpha: float = 1.0
    beta: float = 1.0
    eps_root: float = dataclasses.field(default=0.0, kw_only=True)
    nesterov: bool = dataclasses.field(default=True, kw_only=True)


@dataclasses.dataclass(frozen=True)
class Yogi(Rule):
    """Adam with v = v - (1 - b2) sign(v - g^2) g^2 (Zaheer et al. 2018; Optax).

    Args:
        lr: the learning rate: a number or a schedule.
        betas: decay rates of the moments.
        eps: added to the root.
        eps_root: added inside the root.
        initial_accumulator_value: what both moments start from.

    Raises:
        ValueError: a setting out of range.
    """

    lr: LearningRate = 1e-2
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-3
    eps_root: float = dataclasses.field(default=0.0, kw_only=True)
    initial_accumulator_value: float = dataclasses.field(default=1e-6, kw_only=True)


@dataclasses.dataclass(frozen=True)
class Lion(Rule):
    """Sign of momentum: p = p (1 - lr weight_decay) - lr sign(b1 m + (1 - b1) g); m = b2 m + (1 - b2) g (Chen et al. 2023; Optax).

    Args:
        lr: the learning rate: a number or a schedule.
        betas: the decay rates (b1, b2).
        weight_decay: the decay.

    Raises:
        ValueError: a setting out of range.
    """

    lr: LearningRate = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 1e-3


@dataclasses.dataclass(frozen=True)
class Lamb(Rule):
    """Adam's step, made as long as the parameter (You et al. 2020; Optax).

    With Adam's step u and d = u + weight_decay p: p = p - lr norm(p) / norm(d) d; the ratio is 1 where a norm is 0.

    Args:
        lr: the learning rate: a number or a schedule.
        betas: decay rates of the moments.
        eps: added to the root.
        eps_root: added inside the root.
        weight_decay: adds weight_decay * p to the step.

    Raises:
        ValueError: a setting out of range.
    """

    lr: LearningRate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-6
    eps_root: float = 0.0
    weight_decay: float = 0.0


@dataclasses.dataclass(frozen=True)
class Lars(Rule):
    """Momentum over steps as long as the parameter (You et al. 2017; Optax).

    d = g + weight_decay p; b = momentum b + lr trust_coefficient norm(p) / (norm(d) + eps) d; p = p - b; the ratio is
    1 where a norm is 0.

    Args:
        lr: the learning rate: a number or a schedule.
        weight_decay: adds weight_decay * p to the gradient.
        trust_coefficient: the length of a step over that of p.
        eps: added to the length of d.
        momentum: what is kept of the momentum buffer.
        nesterov: look ahead along the buffer.

    Raises:
        ValueError: a setting out of range.
    """

    lr: LearningRate = 1e-3
    weight_decay: float = 0.0
    trust_coefficient: float = 1e-3
    eps: float = 0.0
    momentum: float = 0.9
    nesterov: bool = False


@dataclasses.dataclass(frozen=True)
class NovoGrad(Rule):
    """Momentum over gradients divided by their length (Ginsburg et al. 2019; Optax).

    v = b2 v + (1 - b2) norm(g)^2, at first norm(g)^2; m = b1 m + g / (sqrt(v + eps_root) + eps) + weight_decay p;
    p = p - lr m.

    Args:
        lr: the learning rate: a number or a schedule.
        betas: the decay rates (b1, b2).
        eps: added to the root.
        eps_root: added inside the root.
        weight_decay: adds weight_decay * p to the scaled gradient.

    Raises:
        ValueError: a setting out of range.
    """

    lr: LearningRate = 1e-3
    betas: tuple[float, float] = (0.9, 0.25)
    eps: float = 1e-6
    eps_root: float = 0.0
    weight_decay: float = 0.0


@dataclasses.dataclass(frozen=True)
class Adafactor(Rule):
    """Adam's second moment, kept as row and column means (Shazeer and Stern 2018; PyTorch).

    Leaves of fewer than two axes keep it whole; others are matrices in their last two axes.

    Args:
        lr: the largest learning rate; 1 / sqrt(t) is another bound.
        beta2_decay: the second moment takes the share t^beta2_decay.
        eps: the least second moment (None for the precision of the type) and the least size of p.
        d: steps with a larger root mean square are shortened to it.
        weight_decay: p is first shrunk by 1 - lr * weight_decay.
        maximize: climb instead of descend.

    Raises:
        ValueError: a setting out of range.
    """

    lr: LearningRate = 1e-2
    beta2_decay: float = -0.8
    eps: tuple[float | None, float] = (None, 1e-3)
    d: float = 1.0
    weight_decay: float = 0.0
    maximize: bool = dataclasses.field(default=False, kw_only=True)


@dataclasses.dataclass(frozen=True)
class Muon(Rule):
    """Momentum made orthogonal by a Newton-Schulz iteration, for matrices (Jordan et al. 2024; PyTorch).

    PyTorch iterates in bfloat16, this in the working precision. Other leaves want another rule: see `partition`.

    Args:
        lr: the learning rate: a number or a schedule.
        weight_decay: p is first shrunk by 1 - lr * weight_decay.
        momentum: what is kept of the momentum.
        nesterov: look ahead along the momentum.
        ns_coefficients: the polynomial of the iteration.
        eps: the least length that a momentum is divided by.
        ns_steps: steps of the iteration.
        adjust_lr_fn: how the rate depends on the shape: "original" (so by default), "match_rms_adamw" or
            "spectral_unclamped".

    Raises:
        ValueError: a setting out of range; in an update, a leaf that is no matrix.
    """

    lr: LearningRate = 1e-3
    weight_decay: float = 0.1
    momentum: float = 0.95
    nesterov: bool = True
    ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315)
    eps: float = 1e-7
    ns_steps: int = 5
    adjust_lr_fn: str | None = None


@dataclasses.dataclass(frozen=True)
class LBFGS(Rule):
    """Limited-memory BFGS over all leaves (PyTorch's algorithm).

    `optim.update` and `training.apply_gradients` make one iteration with the fixed step `lr`. To evaluate the
    objective again, as up to `max_iter` iterations and a line search do, the rule needs the objective:
    `training.single_train_step` gives it, and `optim.minimize` takes it. The objective must then always give the
    same value for the same parameters.

    Args:
        lr: the step, and the first one that a line search tries.
        max_iter: iterations of one step with an objective.
        max_eval: evaluations of one step with an objective; max_iter * 5 // 4 by default.
        tolerance_grad: a step ends where no gradient is larger.
        tolerance_change: a step ends where neither the parameters nor the objective change more.
        history_size: pairs of differences that are remembered.
        line_search_fn: "strong_wolfe", or None for the fixed step.
        maximize: climb instead of descend.

    Raises:
        ValueError: a setting out of range.
    """

    lr: LearningRate = 1.0
    max_iter: int = 20
    max_eval: int | None = None
    tolerance_grad: float = 1e-7
    tolerance_change: float = 1e-9
    history_size: int = 100
    line_search_fn: str | None = None
    maximize: bool = dataclasses.field(default=False, kw_only=True)


@dataclasses.dataclass(frozen=True)
class SM3(Rule):
    """AdaGrad that keeps only the largest square along each axis (Anil et al. 2019; Optax).

    Args:
        lr: the learning rate: a number or a schedule.
        momentum: what is kept of the averaged step.

    Raises:
        ValueError: a setting out of range.
    """

    lr: LearningRate = 1e-3
    momentum: float = 0.9


@dataclasses.dataclass(frozen=True)
class Fromage(Rule):
    """Steps as long as the parameter that do not make it grow (Bernstein et al. 2020; Optax).

    p = (p - lr norm(p) / norm(g) g) / sqrt(1 + lr^2).

    Args:
        lr: the learning rate: a number or a schedule.
        min_norm: shorter parameters and gradients count as this long.

    Raises:
        ValueError: a setting out of range.
    """

    lr: LearningRate = 1e-2
    min_norm: float = 1e-6
