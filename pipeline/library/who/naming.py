"""Groups of faces with names: grouping, what was decided, and a gallery, put together.

Only arrays and facts go in and come out, as in `pipeline.library.who.grouping`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.library.who.decisions import FaceKey, Fact, match
from pipeline.library.who.grouping import RULE, Groups, Rule, group_faces, numbered
from pipeline.library.who.neighbors import Graph
from recognizer.types import Recognizer, unit

_PASSES = 5  # tries to part those whom a gallery names from those known not to be them


@dataclass(frozen=True, eq=False)
class Known:
    """What facts say about faces, as arrays.

    Args:
        who: everybody whom facts are about: names first, then those without one.
        named: how many of them have a name.
        person: the position in ``who`` of each face, int64 (N,); -1 where nothing is known.
        denied: rows (face, position in ``who``): whom a face is not, int64 (F, 2).
        ignored: whom nobody wants to see, bool (len(who),).
        no_face: bool (N,).
    """

    who: tuple[str, ...]
    named: int
    person: NDArray[np.int64]
    denied: NDArray[np.int64]
    ignored: NDArray[np.bool_]
    no_face: NDArray[np.bool_]


def known_of(facts: Sequence[Fact], keys: Sequence[FaceKey]) -> Known:
    """Which faces facts are about, and what they say; the last word about a face holds.

    Args:
        facts: oldest first.
        keys: of the faces (N,).
    """
    names = sorted({fact.name for fact in facts if fact.name is not None})
    others = dict.fromkeys(fact.who for fact in facts if fact.name is None)
    number = {who: i for i, who in enumerate((*names, *others))}
    person = np.full(len(keys), -1, np.int64)
    ignored, no_face = np.zeros(len(number), bool), np.zeros(len(keys), bool)
    denied: dict[tuple[int, int], None] = {}
    rows = match([fact.face for fact in facts], keys).tolist()
    for fact, row in zip(facts, rows, strict=True):
        who = number[fact.who]
        if row < 0:
            continue
        if fact.says == "not":
            denied[row, who] = None
            person[row] = -1 if person[row] == who else person[row]
        else:
            no_face[row] = fact.says == "not_a_face"
            person[row] = -1 if no_face[row] else who
            ignored[who] |= fact.says == "ignore"
            denied.pop((row, who), None)
    pairs = np.array(list(denied), np.int64).reshape(-1, 2)
    return Known(tuple(number), len(names), person, pairs, ignored, no_face)


@dataclass(frozen=True, eq=False)
class NamedGroups:
    """Who is with whom, and who they are.

    Args:
        groups: of all faces; those of what is no face are one each.
        names: of each group (G,), None where nobody knows it.
        decided: whether facts say so, bool (G,); else the gallery does.
        ignored: whom nobody wants to see, bool (G,).
        no_face: what is no face, bool (G,).
    """

    groups: Groups
    names: tuple[str | None, ...]
    decided: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    no_face: NDArray[np.bool_]


def name_groups(
    embeddings: NDArray[np.float32],
    photo: NDArray[np.int64],
    threshold: float,
    known: Known,
    recognizer: Recognizer | None = None,
    *,
    time: NDArray[np.float64] | None = None,
    poor: NDArray[np.bool_] | None = None,
    graph: Graph,
    rule: Rule = RULE,
) -> NamedGroups:
    """Group faces and name the groups. Arguments as of `group_faces`, and

    Args:
        known: what was decided.
        recognizer: who has a name besides; asked once for the mean of each group. What it says
            counts where the group is also as near as two single faces must be to be one person: the
            rule is made for one face at a time, and a library asks it about thousands of strangers.
        graph: what `neighbors` gave for these embeddings.
    """
    first, second, cosine = graph
    real = ~(known.no_face[first] | known.no_face[second])
    graph = (first[real], second[real], cosine[real])
    who, one = list(known.who), np.ones(1)
    own = rule.threshold(embeddings, threshold, photo, poor) if len(embeddings) else threshold
    least = float(rule.required(own, len(embeddings), one, one)[0])
    person, named = known.person, known.named
    for attempt in range(_PASSES):
        groups = group_faces(
            embeddings, photo, threshold, time=time, person=person, named=named,
            not_person=known.denied, poor=poor, graph=graph, rule=rule,
        )  # fmt: skip
        identity = np.full(len(groups), -1, np.int64)
        # Names come before those without one: the least number of a group's faces counts.
        order = np.argsort(-person, kind="stable")
        order = order[person[order] >= 0]
        identity[groups.group[order]] = person[order]
        by_fact, ignored = np.zeros(len(groups), bool), np.zeros(len(groups), bool)
        by_fact[groups.group[(known.person >= 0) & (known.person < named)]] = True
        ignored[groups.group[np.isin(known.person, np.flatnonzero(known.ignored))]] = True
        ignored &= ~by_fact
        if recognizer is None:
            break
        last = attempt == _PASSES - 1
        no_face = groups.group[known.no_face]
        free = np.setdiff1d(np.flatnonzero(~(by_fact | ignored)), no_face)
        _ask(recognizer, groups, embeddings, photo, known, who, identity, free, least, last)
        # A face that is known not to be whom the gallery names its group: the others stay
        # together, and it finds its place without them.
        face, other = known.denied.T
        wrong = identity[groups.group[face]] == other
        if not wrong.any():
            break
        person = person.copy()
        for row, is_not in known.denied[wrong].tolist():
            same = np.flatnonzero(groups.group == groups.group[row])
            deniers = known.denied[known.denied[:, 1] == is_not, 0]
            person[same[~np.isin(same, deniers)]] = is_not
    label = np.where(identity >= 0, identity - len(who), np.arange(len(groups)))[groups.group]
    whole = numbered(label, groups.moment)
    at = np.zeros(len(whole), np.int64)
    at[whole.group] = groups.group  # any of the groups that became this one
    names = [who[i] if i >= 0 and not who[i].startswith("\0") else None for i in identity[at]]
    sure, hidden = np.zeros(len(whole), bool), np.zeros(len(whole), bool)
    np.logical_or.at(sure, whole.group, by_fact[groups.group])
    np.logical_or.at(hidden, whole.group, ignored[groups.group])
    none = np.zeros(len(whole), bool)
    none[whole.group[known.no_face]] = True
    return NamedGroups(whole, tuple(names), sure, hidden, none)


def _ask(
    recognizer: Recognizer,
    groups: Groups,
    embeddings: NDArray[np.float32],
    photo: NDArray[np.int64],
    known: Known,
    who: list[str],
    identity: NDArray[np.int64],
    free: NDArray[np.int64],
    least: float,
    last: bool,
) -> None:
    """Let the gallery name the groups ``free``; changes ``who`` and ``identity``.

    The surest first: of two groups that share a photo only one can be somebody. ``least`` is what
    their cosine must exceed besides.
    """
    matches = dict(
        zip(free.tolist(), recognizer.identify(means(groups, embeddings)[free]), strict=True)
    )
    order = np.argsort(groups.group, kind="stable")
    ends = np.cumsum(np.bincount(groups.group, minlength=len(groups)))
    members = np.split(order, ends[:-1])
    denied = {(face, is_not) for face, is_not in known.denied.tolist()}
    seen: dict[int, set[int]] = {}
    for group in np.flatnonzero(identity >= 0).tolist():
        seen.setdefault(int(identity[group]), set()).update(photo[members[group]].tolist())
    found = [
        (m.similarity, g, m.name)
        for g, m in matches.items()
        if m.name is not None and m.name == m.nearest and m.similarity is not None
        and m.similarity > least
    ]  # fmt: skip
    for _, group, name in sorted(found, key=lambda one: (-one[0], one[1])):
        if name not in who:
            who.append(name)
        number, photos = who.index(name), set(photo[members[group]].tolist())
        not_them = sum((face, number) in denied for face in members[group].tolist())
        clash = seen.get(number, set()) & photos
        if not clash and 2 * not_them <= len(members[group]) and not (last and not_them):
            identity[group] = number
            seen.setdefault(number, set()).update(photos)


def means(groups: Groups, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """The direction of each group, float32 (G, D), to which each moment adds the same."""
    moments, group_of = np.unique(groups.moment, return_index=True)
    by_moment = np.zeros((len(moments), embeddings.shape[1]), np.float32)
    np.add.at(by_moment, groups.moment, embeddings)
    sums = np.zeros((len(groups), embeddings.shape[1]), np.float32)
    np.add.at(sums, groups.group[group_of], unit(by_moment))
    return unit(sums)
