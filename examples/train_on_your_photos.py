"""Train a face detector on your own photos: python train_on_your_photos.py PHOTOS [EPOCHS]

PHOTOS holds train/images and val/images, and for each image a PASCAL VOC file (as annotation tools
write them) in train/annotations and val/annotations. Needs pip install 'faces[train]'.
"""

import sys
from pathlib import Path

import faces


def main() -> None:
    photos = Path(sys.argv[1])
    epochs = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    train, val = photos / "train", photos / "val"

    # Start from the detector that comes with the package: a few hundred photos are enough then.
    result = faces.train(
        run=photos / "run",
        init="shipped",
        image_path=train / "images",
        train_ann_dir=train / "annotations",
        valid_path=val / "images",
        valid_ann_dir=val / "annotations",
        epochs=epochs,
        learning_rate=3e-4,
    )
    best = result.run / "best.pt"

    # Is it better than what it started from, on photos that neither was trained on?
    for name, model in (("shipped", None), ("yours", best)):
        measured = faces.evaluate(
            model, image_path=val / "images", annotation_dir=val / "annotations"
        )
        print(f"{name:<8} AP50 {measured.report['voc']['ap50']:.3f}")

    # An ONNX file runs without torch. It is written only if it finds what the checkpoint finds.
    [exported] = faces.export(best, formats=["onnx"])
    detector = faces.load_detector(exported.path)
    print(f"{exported.path} finds:")
    for path in sorted(path for path in (val / "images").rglob("*") if path.is_file()):
        image = faces.read_image(path)
        found = detector.detect(image)
        found.save(photos / "found" / f"{path.stem}.jpg", image)
        print(f"{path.name}: {len(found)} faces")


if __name__ == "__main__":  # training starts worker processes, which import this file
    main()
