"""Photos with boxes: PASCAL VOC, WIDER FACE, checking, repairing, converting."""
