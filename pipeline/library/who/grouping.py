"""Which faces are one person: groups, found without knowing anybody.

Average linkage on the graph of nearest neighbors: the two groups whose faces are most alike, on
average over all their pairs, become one, again and again. Pairs that are each other's best are
merged at once, which gives the same groups as one after the other (mutual nearest neighbors;
Murtagh, "A survey of recent advances in hierarchical clustering algorithms", The Computer Journal
26, 1983) in a few dozen rounds of array operations.

How much alike two groups must be depends on how many moments speak for it. A cosine of two single
faces is a chance draw, and a library has millions of pairs of strangers, so two single faces need
more than the calibrated threshold; the mean over many pairs varies less, so large groups need less.
docs/library.md has the figures behind `Rule`.

Only arrays go in and come out: the library, review and tests all group with this function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.library.who.neighbors import BLOCK, Graph, neighbors

Required = Callable[[NDArray, NDArray], NDArray[np.float32]]
"""Moments of the one group and of the other (M,) -> the mean cosine that they need (M,)."""


@dataclass(frozen=True)
class Rule:
    """When two groups are one person; the cosines are multiples of the library's threshold.

    Args:
        single: what two single faces need in a library of ``size`` faces.
        decade: what is added for each tenfold size, and taken off for smaller ones: the pairs of
            strangers grow with the square of it, those of one person do not.
        large: what two groups of very many moments need.
        burst: seconds between two photos of one moment.
        copy: cosine above which two faces are one moment, whenever they were taken.
        spread: the threshold is at least so many times the distance between the middle cosine of
            two strangers and their lowest tenth, above that middle.
        together: and at least what this part of the pairs of faces from one photo stay below.
        pairs: so many of them are needed to say so.
    """

    single: float = 1.15
    decade: float = 0.1
    large: float = 0.9
    burst: float = 30.0
    copy: float = 0.97
    size: int = 5_000
    spread: float = 3.35
    together: float = 0.985
    pairs: int = 500

    def threshold(
        self,
        embeddings: NDArray[np.float32],
        calibrated: float,
        photo: NDArray[np.int64],
        poor: NDArray[np.bool_] | None = None,
    ) -> float:
        """The cosine above which two faces of this library are taken for one person.

        Faces of one family, age or camera are more alike than the strangers that an embedder was
        calibrated with. How alike the library's own strangers are is seen in the lower half of the
        cosines of its pairs, where hardly any two faces are one person; how alike relatives are, in
        faces that are on one photo, which are two people. Arguments as of `group_faces`.
        """
        if len(embeddings) < 200:
            return calibrated
        rows = np.linspace(0, len(embeddings) - 1, min(len(embeddings), 2000)).astype(np.int64)
        sample = embeddings[rows]
        cosines = (sample @ sample.T)[np.triu_indices(len(rows), 1)]
        found, one_person = calibrated, 0.0
        for _ in range(3):
            low, middle = np.quantile(cosines, np.array([0.1, 0.5]) * (1 - one_person))
            found = float(np.clip(middle + self.spread * (middle - low), calibrated, 0.95))
            one_person = float((cosines > found).mean())
        # A face with the next one on its photo, so that one photo of a crowd does not decide.
        order = np.argsort(photo, kind="stable")
        a, b = order[:-1], order[1:]
        two = photo[a] == photo[b]
        if poor is not None:
            two &= ~(poor[a] | poor[b])
        rows = np.flatnonzero(two)
        rows = rows[:: len(rows) // 20_000 + 1]  # some are enough, and take little memory
        apart = np.einsum("nd,nd->n", embeddings[a[rows]], embeddings[b[rows]])
        apart = apart[apart <= self.copy]  # above that it is one face that was found twice
        if len(apart) >= self.pairs:
            found = max(found, float(np.quantile(apart, self.together)))
        return max(calibrated, min(found, 1.5 * calibrated))

    def floor(self, threshold: float) -> float:
        """The cosine below which no pair of faces matters: the least that is ever required.

        ``threshold`` may be the calibrated one, which is never higher.
        """
        return threshold * min(self.single, self.large)

    def required(
        self, threshold: float, faces: int, first: NDArray, second: NDArray
    ) -> NDArray[np.float32]:
        """The mean cosine that groups of so many moments (M,) must exceed to be one."""
        single = self.single + self.decade * np.log10(max(faces, 100) / self.size)
        few = np.sqrt((1 / first + 1 / second) / 2)
        # 0.97: the shortest way to be sure is to be the same picture.
        return np.minimum(threshold * (self.large + (single - self.large) * few), 0.97)


RULE = Rule()

FAINT = np.float32(1e-6)
"""Weight of a face that is hard to see."""


@dataclass(frozen=True, eq=False)
class Groups:
    """Who is with whom.

    Args:
        group: of each face, int64 (N,): 0 is the group that was met most often, and so on.
        moment: of each face, int64 (N,): faces of one group from one burst, and copies of one
            picture, share it.
        moments: how many moments each group has, int64 (G,).
    """

    group: NDArray[np.int64]
    moment: NDArray[np.int64]
    moments: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.moments)


def group_faces(
    embeddings: NDArray[np.float32],
    photo: NDArray[np.int64],
    threshold: float,
    *,
    time: NDArray[np.float64] | None = None,
    person: NDArray[np.int64] | None = None,
    named: int = 0,
    not_person: NDArray[np.int64] | None = None,
    poor: NDArray[np.bool_] | None = None,
    graph: Graph | None = None,
    rule: Rule = RULE,
) -> Groups:
    """Group faces.

    Args:
        embeddings: unit vectors, float32 (N, D).
        photo: faces with the same number are never one person, int64 (N,).
        threshold: the cosine above which two faces are taken for one person, as calibrated for the
            embedder (`recognizer.rule.Thresholds.gallery`).
        time: when each was seen, seconds (N,); NaN where it is not known.
        person: what is known: faces with the same number are one person; -1 says nothing. int64
            (N,).
        named: numbers below this are people with a name: of two, two people.
        not_person: rows (face, number in ``person``): whom a face is not. int64 (F, 2).
        poor: faces that are hard to see, bool (N,): they join others, but not each other, and who
            else joins does not depend on them. They are alike, whoever they are.
        graph: what `neighbors` gave for these embeddings, or a part of it.
        rule: when two groups are one person.
    """
    n = len(embeddings)
    if not n:
        none = np.zeros(0, np.int64)
        return Groups(none, none, none)
    time = np.full(n, np.nan) if time is None else np.asarray(time, np.float64)
    person = np.full(n, -1, np.int64) if person is None else np.asarray(person, np.int64)
    denied = np.zeros((0, 2), np.int64) if not_person is None else not_person
    threshold = rule.threshold(embeddings, threshold, photo, poor)
    first, second, cosine = graph or neighbors(embeddings, rule.floor(threshold))
    if poor is not None:
        fine = ~(poor[first] & poor[second])
        first, second, cosine = first[fine], second[fine], cosine[fine]
    state = _Merging(embeddings, photo, np.where(person < named, person, -1))

    def required(a: NDArray, b: NDArray) -> NDArray[np.float32]:
        return rule.required(threshold, n, a, b)

    single = required(np.ones(1), np.ones(1))[0]
    with np.errstate(invalid="ignore"):
        at_once = np.abs(time[first] - time[second]) <= rule.burst
    burst = (cosine > rule.copy) | (at_once & (cosine > single))
    # Whoever was told apart finds a place last: others must not have to choose between them and
    # the person that they are not.
    free = ~(np.isin(first, denied[:, 0]) | np.isin(second, denied[:, 0]))
    burst &= free
    state.merge(first[burst], second[burst], lambda a, b: np.full(len(a), single))
    moment = state.label.copy()
    state.count_moments()
    state.join_known(person, denied)
    solid = np.ones(n, bool) if poor is None else state.weigh_less(poor & (person < 0))
    for told_apart in (False, True):
        some = np.ones(len(first), bool) if told_apart else free
        seen = some & solid[state.label[first]] & solid[state.label[second]]
        state.merge(first[seen], second[seen], required)
    for told_apart in (False, True):
        some = np.ones(len(first), bool) if told_apart else free
        state.merge(first[some], second[some], required)
    return numbered(state.label, moment)


class _Merging:
    """Groups in the making; a group's number is that of one of its faces.

    ``sums`` (N, D) and ``weight`` (N,) of a group: its moments' vectors added up, and how many;
    ``name`` (N,): the number of its name or -1. ``apart`` (F, 2): faces that are two people.
    """

    def __init__(
        self,
        embeddings: NDArray[np.float32],
        photo: NDArray[np.int64],
        name: NDArray[np.int64],
    ) -> None:
        self.label = np.arange(len(embeddings))
        self.sums = np.array(embeddings, np.float32)
        self.weight = np.ones(len(embeddings), np.float32)
        self.photo = np.unique(photo, return_inverse=True)[1]
        self.name = name.copy()
        self.apart = np.zeros((0, 2), np.int64)

    def merge(self, first: NDArray, second: NDArray, required: Required) -> None:
        """Merge what is as much alike as is required, along pairs of faces (E,)."""
        n = len(self.label)
        a, b = _pairs(self.label[first], self.label[second], n)
        surplus = self._surplus(a, b, required)
        while len(a):
            order = np.argsort(-surplus, kind="stable")  # a tie goes to the smaller numbers
            rank = np.empty(len(a), np.int64)
            rank[order] = np.arange(len(a))
            best = np.full(n, len(a))
            np.minimum.at(best, a, rank)
            np.minimum.at(best, b, rank)
            chosen = (surplus > 0) & (rank == best[a]) & (rank == best[b])
            if not chosen.any():
                return
            clash = np.zeros(len(a), bool)
            clash[chosen] = self._clashing(a[chosen], b[chosen])
            chosen &= ~clash
            target = self._join(a[chosen], b[chosen])
            # Groups only grow, so what clashes once always will.
            left = ~(chosen | clash)
            touched = (target[a] != a) | (target[b] != b) | np.isin(a, target[b[chosen]])
            touched |= np.isin(b, target[b[chosen]])
            old, value = np.stack([a, b])[:, left & ~touched], surplus[left & ~touched]
            new = _pairs(target[a[left & touched]], target[b[left & touched]], n)
            a, b = np.concatenate([old[0], new[0]]), np.concatenate([old[1], new[1]])
            surplus = np.concatenate([value, self._surplus(*new, required)])
            by_number = np.lexsort((b, a))
            a, b, surplus = a[by_number], b[by_number], surplus[by_number]

    def count_moments(self) -> None:
        """Let each group so far weigh as one look."""
        length = np.linalg.norm(self.sums, axis=1, keepdims=True)
        self.sums /= np.where(length > 0, length, 1)
        self.weight[:] = 1

    def weigh_less(self, poor: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Let groups of ``poor`` faces (N,) alone count for nothing where they join; the others, by
        the group's number (N,)."""
        solid = np.zeros(len(self.label), bool)
        solid[self.label[~poor]] = True
        self.sums[~solid] *= FAINT
        self.weight[~solid] *= FAINT
        return solid

    def join_known(self, person: NDArray[np.int64], denied: NDArray[np.int64]) -> None:
        """Put the faces of each known person together, whatever they look like."""
        member = {}
        rows = np.flatnonzero(person >= 0)
        for number, first in zip(*np.unique(person[rows], return_index=True), strict=True):
            member[int(number)] = rows[first]
            groups = np.unique(self.label[rows[person[rows] == number]])
            self._join(np.repeat(groups[0], len(groups) - 1), groups[1:])
        apart = [(face, member[who]) for face, who in denied.tolist() if who in member]
        self.apart = np.array(apart, np.int64).reshape(-1, 2)

    def _join(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
        """Make each ``b`` part of its ``a``; where each number leads to now, int64 (N,)."""
        target = np.arange(len(self.label))
        target[b] = a
        np.add.at(self.sums, a, self.sums[b])
        np.add.at(self.weight, a, self.weight[b])
        np.maximum.at(self.name, a, self.name[b])
        self.label = target[self.label]
        return target

    def _surplus(self, a: NDArray, b: NDArray, required: Required) -> NDArray[np.float32]:
        """By how much the mean cosine of groups is more than is required."""
        dots = np.empty(len(a), np.float32)
        step = max(1, BLOCK // self.sums.shape[1])
        for start in range(0, len(a), step):
            part = slice(start, start + step)
            dots[part] = np.einsum("ij,ij->i", self.sums[a[part]], self.sums[b[part]])
        first, second = self.weight[a], self.weight[b]
        return dots / (first * second) - required(np.maximum(first, 1), np.maximum(second, 1))

    def _clashing(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which pairs of groups cannot be one person: they share a photo, or it is known."""
        n = len(self.label)
        one, other = self.name[a], self.name[b]
        clash = (one >= 0) & (other >= 0) & (one != other)
        pair, side = np.full(n, -1), np.zeros(n, bool)
        pair[a] = pair[b] = np.arange(len(a))
        side[b] = True
        rows = np.flatnonzero(pair[self.label] >= 0)
        key = pair[self.label[rows]] * (int(self.photo.max()) + 1) + self.photo[rows]
        of_b = side[self.label[rows]]
        shared = np.intersect1d(key[of_b], key[~of_b])
        clash[shared // (int(self.photo.max()) + 1)] = True
        x, y = self.label[self.apart].T
        clash |= np.isin(a * n + b, np.minimum(x, y) * n + np.maximum(x, y))
        return clash


def _pairs(a: NDArray, b: NDArray, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of two different numbers below ``n``, each once, the smaller first, sorted."""
    low, high = np.minimum(a, b), np.maximum(a, b)
    key = np.unique((low * n + high)[low != high])
    return key // n, key % n


def numbered(label: NDArray[np.int64], moment: NDArray[np.int64]) -> Groups:
    """Groups by any numbers (N,), with numbers from 0 on.

    Those with most moments come first, then those with most faces, then the earliest.
    """
    groups, first, group, faces = np.unique(
        label, return_index=True, return_inverse=True, return_counts=True
    )
    moments_of, of_group = np.unique(moment, return_index=True)
    moments = np.bincount(group[of_group], minlength=len(groups))
    order = np.lexsort((first, -faces, -moments))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return Groups(place[group], np.searchsorted(moments_of, moment), moments[order])
