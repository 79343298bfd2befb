"""What a good engineer writes by hand: each gradient strategy as a plain torch loop, to compare the estimators with.

The network is an ``nn.Module``, the optimiser ``torch.optim.Adam`` as it comes; batches are rows indexed by a
permutation; penalties are sums over named parameters; gradients come from ``backward()``. Nothing is merged, flattened
or fused beyond what one writes without a profiler, and nothing is slower than it needs to be: tensors in memory, no
``DataLoader``, no ``.item()``. The mathematics is that of the estimators, see ``tests/benchmarks/test_bare_loops.py``.

Labels are 0, 1, …; the network has outputs for all of them from the start, and all are in the softmax.
"""

import copy
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from scipy.optimize import nnls
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from forgetless.estimators import (
    AGEMClassifier,
    AnchoredClassifier,
    CumulativeClassifier,
    DERClassifier,
    ERACEClassifier,
    EWCClassifier,
    FeatureDistillationClassifier,
    FrozenClassifier,
    GEMClassifier,
    HATClassifier,
    ICaRLClassifier,
    IndependentClassifier,
    JointClassifier,
    LaMAMLClassifier,
    LwFClassifier,
    MASClassifier,
    MERClassifier,
    NaiveClassifier,
    PackNetClassifier,
    ProgressiveClassifier,
    RelationDistillationClassifier,
    ReplayClassifier,
    RWalkClassifier,
    SIClassifier,
)


def mlp(sizes):
    """Linear layers with ReLU between them."""
    layers = []
    for n_inputs, n_outputs in pairwise(sizes):
        layers += [nn.Linear(n_inputs, n_outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Naive:
    """The loop. `sizes` are the widths of all layers, inputs and outputs included."""

    def __init__(self, sizes, *, lr, batch_size, epochs):
        self.sizes, self.lr, self.batch_size, self.epochs = sizes, lr, batch_size, epochs
        self.n_experiences = 0
        self.start(mlp(sizes))

    def start(self, model):
        self.model = model
        self.optimizer = torch.optim.Adam(model.parameters(), lr=self.lr)

    def learn(self, X, y):
        self.before(X, y)
        self.train(X, y)
        self.after(X, y)
        self.n_experiences += 1

    def before(self, X, y):
        """What comes before the steps."""

    def train(self, X, y):
        for epoch in range(self.epochs):
            for index in torch.randperm(len(X), device=X.device).split(self.batch_size):
                self.step(X[index], y[index], epoch)

    def after(self, X, y):
        """What comes after the steps."""

    def step(self, x, y, epoch):
        loss = self.loss(x, y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def loss(self, x, y):
        return F.cross_entropy(self.model(x), y)


# --- regularisation ----------------------------------------------------------------------------------------------


def weights(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def sum_over_rows(model, function, power, X, y):
    """Sum over rows of a power of the gradient of ``function(outputs, y)``, for each parameter."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def of_row(parameters, x, y):
        return function(functional_call(model, parameters, (x[None],)), y[None])

    gradients = vmap(grad(of_row), in_dims=(None, 0, 0))
    total = {name: torch.zeros_like(p) for name, p in parameters.items()}
    for rows in zip(X.split(64), y.split(64), strict=True):
        for name, g in gradients(parameters, *rows).items():
            total[name] += power(g).sum(0)
    return total


class L2(Naive):
    """½ λ ‖θ − θ*‖²."""

    anchor = None

    def __init__(self, *args, strength, **kwargs):
        super().__init__(*args, **kwargs)
        self.strength = strength

    def loss(self, x, y):
        loss = super().loss(x, y)
        if self.anchor is None:
            return loss
        penalty = sum((p - self.anchor[name]).square().sum() for name, p in self.model.named_parameters())
        return loss + self.strength / 2 * penalty

    def after(self, X, y):
        self.anchor = weights(self.model)


class L1(Naive):
    """λ ‖θ − θ*‖₁, by proximal steps of length lr·λ."""

    anchor = None

    def __init__(self, *args, strength, **kwargs):
        super().__init__(*args, **kwargs)
        self.strength = strength

    def step(self, x, y, epoch):
        super().step(x, y, epoch)
        if self.anchor is not None:
            with torch.no_grad():
                for name, p in self.model.named_parameters():
                    p.copy_(self.anchor[name] + F.softshrink(p - self.anchor[name], self.lr * self.strength))

    def after(self, X, y):
        self.anchor = weights(self.model)


class Springs(Naive):
    """κ Σ Ω (θ − θ*)²."""

    anchor = importance = None

    def __init__(self, *args, strength, **kwargs):
        super().__init__(*args, **kwargs)
        self.strength = strength

    def penalty(self):
        distances = (
            (self.importance[name] * (p - self.anchor[name]).square()).sum()
            for name, p in self.model.named_parameters()
        )
        return self.strength * sum(distances)

    def loss(self, x, y):
        loss = super().loss(x, y)
        return loss if self.anchor is None else loss + self.penalty()

    def hold(self, importance):
        if self.importance is not None:
            importance = {name: self.importance[name] + new for name, new in importance.items()}
        self.importance, self.anchor = importance, weights(self.model)


class EWC(Springs):
    """½ λ Σ F (θ − θ*)², F the empirical Fisher of some rows. With several experiences, this is the online variant."""

    def __init__(self, *args, n_samples, **kwargs):
        super().__init__(*args, **kwargs)
        self.strength /= 2
        self.n_samples = n_samples

    def after(self, X, y):
        index = torch.randperm(len(X), device=X.device)[: self.n_samples]
        squares = sum_over_rows(self.model, F.cross_entropy, torch.square, X[index], y[index])
        self.hold({name: total / len(index) for name, total in squares.items()})


class MAS(Springs):
    """λ Σ Ω (θ − θ*)², Ω the mean of |∂‖f(x)‖²/∂θ|."""

    def after(self, X, y):
        totals = sum_over_rows(self.model, lambda outputs, y: outputs.square().sum(), torch.abs, X, y)
        self.hold({name: total / len(X) for name, total in totals.items()})


class SI(Springs):
    """λ Σ Ω (θ − θ*)², Ω from the path integral of the plain gradient."""

    damping = 0.1

    def before(self, X, y):
        self.first = weights(self.model)
        self.path = {name: torch.zeros_like(p) for name, p in self.model.named_parameters()}

    def step(self, x, y, epoch):
        self.optimizer.zero_grad()
        F.cross_entropy(self.model(x), y).backward()
        plain = {name: p.grad.clone() for name, p in self.model.named_parameters()}
        before = weights(self.model)
        if self.anchor is not None:
            self.penalty().backward()
        self.optimizer.step()
        for name, p in self.model.named_parameters():
            self.path[name] -= plain[name] * (p.detach() - before[name])

    def after(self, X, y):
        now = weights(self.model)
        self.hold({name: w / ((now[name] - self.first[name]).square() + self.damping) for name, w in self.path.items()})
        self.importance = {name: w.clamp(min=0) for name, w in self.importance.items()}


class RWalk(SI):
    """λ Σ (F̂ + ŝ)(θ − θ*)²: a running Fisher of batches, and path scores of segments of some steps."""

    damping, decay, segment = 1e-3, 0.9, 10
    fisher = score = None

    def before(self, X, y):
        super().before(X, y)
        self.new_score = {name: torch.zeros_like(p) for name, p in self.model.named_parameters()}
        self.n_steps = 0

    def step(self, x, y, epoch):
        if self.n_steps % self.segment == 0:
            squares = sum_over_rows(self.model, F.cross_entropy, torch.square, x, y)
            fisher = {name: total / len(x) for name, total in squares.items()}
            if self.fisher is not None:
                fisher = {name: self.fisher[name].lerp(new, self.decay) for name, new in fisher.items()}
            self.fisher = fisher
        super().step(x, y, epoch)
        self.n_steps += 1
        if self.n_steps % self.segment == 0:
            self.close_segment()

    def close_segment(self):
        for name, p in self.model.named_parameters():
            distance = self.fisher[name] * (p.detach() - self.first[name]).square() / 2
            self.new_score[name] += (self.path[name] / (distance + self.damping)).clamp(min=0)
            self.path[name].zero_()
            self.first[name] = p.detach().clone()

    def after(self, X, y):
        if self.n_steps % self.segment:
            self.close_segment()
        score = self.new_score
        if self.score is not None:
            score = {name: (self.score[name] + new) / 2 for name, new in score.items()}
        self.score = score
        fisher, score = to_unit(self.fisher), to_unit(self.score)
        self.importance = {name: fisher[name] + score[name] for name in fisher}
        self.anchor = weights(self.model)


def to_unit(values):
    low, high = min(v.min() for v in values.values()), max(v.max() for v in values.values())
    return {name: (v - low) / (high - low) for name, v in values.items()}


# --- replay ------------------------------------------------------------------------------------------------------


class Reservoir:
    """Vitter's reservoir of rows."""

    def __init__(self, capacity):
        self.capacity, self.n_seen, self.rows = capacity, 0, None

    def __len__(self):
        return min(self.n_seen, self.capacity)

    def add(self, *rows):
        if self.rows is None:
            self.rows = [t.new_empty(self.capacity, *t.shape[1:]) for t in rows]
        n = len(rows[0])
        places = (torch.rand(n) * (self.n_seen + 1 + torch.arange(n))).long()
        n_free = min(n, self.capacity - len(self))
        places[:n_free] = torch.arange(self.n_seen, self.n_seen + n_free)
        latest = {place: row for row, place in enumerate(places.tolist()) if place < self.capacity}
        if latest:
            target, source = list(latest), list(latest.values())
            for stored, t in zip(self.rows, rows, strict=True):
                stored[target] = t[source]
        self.n_seen += n

    def sample(self, n):
        index = torch.randint(len(self), (n,), device=self.rows[0].device)
        return [t[index] for t in self.rows]

    def stored(self):
        return [t[: len(self)] for t in self.rows]


class Remembering(Naive):
    def __init__(self, *args, buffer_size, **kwargs):
        super().__init__(*args, **kwargs)
        self.memory = Reservoir(buffer_size)


class Replay(Remembering):
    """½ L(batch) + ½ L(memory batch)."""

    def loss(self, x, y):
        if not len(self.memory):
            return super().loss(x, y)
        x_old, y_old = self.drawn(x, y)
        new, old = self.model(torch.cat([x, x_old])).split([len(x), len(x_old)])
        return 0.5 * F.cross_entropy(new, y) + 0.5 * F.cross_entropy(old, y_old)

    def drawn(self, x, y):
        return self.memory.sample(len(x))

    def after(self, X, y):
        self.memory.add(X, y)


class MIR(Replay):
    """Replay of the candidates whose loss a step on the new batch would raise most."""

    def drawn(self, x, y):
        index = torch.randperm(len(self.memory), device=x.device)[: 5 * len(x)]
        x_old, y_old = (t[index] for t in self.memory.rows)
        names, parameters = zip(*self.model.named_parameters(), strict=True)
        gradients = torch.autograd.grad(F.cross_entropy(self.model(x), y), parameters)
        with torch.no_grad():
            stepped = {n: p - self.lr * g for n, p, g in zip(names, parameters, gradients, strict=True)}
            after = F.cross_entropy(functional_call(self.model, stepped, (x_old,)), y_old, reduction="none")
            rise = after - F.cross_entropy(self.model(x_old), y_old, reduction="none")
        most = rise.topk(min(len(x), len(rise))).indices
        return x_old[most], y_old[most]


class ERACE(Remembering):
    """L(batch over its own classes) + L(memory batch)."""

    def before(self, X, y):
        self.memory.add(X, y)

    def loss(self, x, y):
        x_old, y_old = self.memory.sample(len(x))
        new, old = self.model(torch.cat([x, x_old])).split(len(x))
        absent = torch.ones(new.shape[1], dtype=torch.bool, device=x.device)
        absent[y] = False
        return F.cross_entropy(new.masked_fill(absent, -torch.inf), y) + F.cross_entropy(old, y_old)


class DERpp(Remembering):
    """L + α ‖f(x′) − z′‖² + β L(x″, y″)."""

    def __init__(self, *args, alpha, beta, **kwargs):
        super().__init__(*args, **kwargs)
        self.alpha, self.beta = alpha, beta

    def loss(self, x, y):
        if not len(self.memory):
            outputs = self.model(x)
            loss = F.cross_entropy(outputs, y)
        else:
            n = len(x)
            x_old, y_old, z_old = self.memory.sample(2 * n)
            outputs, matched, labelled = self.model(torch.cat([x, x_old])).split(n)
            distance = (matched - z_old[:n]).square().sum(1).mean()
            loss = (
                F.cross_entropy(outputs, y) + self.alpha * distance + self.beta * F.cross_entropy(labelled, y_old[n:])
            )
        self.memory.add(x, y, outputs.detach())
        return loss


class Projecting(Remembering):
    """The gradient of the new batch is projected by gradients of the memory."""

    def step(self, x, y, epoch):
        self.optimizer.zero_grad()
        F.cross_entropy(self.model(x), y).backward()
        if self.n_experiences:
            g = torch.cat([p.grad.flatten() for p in self.model.parameters()])
            projected = self.projected(g)
            start = 0
            for p in self.model.parameters():
                p.grad.copy_(projected[start : start + p.numel()].view_as(p))
                start += p.numel()
        self.optimizer.step()

    def gradient_on(self, x, y):
        gradients = torch.autograd.grad(F.cross_entropy(self.model(x), y), list(self.model.parameters()))
        return torch.cat([g.flatten() for g in gradients])


class AGEM(Projecting):
    """g − min(0, g·r) r / r·r."""

    def __init__(self, *args, memory_batch_size, **kwargs):
        super().__init__(*args, **kwargs)
        self.memory_batch_size = memory_batch_size

    def projected(self, g):
        index = torch.randperm(len(self.memory), device=g.device)[: self.memory_batch_size]
        r = self.gradient_on(*(t[index] for t in self.memory.rows))
        product = g @ r
        return g - product / (r @ r) * r if product < 0 else g

    def after(self, X, y):
        self.memory.add(X, y)


class GEM(Projecting):
    """The nearest gradient that has no negative product with that of any past experience's memory."""

    def __init__(self, *args, memory_strength, **kwargs):
        super().__init__(*args, **kwargs)
        self.memory_strength = memory_strength
        self.past = []

    def projected(self, g):
        G = torch.stack([self.gradient_on(*memory.stored()) for memory in self.past])
        products = (G @ g).double().cpu().numpy()
        if products.min() >= 0:
            return g
        gram = (G @ G.T).double().cpu().numpy()
        L = np.linalg.cholesky(gram)
        least = np.full(len(gram), self.memory_strength)
        v = nnls(L.T, np.linalg.solve(L, -(products + gram @ least)))[0] + least
        return g + torch.from_numpy(v).to(g) @ G

    def after(self, X, y):
        memory = Reservoir(self.memory.capacity // (self.n_experiences + 1))
        memory.add(X, y)
        self.past.append(memory)


class ICaRL(Naive):
    """Binary cross-entropies with labels and the old network's answers; exemplars by herding."""

    teacher = None

    def __init__(self, *args, buffer_size, **kwargs):
        super().__init__(*args, **kwargs)
        self.buffer_size = buffer_size
        self.exemplars = {}

    def before(self, X, y):
        self.old = list(self.exemplars)
        self.outputs = sorted({*self.old, *y.unique().tolist()})
        if self.n_experiences:
            self.teacher = copy.deepcopy(self.model)

    def train(self, X, y):
        if self.exemplars:
            X = torch.cat([X, *self.exemplars.values()])
            y = torch.cat([y, *(y.new_full((len(x),), label) for label, x in self.exemplars.items())])
        super().train(X, y)

    def loss(self, x, y):
        outputs = self.model(x)
        targets = F.one_hot(y, outputs.shape[1]).to(outputs)
        if self.teacher is not None:
            with torch.no_grad():
                targets[:, self.old] = self.teacher(x)[:, self.old].sigmoid()
        if len(self.outputs) < outputs.shape[1]:
            outputs, targets = outputs[:, self.outputs], targets[:, self.outputs]
        return F.binary_cross_entropy_with_logits(outputs, targets, reduction="sum") / len(x)

    @torch.no_grad()
    def after(self, X, y):
        n_rows = self.buffer_size // len(self.outputs)
        self.exemplars = {label: x[:n_rows] for label, x in self.exemplars.items()}
        for label in y.unique().tolist():
            x = X[y == label]
            features = F.normalize(self.model[:-1](x))
            mean, chosen, total = features.mean(0), [], 0
            for k in range(min(n_rows, len(x))):
                distances = (mean - (total + features) / (k + 1)).norm(dim=1)
                distances[chosen] = torch.inf
                chosen.append(distances.argmin().item())
                total = total + features[chosen[-1]]
            self.exemplars[label] = x[chosen]
        means = (F.normalize(self.model[:-1](x)).mean(0) for x in self.exemplars.values())
        self.means = {label: F.normalize(mean, dim=0) for label, mean in zip(self.exemplars, means, strict=True)}


# --- distillation ------------------------------------------------------------------------------------------------


class Distilling(Naive):
    """The network after the last experience answers for each batch."""

    teacher = None

    def before(self, X, y):
        if self.n_experiences:
            self.teacher = copy.deepcopy(self.model)

    def loss(self, x, y):
        return super().loss(x, y) if self.teacher is None else self.distilling_loss(x, y)


class LwF(Distilling):
    """α L + (1 − α) T² KL(teacher ‖ student), over the old classes."""

    def __init__(self, *args, alpha, temperature, **kwargs):
        super().__init__(*args, **kwargs)
        self.alpha, self.temperature = alpha, temperature

    def after(self, X, y):
        self.n_old = int(y.max()) + 1

    def distilling_loss(self, x, y):
        outputs = self.model(x)
        with torch.no_grad():
            taught = self.teacher(x)[:, : self.n_old]
        log_q = F.log_softmax(outputs[:, : self.n_old] / self.temperature, dim=1)
        log_p = F.log_softmax(taught / self.temperature, dim=1)
        distillation = F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
        loss = F.cross_entropy(outputs, y)
        return self.alpha * loss + (1 - self.alpha) * self.temperature**2 * distillation


class FeatureDistillation(Distilling):
    """L + ½ λ ‖h* − h‖²."""

    def distilling_loss(self, x, y):
        features = self.model[:-1](x)
        with torch.no_grad():
            taught = self.teacher[:-1](x)
        return F.cross_entropy(self.model[-1](features), y) + self.distance(features, taught)

    def distance(self, features, taught):
        return 0.5 * (taught - features).square().sum(1).mean()


class RelationDistillation(FeatureDistillation):
    """L + λ_D L_D + λ_A L_A, as the authors of RKD write it."""

    distance_weight, angle_weight = 25.0, 50.0

    def distance(self, features, taught):
        n = len(features)
        with torch.no_grad():
            t_distances, t_angles = relations(taught)
        distances, angles = relations(features)
        by_distance = F.smooth_l1_loss(distances, t_distances, reduction="sum") / (n * (n - 1))
        by_angle = F.smooth_l1_loss(angles, t_angles, reduction="sum") / (n * (n - 1) * (n - 2))
        return self.distance_weight * by_distance + self.angle_weight * by_angle


def relations(h):
    """Distances between rows, in units of their mean, and cosines of the angles at each row."""
    differences = h[None] - h[:, None]
    squares = differences.square().sum(2)
    apart = squares > 1e-6 * squares.detach().mean()
    distances = torch.where(apart, squares, 1.0).sqrt() * apart
    directions = differences / torch.where(apart, distances, torch.inf)[:, :, None]
    return distances / (distances.sum() / (len(h) * (len(h) - 1))), directions @ directions.mT


# --- baselines ---------------------------------------------------------------------------------------------------


class Cumulative(Naive):
    rows = None

    def train(self, X, y):
        rows = (X, y)
        if self.rows is not None:
            rows = [torch.cat(pair) for pair in zip(self.rows, rows, strict=True)]
        self.rows = rows
        super().train(*rows)


class Joint(Cumulative):
    def before(self, X, y):
        if self.n_experiences:
            self.start(mlp(self.sizes).to(X.device))


class Frozen(Naive):
    def before(self, X, y):
        if self.n_experiences:
            self.model[:-1].requires_grad_(False)
            for group in self.optimizer.param_groups:
                group["params"] = list(self.model[-1].parameters())


# --- isolation ---------------------------------------------------------------------------------------------------


class PerTask(Naive):
    """A head for each task, over its own classes."""

    def before(self, X, y):
        self.columns = y.unique()
        self.open_task(len(self.columns), X.device)

    def open_task(self, n_outputs, device):
        if self.n_experiences or self.model[-1].out_features != n_outputs:
            self.start(nn.Sequential(*self.model[:-1], nn.Linear(self.sizes[-2], n_outputs).to(device)))

    def train(self, X, y):
        super().train(X, torch.searchsorted(self.columns, y))


class Independent(PerTask):
    def open_task(self, n_outputs, device):
        self.start(mlp([*self.sizes[:-1], n_outputs]).to(device))


class ProgressiveNet(nn.Module):
    """A column that reads the hidden layers of frozen ones, too."""

    def __init__(self, sizes, earlier):
        super().__init__()
        self.earlier = [column.requires_grad_(False) for column in earlier]
        n_read = [1] + [1 + len(earlier)] * (len(sizes) - 2)
        self.layers = nn.ModuleList(nn.Linear(n * a, b) for n, a, b in zip(n_read, sizes[:-1], sizes[1:], strict=True))

    def hidden(self, x, earlier):
        """What leaves each hidden layer; `earlier` is that of earlier columns."""
        states = [F.relu(self.layers[0](x))]
        for depth, layer in enumerate(self.layers[1:-1]):
            states.append(F.relu(layer(torch.cat([states[-1], *(other[depth] for other in earlier)], 1))))
        return states

    def forward(self, x):
        earlier = []
        with torch.no_grad():
            for column in self.earlier:
                earlier.append(column.hidden(x, earlier))
        own = self.hidden(x, earlier)
        return self.layers[-1](torch.cat([own[-1], *(other[-1] for other in earlier)], 1))


class Progressive(PerTask):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.start(ProgressiveNet(self.sizes, []))

    def open_task(self, n_outputs, device):
        earlier = [*self.model.earlier, self.model] if self.n_experiences else []
        self.start(ProgressiveNet([*self.sizes[:-1], n_outputs], earlier).to(device))


class PackNet(PerTask):
    """Train, prune, retrain, freeze."""

    prune_fraction, retrain_fraction = 0.75, 1 / 3
    owners = None

    def weights(self):
        return [layer.weight for layer in self.model[:-1] if isinstance(layer, nn.Linear)]

    def before(self, X, y):
        super().before(X, y)
        if self.owners is None:
            self.owners = [torch.zeros_like(w, dtype=torch.int16) for w in self.weights()]
        n_steps = self.epochs * -(-len(X) // self.batch_size)
        self.steps_left = n_steps - round(self.retrain_fraction * n_steps)
        self.fix([owner == 0 for owner in self.owners])

    def fix(self, masks):
        """Only these weights learn, the head, and in the first experience the biases."""
        masks = {id(w): mask for w, mask in zip(self.weights(), masks, strict=True)}
        head = [id(p) for p in self.model[-1].parameters()]
        self.masks = []
        for p in self.model.parameters():
            if id(p) in masks:
                self.masks.append((p, masks[id(p)], p.detach().clone()))
            elif id(p) not in head and self.n_experiences:
                self.masks.append((p, torch.zeros_like(p, dtype=torch.bool), p.detach().clone()))

    def step(self, x, y, epoch):
        loss = F.cross_entropy(self.model(x), y)
        self.optimizer.zero_grad()
        loss.backward()
        for p, learns, _ in self.masks:
            p.grad.mul_(learns)
        self.optimizer.step()
        with torch.no_grad():
            for p, learns, fixed in self.masks:
                p.copy_(torch.where(learns, p, fixed))
        self.steps_left -= 1
        if self.steps_left == 0:
            self.prune()

    @torch.no_grad()
    def prune(self):
        kept = []
        for w, owner in zip(self.weights(), self.owners, strict=True):
            free = owner == 0
            n_free = int(free.sum())
            largest = w.abs().masked_fill(~free, -1).flatten().topk(n_free - round(self.prune_fraction * n_free))
            kept.append(torch.zeros_like(free).flatten().index_fill(0, largest.indices, True).view_as(free))
            w[free & ~kept[-1]] = 0
            owner[kept[-1]] = self.n_experiences + 1
        self.fix(kept)


class HAT(PerTask):
    """Gates σ(s e) on hidden units; weights between units that other tasks use hardly move."""

    s_max, sparsity = 400.0, 0.75

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.past = []

    def start(self, model):
        self.model = model
        self.layers = [layer for layer in model if isinstance(layer, nn.Linear)]
        widths = [layer.out_features for layer in self.layers[:-1]]
        drawn = torch.randn(sum(widths)).to(self.layers[0].bias)
        self.embeddings = [nn.Parameter(e.clone()) for e in drawn.split(widths)]
        self.optimizer = torch.optim.Adam([*model.parameters(), *self.embeddings], lr=self.lr)

    def before(self, X, y):
        super().before(X, y)
        used = [torch.zeros_like(e) for e in self.embeddings]
        for gates in self.past:
            used = [torch.maximum(u, gate) for u, gate in zip(used, gates, strict=True)]
        n_unused = sum((1 - u).sum() for u in used)
        self.unused = [(1 - u) / n_unused for u in used]
        self.freedom, reads = [], torch.ones_like(X[0])
        for layer, u in zip(self.layers[:-1], used, strict=True):
            self.freedom += [(layer.weight, 1 - torch.minimum(u[:, None], reads)), (layer.bias, 1 - u)]
            reads = u
        self.n_batches = -(-len(X) // self.batch_size)
        self.n_steps = 0

    def step(self, x, y, epoch):
        progress = (self.n_steps % self.n_batches) / (self.n_batches - 1) if self.n_batches > 1 else 1.0
        s = 1 / self.s_max + (self.s_max - 1 / self.s_max) * progress
        self.n_steps += 1
        gates = [torch.sigmoid(s * e) for e in self.embeddings]
        h = x
        for layer, gate in zip(self.layers[:-1], gates, strict=True):
            h = F.relu(layer(h)) * gate
        loss = F.cross_entropy(self.layers[-1](h), y)
        loss = loss + self.sparsity * sum((g * u).sum() for g, u in zip(gates, self.unused, strict=True))
        self.optimizer.zero_grad()
        loss.backward()
        with torch.no_grad():
            for e in self.embeddings:
                steep = ((s * e).clamp(-50, 50).cosh() + 1) / (e.cosh() + 1)
                e.grad.mul_(steep * self.s_max / s)
            before = [p.clone() for p, _ in self.freedom]
            self.optimizer.step()
            for (p, freedom), old in zip(self.freedom, before, strict=True):
                p.copy_(torch.lerp(old, p, freedom))
            for e in self.embeddings:
                e.clamp_(-6, 6)

    def after(self, X, y):
        self.past.append([torch.sigmoid(self.s_max * e.detach()) for e in self.embeddings])


# --- meta --------------------------------------------------------------------------------------------------------


class LaMAML(Remembering):
    """Inner steps with learned step sizes; both learn from the loss on new and old rows after them."""

    alpha_init, alpha_lr, n_inner_steps, clip_norm = 0.1, 0.1, 5, 2.0

    def start(self, model):
        self.model = model
        self.alpha = {name: torch.full_like(p, self.alpha_init) for name, p in model.named_parameters()}
        for alpha in self.alpha.values():
            alpha.requires_grad_()

    def step(self, x, y, epoch):
        rows = (x, y)
        if len(self.memory):
            rows = [torch.cat(pair) for pair in zip(rows, self.memory.sample(len(x)), strict=True)]
        fast, losses = dict(self.model.named_parameters()), []
        for x_part, y_part in zip(*(t.tensor_split(min(self.n_inner_steps, len(x))) for t in (x, y)), strict=True):
            inner = F.cross_entropy(functional_call(self.model, fast, (x_part,)), y_part)
            gradients = torch.autograd.grad(inner, list(fast.values()), create_graph=True)
            fast = {name: p - self.alpha[name] * g for (name, p), g in zip(fast.items(), gradients, strict=True)}
            losses.append(F.cross_entropy(functional_call(self.model, fast, (rows[0],)), rows[1]))
        torch.stack(losses).mean().backward()
        nn.utils.clip_grad_norm_(self.alpha.values(), self.clip_norm)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        with torch.no_grad():
            for name, p in self.model.named_parameters():
                self.alpha[name] -= self.alpha_lr * self.alpha[name].grad
                p -= self.alpha[name].clamp(min=0) * p.grad
                p.grad = self.alpha[name].grad = None
        if epoch == 0:
            self.memory.add(x, y)


class MER(Remembering):
    """Reptile over a step on new rows and some on old ones."""

    sequence_length, beta = 5, 0.3

    def step(self, x, y, epoch):
        before = [p.detach().clone() for p in self.model.parameters()]
        super().step(x, y, epoch)
        if len(self.memory):
            for _ in range(self.sequence_length - 1):
                super().step(*self.memory.sample(len(x)), epoch)
        with torch.no_grad():
            for p, old in zip(self.model.parameters(), before, strict=True):
                p.copy_(torch.lerp(old, p, self.beta))
        if epoch == 0:
            self.memory.add(x, y)


# --- the estimators they are compared with, with the same settings -----------------------------------------------

BUFFER = 500
_EWC = {"fisher": "empirical", "n_fisher_samples": 200}

PAIRS = {
    "Naive": (NaiveClassifier(), Naive),
    "Anchored L2": (AnchoredClassifier(strength=0.1), partial(L2, strength=0.1)),
    "Anchored L1": (AnchoredClassifier(penalty="l1", strength=0.1), partial(L1, strength=0.1)),
    "EWC": (EWCClassifier(ewc_lambda=100.0, **_EWC), partial(EWC, strength=100.0, n_samples=200)),
    "SI": (SIClassifier(), partial(SI, strength=1.0)),
    "MAS": (MASClassifier(mas_lambda=0.01), partial(MAS, strength=0.01)),
    "RWalk": (RWalkClassifier(), partial(RWalk, strength=1.0)),
    "Replay": (ReplayClassifier(buffer_size=BUFFER), partial(Replay, buffer_size=BUFFER)),
    "Replay MIR": (ReplayClassifier(buffer_size=BUFFER, retrieval="mir"), partial(MIR, buffer_size=BUFFER)),
    "ER-ACE": (ERACEClassifier(buffer_size=BUFFER), partial(ERACE, buffer_size=BUFFER)),
    "DER++": (DERClassifier(buffer_size=BUFFER), partial(DERpp, buffer_size=BUFFER, alpha=0.1, beta=0.5)),
    "GEM": (GEMClassifier(buffer_size=BUFFER), partial(GEM, buffer_size=BUFFER, memory_strength=0.5)),
    "A-GEM": (AGEMClassifier(buffer_size=BUFFER), partial(AGEM, buffer_size=BUFFER, memory_batch_size=128)),
    "iCaRL": (ICaRLClassifier(buffer_size=BUFFER), partial(ICaRL, buffer_size=BUFFER)),
    "LwF": (LwFClassifier(), partial(LwF, alpha=0.5, temperature=2.0)),
    "Feature distillation": (FeatureDistillationClassifier(), FeatureDistillation),
    "Relation distillation": (RelationDistillationClassifier(), RelationDistillation),
    "Frozen": (FrozenClassifier(), Frozen),
    "Cumulative": (CumulativeClassifier(), Cumulative),
    "Joint": (JointClassifier(), Joint),
    "Independent": (IndependentClassifier(), Independent),
    "Progressive": (ProgressiveClassifier(), Progressive),
    "PackNet": (PackNetClassifier(), PackNet),
    "HAT": (HATClassifier(), HAT),
    "La-MAML": (LaMAMLClassifier(buffer_size=BUFFER), partial(LaMAML, buffer_size=BUFFER)),
    "MER": (MERClassifier(buffer_size=BUFFER), partial(MER, buffer_size=BUFFER)),
}
