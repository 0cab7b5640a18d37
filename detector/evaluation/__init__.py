"""How good a detector is, by the field's own rules, each stated with its figure.

    truth      the faces of an annotated set, from PASCAL VOC files
    matching   which detection lies on which face
    curves     precision-recall curves, AP at IoU 0.5 as PASCAL VOC, figures at one threshold
    wider      easy / medium / hard AP of WIDER FACE, and its official ground truth
    coco       AP as COCO
    breakdown  recall by size, attribute or group, with confidence intervals
    calibrate  which score gives a wanted number of false positives; stored in the checkpoint
    report     all of it as JSON and as a table
    figures    the curves and the worst errors as pictures

Detections are given as ``{name: float64 (N, 5)}``: ``x1 y1 x2 y2`` in pixels and the score, in any
order, under the image's name as `detector.data.submission` defines it.
"""
