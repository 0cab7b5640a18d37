"""From pictures to detections: resizing, one file a runtime, opening any detector."""
