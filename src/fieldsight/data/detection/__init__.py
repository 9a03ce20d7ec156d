"""Photos with boxes: what a sample is, readers and writers of YOLO, COCO, VOC and VisDrone, letterbox, augmentation."""
