"""Data sets in the formats of other tools: COCO, YOLO, CVAT, LabelMe, Label Studio, RetinaFace."""
