"""YOLOv8 on constrained edge devices: train, quantise, benchmark, choose."""
