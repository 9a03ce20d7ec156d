"""Post-training quantisation: observers, simulation in torch, integer reference, ONNX in INT8 and FP16, sensitivity."""
