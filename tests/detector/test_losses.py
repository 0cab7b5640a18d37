"""What the network is told: assignment of anchors, overlaps, the loss of scores and boxes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou, generalized_box_iou

from detector.config import ModelConfig
from detector.losses import (
    NEAREST,
    assign_anchors,
    boxes_of_deltas,
    detection_losses,
    face_weights,
    overlaps,
    quality_loss,
)
from detector.model import build_model


def some_boxes(count: int, seed: int, low: float = 4.0, high: float = 90.0) -> Tensor:
    """``count`` boxes of log-uniform size that lie in 320x320 pixels."""
    random = torch.Generator().manual_seed(seed)
    side = low * (high / low) ** torch.rand(count, 1, generator=random)
    sides = torch.cat((side, side * 1.25), dim=1)
    corner = torch.rand(count, 2, generator=random) * (320 - sides)
    return torch.cat((corner, corner + sides), dim=1)


@pytest.fixture(scope="module")
def grid() -> tuple[Tensor, list[int]]:
    """The anchors of `fpn` in 320x320 pixels and how many each level has."""
    rpn = build_model(ModelConfig(backbone_weights="none")).rpn
    image = torch.zeros(1, 3, 320, 320)
    maps = [torch.zeros(1, 1, 320 // s, 320 // s) for s in (4, 8, 16, 32, 64)]
    [anchors] = rpn.anchor_generator(ImageList(image, [(320, 320)]), maps)
    return anchors, [2 * (320 // s) ** 2 for s in (4, 8, 16, 32, 64)]


@pytest.mark.parametrize("seed", range(5))
def test_every_face_has_anchors(grid: tuple[Tensor, list[int]], seed: int) -> None:
    anchors, per_level = grid
    for face in some_boxes(20, seed, high=300 / 1.25)[:, None]:
        chosen = (assign_anchors(anchors, per_level, face) == 0).nonzero().squeeze(1)
        overlap = box_iou(anchors, face)[:, 0]
        assert 1 <= len(chosen) <= NEAREST * len(per_level)
        if len(chosen) > 1:
            centers = (anchors[chosen, :2] + anchors[chosen, 2:]) / 2
            assert ((centers > face[0, :2]) & (centers < face[0, 2:])).all()
        assert overlap[chosen].max() > 0.8 * overlap.max()


def test_a_small_face_is_not_starved(grid: tuple[Tensor, list[int]]) -> None:
    """Of a fixed overlap of one half faces between two cells have no anchor, or the best alone."""
    anchors, per_level = grid
    counts, fixed = [], []
    for face in some_boxes(60, 7, low=5.0, high=8.0)[:, None]:
        counts.append(int((assign_anchors(anchors, per_level, face) == 0).sum()))
        fixed.append(int((box_iou(anchors, face) >= 0.5).sum()))
    assert sum(counts) > 1.5 * sum(fixed)
    assert min(fixed) == 0


def test_an_anchor_of_two_faces_is_for_the_one_it_overlaps_more(
    grid: tuple[Tensor, list[int]],
) -> None:
    anchors, per_level = grid
    for seed in range(5):
        first = some_boxes(1, seed, low=20.0)
        faces = torch.cat((first, first + torch.tensor([6.0, 3.0, 6.0, 3.0])))
        chosen = assign_anchors(anchors, per_level, faces)
        alone = [assign_anchors(anchors, per_level, face[None]) == 0 for face in faces]
        wanted_by_both = alone[0] & alone[1]
        assert wanted_by_both.any()
        overlap = box_iou(anchors[wanted_by_both], faces)
        taken = overlap.gather(1, chosen[wanted_by_both][:, None])[:, 0]
        torch.testing.assert_close(taken, overlap.amax(dim=1))  # some are equal
        assert len(chosen[wanted_by_both].unique()) == 2
        assert torch.equal(chosen >= 0, alone[0] | alone[1])


def test_without_faces_no_anchor_is_on_one(grid: tuple[Tensor, list[int]]) -> None:
    anchors, per_level = grid
    assert (assign_anchors(anchors, per_level, torch.zeros(0, 4)) == -1).all()


def test_overlaps_are_torchvisions() -> None:
    boxes, others = some_boxes(200, 1, low=60), some_boxes(200, 2, low=60)
    overlap, generalized = overlaps(boxes, others)
    torch.testing.assert_close(overlap, box_iou(boxes, others).diagonal())
    torch.testing.assert_close(generalized, generalized_box_iou(boxes, others).diagonal())
    assert (overlap > 0).any()
    assert (generalized < 0).any()


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)])
def test_overlaps_of_deltas_are_those_of_the_boxes(weights: tuple[float, ...]) -> None:
    coder = BoxCoder(weights)
    reference, faces = some_boxes(100, 3, low=40), some_boxes(100, 4, low=40)
    [wanted] = coder.encode([faces], [reference])
    moved = wanted + torch.randn(100, 4, generator=torch.Generator().manual_seed(0)) * 0.3
    boxes = coder.decode(moved, [reference])[:, 0]
    for ours, theirs in zip(
        overlaps(boxes_of_deltas(moved, weights), boxes_of_deltas(wanted, weights)),
        overlaps(boxes, faces),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


def test_the_quality_loss_is_least_at_the_quality_and_small_for_what_is_easy() -> None:
    quality = torch.tensor([0.0, 0.3, 0.9])
    at = quality.clamp(1e-6, 1 - 1e-6).logit().requires_grad_()
    quality_loss(at, quality, torch.ones(3)).backward()
    assert at.grad is not None
    assert at.grad.abs().max() < 1e-6
    for off in (-1.0, 1.0):
        logits = (torch.tensor([0.3, 0.9]).logit() + off).requires_grad_()
        quality_loss(logits, quality[1:], torch.ones(2)).backward()
        assert logits.grad is not None
        assert (logits.grad * off > 0).all()  # back towards the quality
    none, one = torch.zeros(1), torch.ones(1)
    easy = quality_loss(torch.tensor([-5.0]), none, one)
    assert easy < 1e-4 * quality_loss(torch.tensor([2.0]), none, one)
    torch.testing.assert_close(quality_loss(torch.tensor([-5.0]), none, 3 * one), 3 * easy)


def test_scores_learn_the_overlap_of_their_own_box() -> None:
    """Also of a loose box that is left as it is: it must not rank with a tight one."""
    weights = (10.0, 10.0, 5.0, 5.0)
    wanted = torch.tensor([[0.0, 0, 0, 0], [5, 0, 0, 0], [0, 0, 5, 5]])
    deltas = torch.zeros(3, 4)
    logits = torch.zeros(5, requires_grad=True)
    on_face = torch.tensor([1, 2, 4])
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(400):
        optimizer.zero_grad()
        detection_losses(logits, deltas, wanted, weights, on_face, torch.ones(3))[0].backward()
        optimizer.step()
    overlap, _ = overlaps(boxes_of_deltas(deltas, weights), boxes_of_deltas(wanted, weights))
    scores = logits.detach().sigmoid()
    torch.testing.assert_close(scores[[1, 2]], overlap[:2], atol=0.06, rtol=0)
    torch.testing.assert_close(scores[4], overlap[2], atol=0.06, rtol=0)
    assert (scores[[0, 3]] < 0.1).all()


def test_box_losses_are_means_over_faces_and_learn_where_boxes_are_apart() -> None:
    weights = (1.0, 1.0, 1.0, 1.0)
    wanted = torch.tensor([[3.0, 0, 0, 0]])  # three sides away: without GIoU no gradient
    deltas = torch.zeros(1, 4, requires_grad=True)
    logits = torch.zeros(50)
    _, loss = detection_losses(logits, deltas, wanted, weights, torch.tensor([0]), torch.ones(1))
    loss.backward()
    assert deltas.grad is not None
    assert deltas.grad[0, 0] < 0
    twice = detection_losses(
        logits, deltas.expand(2, 4), wanted.expand(2, 4), weights, torch.tensor([0, 1]),
        torch.ones(2),
    )  # fmt: skip
    torch.testing.assert_close(twice[1], loss)
    none = torch.zeros(0, dtype=torch.int64)
    score, box = detection_losses(logits, deltas[:0], wanted[:0], weights, none, torch.zeros(0))
    assert box == 0
    assert torch.isfinite(score)
    assert score > 0


def test_a_crowd_of_specks_does_not_outweigh_a_large_face() -> None:
    """With equal weights one of 100 pixels has as much to say as one of 8."""
    sides = torch.tensor([8.0] * 100 + [100.0])
    faces = torch.cat((torch.zeros(101, 2), sides[:, None].expand(101, 2)), dim=1)
    weights = face_weights(faces)
    assert weights[-1] == pytest.approx(8 * weights[0])
    huge = face_weights(torch.tensor([[0.0, 0, 200, 200], [0, 0, 600, 600], [5, 5, 5, 5]]))
    assert huge[0] == huge[1]  # beyond some size all count alike
    assert huge[2] > 0  # a box without area gives no division by zero


def test_losses_of_parts_give_those_of_the_whole_by_their_weights() -> None:
    """So that a batch in parts, or on several processes, learns the same."""
    coder = (1.0, 1.0, 1.0, 1.0)
    wanted, deltas = some_boxes(6, 1) / 90, some_boxes(6, 2) / 90
    logits = torch.linspace(-3, 2, 20)
    weights = torch.tensor([0.5, 4.0, 1.0, 3.0, 0.5, 2.0])

    def losses(places: slice, boxes: slice) -> Tensor:
        on_face = torch.arange(boxes.stop - boxes.start)  # the first ones of each part
        given = (deltas[boxes], wanted[boxes], coder, on_face, weights[boxes])
        return torch.stack(detection_losses(logits[places], *given))

    whole = losses(slice(0, 10), slice(0, 2)) * 4.5 + losses(slice(10, 20), slice(2, 6)) * 6.5
    logits = torch.cat((logits[:2], logits[10:14], logits[2:10], logits[14:]))
    torch.testing.assert_close(losses(slice(0, 20), slice(0, 6)), whole / 11)


def test_the_weights_of_faces_weigh_scores_and_boxes_and_not_what_is_beside() -> None:
    coder = (1.0, 1.0, 1.0, 1.0)
    wanted = torch.tensor([[0.5, 0, 0, 0], [0.5, 0, 0, 0]])
    deltas = torch.zeros(2, 4, requires_grad=True)
    logits = torch.zeros(10, requires_grad=True)
    grads = []
    for weights in ((2.0, 2.0), (3.0, 1.0)):
        logits.grad = deltas.grad = None
        scores, boxes = detection_losses(
            logits, deltas, wanted, coder, torch.tensor([0, 1]), torch.tensor(weights)
        )
        (scores + boxes).backward()
        assert logits.grad is not None
        assert deltas.grad is not None
        grads.append((logits.grad, deltas.grad[:, 0]))
    (even, _), (uneven, moves) = grads
    torch.testing.assert_close(uneven[2:], even[2:])
    torch.testing.assert_close(uneven[0], 3 * uneven[1])
    torch.testing.assert_close(moves[0], 3 * moves[1])


def test_an_anchor_weighs_what_its_face_does(grid: tuple[Tensor, list[int]]) -> None:
    anchors, per_level = grid
    rpn = build_model(ModelConfig(backbone_weights="none")).rpn
    rpn._per_level = per_level
    faces = some_boxes(12, 3, low=6.0, high=200.0)
    [label], [matched] = rpn.assign_targets_to_anchors([anchors], [{"boxes": faces}])
    on_face = label > 0
    assert (box_iou(faces, matched[on_face]).amax(dim=1) == 1).all()  # every face has some
    torch.testing.assert_close(label[on_face], face_weights(matched[on_face]))
    assert (label[~on_face] == 0).all()
