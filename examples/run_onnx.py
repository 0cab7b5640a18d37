"""Find faces without torch and without this project: python run_onnx.py best.onnx photo.jpg"""

import os
import sys

import numpy as np

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # else the package reports to its makers
import onnxruntime
from PIL import Image, ImageFile, ImageOps

ImageFile.LOAD_TRUNCATED_IMAGES = True  # photos that lack their end are used
image = ImageOps.exif_transpose(Image.open(sys.argv[2]))
image.mode[0] in "IF" and sys.exit(f"{sys.argv[2]}: save it with 8 bits a color, it has more")
image = image.convert("RGB")
width, height = (max(1, round(side * min(1, 640 / max(image.size)))) for side in image.size)
padded = Image.new("RGB", (-(-width // 32) * 32, -(-height // 32) * 32), (124, 116, 104))
padded.paste(image.resize((width, height), Image.Resampling.BILINEAR))

onnxruntime.set_default_logger_severity(3)  # no remarks about the optional inputs
session = onnxruntime.InferenceSession(sys.argv[1])
feed = {"images": np.asarray(padded)[None], "score_threshold": np.array(0.5, np.float32)}
boxes, scores = session.run(["boxes", "scores"], feed)
boxes = (boxes * ([image.width / width, image.height / height] * 2)).clip(0, image.size * 2)
for (x1, y1, x2, y2), score in zip(boxes, scores, strict=True):
    if x1 < x2 and y1 < y2:  # some lie in the padding
        print(f"{x1:.1f} {y1:.1f} {x2:.1f} {y2:.1f} {score:.3f}")
