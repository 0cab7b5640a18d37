"""Find faces without torch and without this project: python run_onnx.py best.onnx photo.jpg"""

import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

image = ImageOps.exif_transpose(Image.open(sys.argv[2])).convert("RGB")
scale = min(1, 640 / max(image.size))
width, height = (max(1, round(side * scale)) for side in image.size)
small = image.resize((width, height), Image.Resampling.BILINEAR)
padded = Image.new("RGB", (-(-width // 32) * 32, -(-height // 32) * 32), (124, 116, 104))
padded.paste(small)

onnxruntime.set_default_logger_severity(3)  # no remarks about the optional inputs
session = onnxruntime.InferenceSession(sys.argv[1])
feed = {"images": np.asarray(padded)[None], "score_threshold": np.array(0.5, np.float32)}
boxes, scores, _ = session.run(None, feed)
boxes *= np.array([image.width / width, image.height / height] * 2, np.float32)
boxes = boxes.clip(0, image.size * 2)  # some reach into the padding, or lie there
for (x1, y1, x2, y2), score in zip(boxes, scores, strict=True):
    if x1 < x2 and y1 < y2:
        print(f"{x1:.1f} {y1:.1f} {x2:.1f} {y2:.1f} {score:.3f}")
