"""Networks in formats that other programs run, each checked against the network before it is published.

`onnx` writes files for ONNX Runtime, in float32 and in int8; `quantized` measures what int8 costs and
saves. Nothing here knows of runs or of where files lie.
"""
