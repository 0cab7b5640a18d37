"""Make a run's checkpoint the detector that is shipped.

    python -m scripts.shipping.detector runs/fpn/best.pt --score-calibration 0.8 --calibrate photos

`--score-calibration`: the score that is to become 0.5, the default threshold everywhere;
`benchmarks/false_positives.py` measures at which score the false positives end. The order of the
scores stays.

`--temperature`: by which the logits of all scores are divided (Guo et al., "On Calibration of
Modern Neural Networks", ICML 2017): below 1 clear faces are surer. The order stays here, too.

`--calibrate`: a folder of training photos for the int8 file, as for `faces export`. Channels of the
backbone that are zero on `UNUSED_PICTURES` of them, everywhere, at two sizes, are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from faces.errors import UserError
from scripts.main import run_program
from scripts.shipping.digests import write_digests

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def main(argv: Sequence[str]) -> int:
    """Write the weights in half precision into detector/weights, to run and to go on from."""
    import argparse

    import onnx
    import torch

    from detector.checkpoint import checkpoint_config, load_checkpoint, save_checkpoint
    from detector.config import to_dict
    from detector.export.dense import unused_channels
    from detector.export.parity import check, make_cases, table
    from detector.export.publish import publish_int8, run_checkpoint, run_exported, serialize
    from detector.inference.torch_backend import open_checkpoint
    from detector.shipped import CHECKPOINT, FOLDER, INT8, NETWORK
    from detector.training_pictures import pictures_of
    from faces.files import atomic_write
    from faces.networks.onnx_export import store_in_half
    from scripts.export import calibration_photos

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument(
        "--score-calibration", "--half", type=float, required=True, help="score that becomes 0.5"
    )
    parser.add_argument("--temperature", type=float, default=1.0, help="divides all logits")
    parser.add_argument("--calibrate", type=Path, required=True, help="photos for int8")
    args = parser.parse_args(argv)
    if args.temperature <= 0:
        raise UserError("--temperature must be positive")
    if not 0 < args.score_calibration < 1:
        raise UserError("--score-calibration must be between 0 and 1")
    photos = calibration_photos(args.calibrate)
    payload = load_checkpoint(args.checkpoint)
    if pictures_of(payload.get("pictures", ""), payload["provenance"]) is None:
        raise UserError(f"{args.checkpoint} does not know its training pictures")
    del payload["format"], payload["version"]
    payload.pop("training", None)
    payload.pop("split", None)
    config = checkpoint_config(payload)
    network = replace(
        config.model,
        score_calibration=args.score_calibration,
        temperature=args.temperature,
        backbone_weights="none",
    )
    # Without the paths of the machine that trained it.
    data = replace(
        config.data, data_dir=None, image_path=None, train_ann_dir=None, valid_path=None,
        valid_ann_dir=None,
    )  # fmt: skip
    config = replace(
        config, model=network, data=data, run=None, model_file=None, fig_path=None, init=None
    )
    payload["config"] = to_dict(config)
    unused = unused_channels(open_checkpoint(args.checkpoint)[0], _pictures(args.calibrate))
    for name, channels in unused.items():
        payload["weights"][name][:, channels] = 0.0
        print(f"{name}: {int(channels.sum())} of {len(channels)} channels are never used")
    payload["weights"] = {
        name: tensor.half() if tensor.dtype == torch.float32 else tensor
        for name, tensor in payload["weights"].items()
    }
    save_checkpoint(FOLDER / CHECKPOINT, payload)

    model, artifact = open_checkpoint(FOLDER / CHECKPOINT)
    contents = {}
    for format in ("onnx", "int8"):
        proto = onnx.load_from_string(serialize(model, artifact, format))
        store_in_half(proto.graph)
        onnx.checker.check_model(proto, full_check=True)
        contents[format] = proto.SerializeToString()
    with atomic_write(FOLDER / NETWORK) as file:
        file.write(contents["onnx"])
    # Not the tolerances of `faces export`: batch norm is merged into the weights before they are
    # rounded. What that costs is seen in the average precision, which is measured on this file.
    outcomes = check(
        run_checkpoint(model), run_exported(FOLDER / NETWORK, "onnx"), make_cases(),
        artifact.nms_threshold, model.roi_heads.detections_per_img,
    )  # fmt: skip
    print(table(outcomes))
    small = publish_int8(
        FOLDER / NETWORK, contents["int8"], (FOLDER / NETWORK).with_suffix(INT8), photos
    )
    small.report.unlink()
    print(small.agreement)
    for path in write_digests(FOLDER):
        print(f"{path} ({path.stat().st_size / 2**20:.1f} MB)")
    return 0


UNUSED_PICTURES = 400
"""So many photos, once at 640 pixels and once at their own size, say which channels are unused."""


def _pictures(folder: Path) -> Iterator[NDArray[np.uint8]]:
    from detector.inference.resize import Resize
    from faces.images.find import find_images
    from faces.images.read import read_image

    files = find_images(folder)
    for path in files[:: max(1, len(files) // UNUSED_PICTURES)]:
        for side in (640, 0):
            yield Resize(side=side)(read_image(path)).pixels.copy()


if __name__ == "__main__":
    run_program("scripts.shipping.detector")
