"""Learning from names: a face must be nearer to its own person than to any other, by a margin.

CosFace (Wang et al., CVPR 2018), with two centers a person of which the nearer one counts
("Sub-center ArcFace", Deng et al., ECCV 2020): some names of every collection are wrong, and those
photos gather around the second center instead of pulling at the first.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SCALE = 32.0
CENTERS = 2


class MarginLoss(nn.Module):
    """Unit vectors (N, D) and the numbers of their people (N,) -> the mean loss, a scalar."""

    def __init__(self, people: int, dimension: int, margin: float) -> None:
        super().__init__()
        self.margin = margin
        self.centers = nn.Parameter(F.normalize(torch.randn(people, CENTERS, dimension), dim=-1))

    @torch.no_grad()
    def begin_at(self, vectors: Tensor, person: Tensor) -> None:
        """Put the first centers at the means of vectors (N, D), the second ones near them."""
        sums = torch.zeros_like(self.centers[:, 0]).index_add_(0, person, vectors)
        means = F.normalize(sums, dim=-1)
        apart = 0.5 * self.centers[:, 1]
        self.centers[:, 0] = means
        self.centers[:, 1] = F.normalize(means + apart, dim=-1)

    def forward(self, vectors: Tensor, person: Tensor) -> Tensor:
        centers = F.normalize(self.centers, dim=-1)
        cosines = (vectors @ centers.flatten(0, 1).T).view(len(vectors), -1, CENTERS).amax(dim=2)
        own = F.one_hot(person, cosines.shape[1])
        return F.cross_entropy(SCALE * (cosines - self.margin * own), person)
