"""How the parameters move: Adam or Muon, and averages of them."""

import math

import torch

MOMENTUM = 0.95
NEWTON_SCHULZ_STEPS = 5


def rate_at(order, step):
    """As in libs/optim/src/schedule.ts: linear warm-up, then a half cosine down to a fraction of the peak; or no descent (`constant`)."""
    peak, warmup, rounds, final = order["learningRate"], order["warmup"], order["rounds"], order["finalFraction"]
    if step < warmup:
        return peak * (step + 1) / warmup
    if order.get("constant"):
        return peak
    progress = min(1, (step - warmup) / max(1, rounds - 1 - warmup))
    return peak * (final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2)


def orthogonalised(gates):
    """Matrices [n, H, H] to about the nearest orthogonal ones: all singular values become 0.7 to 1.2 (Jordan et al. 2024)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = gates / (gates.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.transpose(1, 2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


class Muon:
    """Muon (Jordan et al. 2024) for the products between layers and time steps, gate by gate; Adam for everything else."""

    def __init__(self, network, rate):
        named = [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
        # The columns of the first layer's input matrix are vectors of characters: an embedding, which is left to Adam.
        orthogonal = [name for name, _ in named if name.startswith("layers.") and "weight" in name and name != "layers.0.weight_ih_l0"]
        self.matrices = [parameter for name, parameter in named if name in orthogonal]
        self.momenta = [torch.zeros_like(matrix) for matrix in self.matrices]
        self.rate = rate
        self.adam = Adam([parameter for name, parameter in named if name not in orthogonal])

    @torch.no_grad()
    def step(self, rate, peak):
        for matrix, momentum in zip(self.matrices, self.momenta):
            momentum.lerp_(matrix.grad, 1 - MOMENTUM)
            ahead = torch.lerp(matrix.grad, momentum, MOMENTUM)
            hidden = matrix.size(1)
            direction = orthogonalised(ahead.view(-1, hidden, hidden)).view_as(matrix)
            matrix.sub_(direction, alpha=self.rate * rate / peak)
        self.adam.step(rate, peak)


class Adam:
    def __init__(self, parameters):
        betas = (0.9, 0.99)
        try:
            self.adam = torch.optim.Adam(parameters, betas=betas, fused=True)
        except (RuntimeError, TypeError):  # Before 2.4, PyTorch has it for GPUs only.
            self.adam = torch.optim.Adam(parameters, betas=betas)

    def step(self, rate, _peak):
        self.adam.param_groups[0]["lr"] = rate
        self.adam.step()


class MovingAverage:
    """As in Troupe: a = a + (1 - d) (p - a), where d = min(D, (1 + n) / (10 + n))."""

    def __init__(self, parameters, decay):
        self.parameters, self.decay, self.updates = parameters, decay, 0
        self.values = [parameter.detach().clone() for parameter in parameters]

    @torch.no_grad()
    def update(self, _step):
        self.updates += 1
        take = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        for value, parameter in zip(self.values, self.parameters):
            value.lerp_(parameter, take)


class LateAverage:
    """Stochastic weight averaging (Izmailov et al. 2018): the mean of the parameters after each step from `first` on."""

    def __init__(self, parameters, first):
        self.parameters, self.first, self.count = parameters, first, 0
        self.values = [parameter.detach().clone() for parameter in parameters]

    @torch.no_grad()
    def update(self, step):
        self.count = self.count + 1 if step > self.first else 1
        for value, parameter in zip(self.values, self.parameters):
            value.lerp_(parameter, 1 / self.count)
