"""How a cost grows with what it is paid for, and where memory ends."""

import math
from dataclasses import dataclass

CHUNK = 32 << 20  # the programs' arenas take memory in pieces, so some of it stays unused
USABLE = 0.9  # of a card, as the programs count when they say what would fit
CARDS = (8, 24, 80)  # GiB


def exponent(xs, ys):
    """k of y = c · x^k, by least squares of the logarithms; None for fewer than two points or values not above 0."""
    if len(set(xs)) < 2 or min(*xs, *ys) <= 0:
        return None
    logs = [(math.log(x), math.log(y)) for x, y in zip(xs, ys)]
    mean_x, mean_y = (sum(values) / len(logs) for values in zip(*logs))
    return sum((x - mean_x) * (y - mean_y) for x, y in logs) / sum((x - mean_x) ** 2 for x, _ in logs)


@dataclass
class MemoryLine:
    """Bytes of a training step's tensors: fixed + each · batch."""

    fixed: float
    each: float
    parameters: int

    @classmethod
    def through(cls, few, few_bytes, more, more_bytes, parameters):
        each = (more_bytes - few_bytes) / (more - few)
        return cls(few_bytes - few * each, each, parameters)

    def step_bytes(self, batch):
        return self.fixed + self.each * batch

    def lasting_bytes(self):
        """Weights, gradients and momentum, fp32."""
        return 3 * 4 * self.parameters

    def largest_batch(self, card_bytes, data_bytes):
        """That fits a card which also holds the data; 0 where none does."""
        left = USABLE * card_bytes - data_bytes - self.lasting_bytes() - CHUNK - self.fixed
        return max(0, math.floor(left / self.each))

    def most_models(self, card_bytes, data_bytes, batch):
        """At once, each with its own step and sharing the data."""
        one = self.step_bytes(batch) + self.lasting_bytes() + CHUNK
        return max(0, math.floor((USABLE * card_bytes - data_bytes) / one))
