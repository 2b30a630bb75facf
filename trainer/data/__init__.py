"""The training and validation data: COCO on disk, its index, its samples, and which rank sees which of them when."""
