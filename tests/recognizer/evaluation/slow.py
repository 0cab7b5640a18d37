"""The same figures counted pair by pair, slowly and in the plainest way."""

from __future__ import annotations


def rates(genuine, impostor, threshold):
    """FMR and FNMR."""
    false = sum(cosine > threshold for cosine in impostor) / len(impostor)
    missed = sum(not cosine > threshold for cosine in genuine) / len(genuine)
    return false, missed


def auc(genuine, impostor):
    wins = sum(1.0 if g > i else 0.5 if g == i else 0.0 for g in genuine for i in impostor)
    return wins / (len(genuine) * len(impostor))


def thresholds(genuine, impostor):
    return sorted({*genuine, *impostor, -1.0}, reverse=True)


def eer(genuine, impostor):
    """Walk down the thresholds until FMR is no longer below FNMR; the crossing of two lines."""
    before = None
    for threshold in thresholds(genuine, impostor):
        fmr, fnmr = rates(genuine, impostor, threshold)
        if fmr >= fnmr:
            fmr0, fnmr0 = before
            # fmr0 + s (fmr - fmr0) = fnmr0 + s (fnmr - fnmr0)
            s = (fnmr0 - fmr0) / ((fmr - fmr0) - (fnmr - fnmr0))
            return fmr0 + s * (fmr - fmr0)
        before = fmr, fnmr
    return None


def tar_at(genuine, impostor, far):
    """The best TAR of all thresholds whose FMR is allowed."""
    allowed = [
        1 - fnmr
        for fmr, fnmr in (rates(genuine, impostor, t) for t in thresholds(genuine, impostor))
        if fmr <= far + 1e-12
    ]
    return max(allowed)


def best_accuracy(genuine, impostor):
    def right(threshold):
        return sum(g > threshold for g in genuine) + sum(i <= threshold for i in impostor)

    count = len(genuine) + len(impostor)
    return max(right(t) for t in thresholds(genuine, impostor)) / count
