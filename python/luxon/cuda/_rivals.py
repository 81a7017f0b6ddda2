"""The same steps on PyTorch and JAX, for the table of times: used where these libraries are installed.

Weights start at the libraries' own initial values: here only time counts, not the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Step = Callable[[], Any]


def torch_models() -> Iterator[tuple[str, Any, Any, Any]]:
    """Name, module, inputs and targets, all on the GPU."""
    import torch
    from torch import nn

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.LSTM(32, 128, batch_first=True), nn.Linear(128, 10)

        def forward(self, x: Any) -> Any:
            return self.head(self.rnn(x)[0][:, -1])

    class Block(nn.Module):
        def __init__(self, d: int, heads: int) -> None:
            super().__init__()
            self.heads = heads
            self.before, self.between = nn.LayerNorm(d), nn.LayerNorm(d)
            self.qkv, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
            self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

        def forward(self, x: Any) -> Any:
            functional = nn.functional
            parts = self.qkv(self.before(x)).chunk(3, -1)
            q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + functional.dropout(self.out(y.transpose(1, 2).flatten(2)), 0.1)
            z = self.down(functional.gelu(self.up(self.between(x))))
            return x + functional.dropout(z, 0.1)

    def drawn(*shape: int) -> Any:
        return torch.randn(*shape, device="cuda")

    def classes(count: int, *shape: int) -> Any:
        return torch.randint(0, count, shape, device="cuda")

    perceptron = nn.Sequential(
        nn.Linear(784, 512), nn.ReLU(), nn.Dropout(0.1), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)
    )
    yield "MLP 784-512-512-10, batch 128", perceptron.cuda(), drawn(128, 784), classes(10, 128)
    convolutions = nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(256, 120), nn.ReLU(), nn.Dropout(0.1), nn.Linear(120, 84), nn.ReLU(),
        nn.Linear(84, 10),
    )  # fmt: skip
    yield "LeNet-5, batch 128", convolutions.cuda(), drawn(128, 1, 28, 28), classes(10, 128)
    yield "LSTM 32-128, 64 steps, batch 32", Last().cuda(), drawn(32, 64, 32), classes(10, 32)
    stack = [Block(128, 4) for _ in range(4)]
    language = nn.Sequential(nn.Embedding(96, 128), *stack, nn.LayerNorm(128), nn.Linear(128, 96, bias=False))
    tokens = classes(96, 16, 128)
    yield "transformer 4 x 128, context 128, batch 16", language.cuda(), tokens, classes(96, 16, 128)


def torch_steps() -> Iterator[tuple[str, str, Step]]:
    """Steps of eager and compiled PyTorch, by the names of our tasks."""
    import torch

    for name, module, x, y in torch_models():
        for mode in ("torch", "torch.compile"):

            def objective(x: Any, y: Any, module: Any = module) -> Any:
                z = module(x)
                return torch.nn.functional.cross_entropy(z.flatten(0, -2) if y.ndim > 1 else z, y.flatten())

            compute = torch.compile(objective) if mode == "torch.compile" else objective
            rule = torch.optim.Adam(module.parameters(), lr=1e-3, fused=True)

            def step(compute: Any = compute, rule: Any = rule, x: Any = x, y: Any = y) -> Any:
                rule.zero_grad()
                loss = compute(x, y)
                loss.backward()
                rule.step()
                return loss

            yield name, mode, step


def jax_steps() -> Iterator[tuple[str, str, Step]]:
    """A compiled step of the perceptron on JAX with Adam, its buffers donated."""
    import jax
    import jax.numpy as jnp

    if jax.default_backend() != "gpu":
        return
    rng = np.random.default_rng(0)
    sizes = [784, 512, 512, 10]
    ps = [
        (jnp.asarray(rng.standard_normal((m, n)) * m**-0.5, "f4"), jnp.zeros(n, "f4"))
        for m, n in zip(sizes, sizes[1:], strict=False)
    ]
    x = jnp.asarray(rng.standard_normal((128, 784)), "f4")
    y = jnp.asarray(rng.integers(0, 10, 128))

    def objective(ps: Any, key: Any) -> Any:
        z = x
        for i, (weight, bias) in enumerate(ps):
            z = z @ weight + bias
            z = jax.nn.relu(z) if i < 2 else z
            if i == 0:
                z = jnp.where(jax.random.bernoulli(key, 0.9, z.shape), z / 0.9, 0.0)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], 1))

    def train(ps: Any, first: Any, second: Any, count: Any, key: Any) -> Any:
        key, used = jax.random.split(key)
        loss, grads = jax.value_and_grad(objective)(ps, used)
        count = count + 1.0
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, grads)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, grads)
        rate = 1e-3 * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        ps = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-8), ps, first, second)
        return ps, first, second, count, key, loss

    run = jax.jit(train, donate_argnums=(0, 1, 2, 3, 4))
    zeros = jax.tree.map(jnp.zeros_like, ps)
    state = [ps, zeros, jax.tree.map(jnp.zeros_like, ps), jnp.zeros(()), jax.random.key(0)]

    def step() -> Any:
        *state[:], loss = run(*state)
        return jax.block_until_ready(loss)

    yield "MLP 784-512-512-10, batch 128", "jax.jit", step


def steps(problems: list[str]) -> Iterator[tuple[str, str, Step]]:
    """All steps of all libraries that are there; what failed is said in `problems`."""
    for library in (torch_steps, jax_steps):
        try:
            yield from library()
        except Exception as error:
            problems.append(f"{library.__name__}: {type(error).__name__}: {error}"[:300])
