"""Teaching the classifier head: softmax over people and "unknown", in NumPy, in a second.

The head starts as the gallery is: each person's weight is the mean of their vectors, times `SCALE`,
so before the first step it decides by cosine. Training turns the weights away from each other and
from strangers. Left alone it would soon know the few photos of each person by heart and refuse
every other: ``decay`` holds the weights near the means, and a held-out part of the photos says when
to stop. Torch could do this as well, but its import alone takes longer than all the training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError
from recognizer.gallery import Gallery
from recognizer.head import Head
from recognizer.types import unit

SCALE = np.float32(24)
"""By which cosines become logits. Face networks train with 16 to 64 (Wang et al., "CosFace", CVPR
2018); of 16 and 24, which were tried here on LFW, 24 recognizes more at the same false alarms."""

FIRST_BAR = 0.4
"""The cosine from which on the untrained head prefers a person to "unknown"."""

LEAST = 5
"""Photos of a person from which on some are held out."""

UNJUDGED_EPOCHS = 12
"""At most, when nobody has that many. Measured on LFW with three photos each: recognition is best
after about 12 and then falls."""

Line = dict[str, Any]


class Stopped(Exception):
    """Training was asked to stop; nothing was kept."""


@dataclass(frozen=True)
class HeadOptions:
    """How a head is trained."""

    learning_rate: float = 1e-3
    """Adam's."""
    epochs: int = 60
    """At most; it stops early when the held-out part says so."""
    patience: int = 8
    """Epochs without a better held-out loss after which it stops."""
    batch_size: int = 256
    """Vectors in a step."""
    held_out: float = 0.2
    """Share of the photos of everybody with five or more, and of the strangers, that training
    never sees."""
    decay: float = 0.1
    """How strongly the weights are held near the people's means."""
    strangers: float = 0.5
    """Weight of all strangers together, relative to all people together."""
    seed: int = 0
    """Of the order of the samples and of what is held out."""

    def __post_init__(self) -> None:
        """Raises UserError for values that cannot work, naming the flag to change."""
        for fine, message in (
            (self.learning_rate > 0, "--learning-rate must be above 0"),
            (self.epochs >= 1, "--epochs must be at least 1"),
            (self.patience >= 1, "--patience must be at least 1"),
            (self.batch_size >= 1, "--batch-size must be at least 1"),
            (0 <= self.held_out < 1, "--held-out must be from 0 to below 1"),
            (
                self.decay >= 0 and self.strangers > 0,
                "--decay and --strangers must not be negative",
            ),
        ):
            if not fine:
                raise UserError(message)


def fit_head(
    gallery: Gallery,
    strangers: NDArray[np.float32],
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
        strangers: unit vectors (M, D) of nobody in the gallery, see
            `recognizer.training.background`. With M = 0 the head has no class "unknown" and will
            call every stranger by a name.
        options: learning rate, epochs, and so on.
        photos: for each sample the number of the photo it comes from, int (N,), so that copies of
            one photo are held out together; None: each is a photo of its own.
        start: go on from this head, of the same people, instead of from the means.
        progress: called with one line of history after each epoch (see `faces.history`).
        stop: asked after each epoch; True raises `Stopped`.

    Deterministic for one seed. Raises UserError when the gallery is empty, or when there is one
    person and no stranger; ValueError when ``start`` has other classes.
    """
    if not len(gallery):
        raise UserError("nobody is enrolled, so there is nobody to teach; see `faces enroll`")
    if not len(strangers) and len(gallery.people) < 2:
        raise UserError("one person without strangers is no choice; give strangers or enrol more")
    data = _Data.of(gallery, strangers, photos, options)
    model = _Adam(*_first(gallery, data, start), options)
    rng = np.random.default_rng(options.seed)
    best_loss, best, waited = np.inf, model.copy(), 0
    epochs = options.epochs if data.judged else min(options.epochs, UNJUDGED_EPOCHS)
    for epoch in range(1, epochs + 1):
        order = rng.permutation(len(data.labels))
        steps = max(1, round(len(order) / options.batch_size))
        losses = [
            model.step(data.vectors[rows], data.labels[rows], data.weights[rows])
            for rows in np.array_split(order, steps)
        ]
        valid = data.judge(model)
        if progress is not None:
            loss = float(np.mean(losses))
            progress(
                {"epoch": epoch, "lr": options.learning_rate, "train": {"loss": loss}}
                | {"valid": valid}
            )
        if stop is not None and stop():
            raise Stopped
        if not data.judged:  # the last epoch is the best
            best = model.copy()
        elif valid["loss"] < best_loss - 1e-4:
            best_loss, best, waited = valid["loss"], model.copy(), 0
        else:
            waited += 1
            if waited == options.patience:
                break
    weight, bias = best
    return Head(gallery.fingerprint, data.classes, weight * SCALE, bias * SCALE)


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
class _Data:
    """Training samples, and those held out; people come first, strangers have the last class."""

    classes: tuple[str | None, ...]
    vectors: NDArray[np.float32]
    labels: NDArray[np.int64]
    weights: NDArray[np.float32]
    held_vectors: NDArray[np.float32]
    held_labels: NDArray[np.int64]
    held_weights: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        gallery: Gallery,
        strangers: NDArray[np.float32],
        photos: NDArray[np.integer] | None,
        options: HeadOptions,
    ) -> _Data:
        people, unknown = gallery.people, len(strangers) > 0
        if photos is None:
            photos = np.arange(len(gallery))
        row = {name: i for i, name in enumerate(people)}
        labels = np.array([row[name] for name in gallery.names], np.int64)
        out = hold_out(gallery.names, photos, options.held_out, options.seed)
        spare = round(options.held_out * len(strangers))  # they come in random order, or drawn
        vectors = np.concatenate([gallery.embeddings, strangers]).astype(np.float32)
        labels = np.concatenate([labels, np.full(len(strangers), len(people), np.int64)])
        out = np.concatenate([out, np.arange(len(strangers)) >= len(strangers) - spare])

        def weigh(rows: NDArray[np.bool_]) -> NDArray[np.float32]:
            """Strangers count ``options.strangers`` times what all people together do."""
            mine = labels[rows]
            known = max(int((mine < len(people)).sum()), 1)
            each = options.strangers * known / max(int((mine == len(people)).sum()), 1)
            weights = np.where(mine < len(people), 1.0, each)
            return (weights / max(weights.mean(), 1e-9) if len(mine) else weights).astype(
                np.float32
            )

        return cls(
            (*people, None) if unknown else people,
            vectors[~out], labels[~out], weigh(~out),
            vectors[out], labels[out], weigh(out),
        )  # fmt: skip

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which of the held-out vectors show somebody known."""
        return self.held_labels < sum(name is not None for name in self.classes)

    @property
    def judged(self) -> bool:
        """Whether anybody known is in the held-out part, so that it can say when to stop."""
        return bool(self.known.any())

    def judge(self, model: _Adam) -> dict[str, float]:
        """The loss on the held-out part, and the shares of people and of strangers got wrong."""
        known = self.known
        if not len(known):
            return {"loss": 0.0}
        probabilities = model.probabilities(self.held_vectors)
        rows = np.arange(len(known))
        losses = -np.log(probabilities[rows, self.held_labels] + 1e-12)
        wrong = probabilities.argmax(axis=1) != self.held_labels
        result = {"loss": float((losses * self.held_weights).mean())}
        if known.any():
            result["error"] = float(wrong[known].mean())
        if not known.all():
            result["strangers_named"] = float(wrong[~known].mean())
        return result


def _first(
    gallery: Gallery, data: _Data, start: Head | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights and biases, both divided by `SCALE`, to start from and to be held near."""
    if start is not None:
        if start.names != data.classes or start.fingerprint != gallery.fingerprint:
            raise ValueError("the head to start from has other classes or another fingerprint")
        return start.weight / SCALE, start.bias / SCALE
    people, dimension = len(gallery.people), gallery.embeddings.shape[1]
    weight = np.zeros((len(data.classes), dimension), np.float32)
    bias = np.zeros(len(data.classes), np.float32)
    sums = np.zeros((people, dimension), np.float32)
    known = data.labels < people
    np.add.at(sums, data.labels[known], data.vectors[known])
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

    def step(
        self, vectors: NDArray[np.float32], labels: NDArray[np.int64], weights: NDArray[np.float32]
    ) -> float:
        """One step on a batch; returns its weighted cross-entropy."""
        rows = np.arange(len(labels))
        error = self.probabilities(vectors)
        loss = float((-np.log(error[rows, labels] + 1e-12) * weights).mean())
        error[rows, labels] -= 1
        error *= weights[:, None] * (SCALE / len(labels))
        gradients = [
            error.T @ vectors + self.options.decay * (self.parameters[0] - self.prior),
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
