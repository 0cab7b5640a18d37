"""Make a run's checkpoint the detector that is shipped.

    python -m scripts.ship runs/fpn/best.pt --half 0.8
    python -m scripts.ship runs/old/best.pt --half 0.8 --pictures names.txt

`--half`: the score that is to become 0.5, the default threshold everywhere. A network that is
trained on as many faces as it has to tell apart says 0.5 too easily; at which score it stops seeing
faces where there are none, `benchmarks/false_alarms.py` says. The order of the scores stays.

`--pictures`: names of the training pictures, one a line, for a checkpoint that is older than its
own record of them. They are kept beside the weights, for `faces evaluate` to warn.

For maintainers, so it is no command of `faces`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from faces.errors import UserError


def main(argv: Sequence[str]) -> int:
    """Write the weights in half precision into detector/weights, to run and to go on from."""
    import argparse

    import onnx
    import torch

    from detector.checkpoint import load_checkpoint, save_checkpoint
    from detector.export.parity import check, make_cases, table
    from detector.export.publish import run_checkpoint, run_exported, serialize
    from detector.inference.torch_backend import open_checkpoint
    from detector.shipped import CHECKPOINT, FOLDER, NETWORK
    from detector.training_pictures import LIST, pictures_of, write_list
    from faces.files import atomic_write
    from faces.onnx_export import store_in_half
    from faces.shipped import write_digests

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--half", type=float, required=True, help="score that becomes 0.5")
    parser.add_argument("--pictures", type=Path, help="names of the training pictures, one a line")
    args = parser.parse_args(argv)
    if not 0 < args.half < 1:
        raise UserError("--half must be between 0 and 1")
    payload = load_checkpoint(args.checkpoint)
    known = pictures_of(payload.get("pictures", ""), payload["provenance"])
    if args.pictures is not None:
        names = args.pictures.read_text(encoding="utf-8").splitlines()
        write_list(FOLDER, payload["provenance"]["written"], names)
    elif payload.get("pictures"):
        (FOLDER / LIST).unlink(missing_ok=True)  # it is of the weights that are replaced
    elif known is None:
        raise UserError(
            f"{args.checkpoint} does not know its training pictures: name them with --pictures"
        )
    del payload["format"], payload["version"]
    payload.pop("training", None)
    payload["config"]["model"]["half"] = args.half
    payload["weights"] = {
        name: tensor.half() if tensor.dtype == torch.float32 else tensor
        for name, tensor in payload["weights"].items()
    }
    for folder in ("image_path", "train_ann_dir", "valid_path", "valid_ann_dir"):
        payload["config"]["data"][folder] = None  # of the machine that trained it
    payload["config"] |= {"run": None, "model_file": None, "fig_path": None, "init": None}
    payload["config"]["model"]["backbone_weights"] = "none"
    save_checkpoint(FOLDER / CHECKPOINT, payload)

    model, artifact = open_checkpoint(FOLDER / CHECKPOINT)
    proto = onnx.load_from_string(serialize(model, artifact, "onnx"))
    store_in_half(proto.graph)
    onnx.checker.check_model(proto, full_check=True)
    with atomic_write(FOLDER / NETWORK) as file:
        file.write(proto.SerializeToString())
    # Not the tolerances of `faces export`: batch norm is merged into the weights before they are
    # rounded. What that costs is seen in the average precision, which is measured on this file.
    outcomes = check(
        run_checkpoint(model), run_exported(FOLDER / NETWORK, "onnx"), make_cases(),
        artifact.nms_threshold, model.roi_heads.detections_per_img,
    )  # fmt: skip
    print(table(outcomes))
    for path in write_digests(FOLDER):
        print(f"{path} ({path.stat().st_size / 2**20:.1f} MB)")
    return 0


if __name__ == "__main__":
    from scripts.main import run_command

    sys.exit(run_command("scripts.ship", sys.argv[1:]))
