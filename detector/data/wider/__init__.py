"""WIDER FACE: its lists, where its parts lie, its download, its conversion to PASCAL VOC."""
