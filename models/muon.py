"""The optimiser Muon, for the kernels of convolutions too; Keras's takes those of dense layers."""

from typing import Any

import keras
from keras import ops

from models.spec import MUON_TO_ADAM

MOMENTUM = 0.6  # of kernels, as in K. Jordan's recipe for CIFAR-10, like the next
ITERATIONS = 3  # of Newton and Schulz; small singular values stay below 1
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7  # of Adam


class Muon(keras.optimizers.Optimizer):  # type: ignore[misc]  # Keras has no types
    """Muon for kernels, Adam for everything else (K. Jordan, kellerjordan.github.io/posts/muon).

    A kernel counts as a matrix with a column for each filter or unit. Its step is the momentum
    with its singular values brought near 1: it changes the main directions by about the learning
    rate each. Before the step, the kernel is scaled to a norm of sqrt(filters), so that the rate
    alone says how much of it a step changes. So weight decay has no effect on kernels, except the
    last one, that of the softmax layer, which Adam trains.

    Args:
        learning_rate: Of the kernels, a number or a schedule; Adam's is a 25th of it.
        weight_decay: Each step subtracts ``learning_rate * weight_decay`` of a variable.
        dtype: Of the products of matrices: ``float32`` or ``bfloat16``.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
        weight_decay: float | None = None,
        dtype: str = "float32",
    ) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay, name="muon")
        self._dtype = dtype

    def build(self, variables: list[keras.Variable]) -> None:
        """Create the state: each variable's momentum, and the squared gradients for Adam."""
        if self.built:
            return
        super().build(variables)
        kernels = [number for number, variable in enumerate(variables) if len(variable.shape) > 1]
        self._orthogonal = frozenset(kernels[:-1])
        self._momenta = self.add_optimizer_variables(variables, "momentum")
        others = [n for n in range(len(variables)) if n not in self._orthogonal]
        squares = self.add_optimizer_variables([variables[n] for n in others], "square")
        self._squares = dict(zip(others, squares, strict=True))

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Change ``variable``, a kernel by Muon and others by Adam."""
        number = self._get_variable_index(variable)
        rate, momentum = ops.cast(learning_rate, "float32"), self._momenta[number]
        gradient = ops.cast(gradient, "float32")
        if number in self._orthogonal:
            self.assign(momentum, MOMENTUM * momentum + gradient)
            matrix = ops.reshape(gradient + MOMENTUM * momentum, (-1, gradient.shape[-1]))
            step = ops.reshape(self._orthogonalised(matrix), gradient.shape)
            scale = gradient.shape[-1] ** 0.5 / (ops.norm(ops.reshape(variable, (-1,))) + EPSILON)
            self.assign(variable, variable * scale - rate * step)
            return
        square, time = self._squares[number], ops.cast(self.iterations + 1, "float32")
        self.assign(momentum, BETA_1 * momentum + (1 - BETA_1) * gradient)
        self.assign(square, BETA_2 * square + (1 - BETA_2) * gradient * gradient)
        unbiased = ops.sqrt(square / (1 - BETA_2**time)) + EPSILON
        self.assign_sub(variable, rate / MUON_TO_ADAM * momentum / (1 - BETA_1**time) / unbiased)

    def _orthogonalised(self, matrix: Any) -> Any:
        """``matrix`` with its singular values brought near 1."""
        x = ops.cast(matrix / (ops.norm(ops.reshape(matrix, (-1,))) + EPSILON), self._dtype)
        tall = x.shape[0] > x.shape[1]
        x = ops.transpose(x) if tall else x  # products of the smaller square are cheaper
        for _ in range(ITERATIONS):
            square = x @ ops.transpose(x)
            # The polynomial of the singular values that K. Jordan has fitted to rise fastest.
            x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
        return ops.cast(ops.transpose(x) if tall else x, "float32")
