"""Fitting the classifier head: softmax over people and "unknown", in NumPy, in a second.

The head starts as the gallery is: each person's weight is the mean of their vectors, times `SCALE`,
so before the first step it decides by cosine. Training turns the weights away from each other and
from the background, vectors of people who are not enrolled. The problem is convex, but its optimum
is not wanted: it knows the few photos of each person by heart and refuses others. So Adam takes few
steps, ``decay`` holds the weights near the means, and held-out photos say when to stop. (L-BFGS to
the optimum, at any decay from 0.03 to 30, names 68 % of new photos by the head alone where this
names 78 %: LFW, 40 people with three photos.) Importing torch would take longer than all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError, require
from recognizer.gallery import Gallery, Head
from recognizer.types import unit

SCALE = np.float32(24)
"""By which cosines become logits. Face networks train with 16 to 64 (Wang et al., "CosFace", CVPR
2018); of 16 and 24, tried here on LFW, 24 recognizes more at the same false positives."""

FIRST_BAR = 0.4
"""The cosine above which the untrained head prefers a person to "unknown"."""

LEAST = 5
"""Photos that a person needs for some to be held out."""

EPOCHS_WITHOUT_HELD_OUT = 12
"""At most, when nobody has that many. Measured on LFW with three photos each: recognition is best
after about 12 and then falls."""

Line = dict[str, Any]


class Stopped(Exception):
    """Training was asked to stop; nothing was kept."""


@dataclass(frozen=True)
class HeadOptions:
    """How a head is trained. Raises UserError for values that cannot work."""

    learning_rate: float = 1e-3
    """Adam's."""
    epochs: int = 60
    """At most; it stops early when the held-out part says so."""
    patience: int = 8
    """Epochs without a better held-out loss after which it stops."""
    batch_size: int = 256
    """Vectors in a step."""
    held_out: float = 0.2
    """Share of the photos of everybody with five or more, and of the background, that training
    never sees."""
    decay: float = 0.1
    """How strongly the weights are held near the people's means."""
    background: float = 0.5
    """Weight of the background, relative to all people together."""
    seed: int = 0
    """Of the order of the samples and of what is held out."""

    def __post_init__(self) -> None:
        require(
            (
                (self.learning_rate > 0, "learning_rate must be above 0"),
                (self.epochs >= 1, "epochs must be at least 1"),
                (self.patience >= 1, "patience must be at least 1"),
                (self.batch_size >= 1, "batch_size must be at least 1"),
                (0 <= self.held_out < 1, "held_out must be from 0 to below 1"),
                (self.decay >= 0, "decay must not be negative"),
                (self.background > 0, "background must be above 0"),
            )
        )


def fit_head(
    gallery: Gallery,
    background: NDArray[np.float32],
    options: HeadOptions = HeadOptions(),
    *,
    photos: NDArray[np.integer] | None = None,
    start: Head | None = None,
    progress: Callable[[Line], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Head:
    """A head for everybody in the gallery, and for "unknown".

    Args:
        gallery: the samples; varied copies of a photo are samples like any other.
        background: unit vectors (M, D) of nobody in the gallery, in random order, see
            `recognizer.training.background`. With M = 0 the head has no class "unknown" and names
            everybody.
        photos: for each sample the number of the photo it comes from, int (N,), so that copies of
            one photo are held out together; None: each is a photo of its own.
        start: go on from this head, of the same people, instead of from the means.
        progress: called with one line of history after each epoch (see `faces.history`).
        stop: asked after each epoch; True raises `Stopped`.

    Deterministic for one seed. Raises UserError when the gallery is empty, or when there is one
    person and no background; ValueError when ``start`` has other classes.
    """
    people = gallery.people
    if not people:
        raise UserError("nobody is enrolled, so there is nobody to teach; see `faces enroll`")
    if not len(background) and len(people) < 2:
        raise UserError("one person without strangers is no choice; give strangers or enroll more")
    classes: tuple[str | None, ...] = (*people, None) if len(background) else people
    train, held_out = _samples(gallery, background, photos, options)
    model = _Adam(*_first(gallery, train, classes, start), options)
    rng = np.random.default_rng(options.seed)
    # Only known people can say when to stop; without any the last epoch is the best.
    watched = bool(held_out.known.any())
    best_loss, best, waited = np.inf, model.copy(), 0
    epochs = options.epochs if watched else min(options.epochs, EPOCHS_WITHOUT_HELD_OUT)
    for epoch in range(1, epochs + 1):
        order = rng.permutation(len(train.labels))
        batches = np.array_split(order, max(1, round(len(order) / options.batch_size)))
        loss = float(np.mean([model.step(train.rows(batch)) for batch in batches]))
        valid = held_out.measure(model)
        if progress is not None:
            line = {"epoch": epoch, "lr": options.learning_rate, "train": {"loss": loss}}
            progress({**line, "valid": valid})
        if stop is not None and stop():
            raise Stopped
        if not watched:
            best = model.copy()
        elif valid["loss"] < best_loss - 1e-4:
            best_loss, best, waited = valid["loss"], model.copy(), 0
        else:
            waited += 1
            if waited == options.patience:
                break
    weight, bias = best
    return Head(gallery.fingerprint, classes, weight * SCALE, bias * SCALE)


def hold_out(
    names: tuple[str, ...], photos: NDArray[np.integer], share: float, seed: int
) -> NDArray[np.bool_]:
    """Which samples training does not see: that share of each person's photos, with all copies.

    At least one photo of each person who has `LEAST` or more, none of the others.
    """
    rng = np.random.default_rng((seed, 1))
    out = np.zeros(len(names), bool)
    if not share:
        return out
    own: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        own.setdefault(name, []).append(i)
    for name in sorted(own):
        rows = np.array(own[name])
        of_person = np.unique(photos[rows])
        if len(of_person) >= LEAST:
            count = min(max(1, round(share * len(of_person))), len(of_person) - 1)
            out[rows] = np.isin(photos[rows], rng.choice(of_person, count, replace=False))
    return out


@dataclass(frozen=True, eq=False)
class _Samples:
    """Vectors float32 (N, D), the class of each, its weight, and whether that is a person."""

    vectors: NDArray[np.float32]
    labels: NDArray[np.int64]
    weights: NDArray[np.float32]
    known: NDArray[np.bool_]

    def rows(self, rows: NDArray[np.int64]) -> _Samples:
        return _Samples(self.vectors[rows], self.labels[rows], self.weights[rows], self.known[rows])

    def measure(self, model: _Adam) -> dict[str, float]:
        """The loss, and the shares of people and of the background got wrong."""
        if not len(self.labels):
            return {"loss": 0.0}
        probabilities = model.probabilities(self.vectors)
        wrong = probabilities.argmax(axis=1) != self.labels
        result = {"loss": self.loss(probabilities)}
        if self.known.any():
            result["error"] = float(wrong[self.known].mean())
        if not self.known.all():
            result["strangers_named"] = float(wrong[~self.known].mean())
        return result

    def loss(self, probabilities: NDArray[np.float32]) -> float:
        """Weighted cross-entropy."""
        own = probabilities[np.arange(len(self.labels)), self.labels]
        return float((-np.log(own + 1e-12) * self.weights).mean())


def _samples(
    gallery: Gallery,
    background: NDArray[np.float32],
    photos: NDArray[np.integer] | None,
    options: HeadOptions,
) -> tuple[_Samples, _Samples]:
    """What is trained on, and what is held out. The background has the last class."""
    row = {name: i for i, name in enumerate(gallery.people)}
    own = [row[name] for name in gallery.names]
    labels = np.array(own + [len(row)] * len(background), np.int64)
    vectors = np.concatenate([gallery.embeddings, background]).astype(np.float32)
    if photos is None:
        photos = np.arange(len(gallery))
    spare = round(options.held_out * len(background))
    out = np.concatenate(
        [
            hold_out(gallery.names, photos, options.held_out, options.seed),
            np.arange(len(background)) >= len(background) - spare,
        ]
    )
    parts = []
    for rows in (~out, out):
        known = labels[rows] < len(row)
        # The background counts ``options.background`` times what all people together do.
        each = options.background * max(int(known.sum()), 1) / max(int((~known).sum()), 1)
        weights = np.where(known, 1.0, each)
        weights = (weights / weights.mean() if len(weights) else weights).astype(np.float32)
        parts.append(_Samples(vectors[rows], labels[rows], weights, known))
    return parts[0], parts[1]


def _first(
    gallery: Gallery, train: _Samples, classes: tuple[str | None, ...], start: Head | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights and biases, both divided by `SCALE`, to start from and to be held near."""
    if start is not None:
        if start.names != classes or start.fingerprint != gallery.fingerprint:
            raise ValueError("the head to start from has other classes or another fingerprint")
        return start.weight / SCALE, start.bias / SCALE
    people, dimension = len(gallery.people), gallery.embeddings.shape[1]
    weight = np.zeros((len(classes), dimension), np.float32)
    bias = np.zeros(len(classes), np.float32)
    sums = np.zeros((people, dimension), np.float32)
    np.add.at(sums, train.labels[train.known], train.vectors[train.known])
    weight[:people] = unit(sums)
    bias[people:] = FIRST_BAR
    return weight, bias


class _Adam:
    """The linear layer, and Adam (Kingma and Ba, ICLR 2015) with its customary constants."""

    def __init__(
        self, weight: NDArray[np.float32], bias: NDArray[np.float32], options: HeadOptions
    ) -> None:
        self.prior, self.options, self.steps = weight, options, 0
        self.parameters = [weight.copy(), bias.copy()]
        self.means = [np.zeros_like(p) for p in self.parameters]
        self.squares = [np.zeros_like(p) for p in self.parameters]

    def copy(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self.parameters[0].copy(), self.parameters[1].copy()

    def probabilities(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        weight, bias = self.parameters
        logits = SCALE * (vectors @ weight.T + bias)
        logits -= logits.max(axis=1, keepdims=True)
        np.exp(logits, out=logits)
        return logits / logits.sum(axis=1, keepdims=True)

    def step(self, batch: _Samples) -> float:
        """One step on a batch; returns its loss."""
        error = self.probabilities(batch.vectors)
        loss = batch.loss(error)
        error[np.arange(len(batch.labels)), batch.labels] -= 1
        error *= batch.weights[:, None] * (SCALE / len(batch.labels))
        gradients = [
            error.T @ batch.vectors + self.options.decay * (self.parameters[0] - self.prior),
            error.sum(axis=0),
        ]
        self.steps += 1
        for parameter, gradient, mean, square in zip(
            self.parameters, gradients, self.means, self.squares, strict=True
        ):
            mean += 0.1 * (gradient - mean)
            square += 0.001 * (gradient**2 - square)
            corrected = np.sqrt(square / (1 - 0.999**self.steps)) + 1e-8
            parameter -= self.options.learning_rate / (1 - 0.9**self.steps) * mean / corrected
        return loss
