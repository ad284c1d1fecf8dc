"""Networks in formats that other programs run, each compared with the network before it is published.

`onnx` writes files for ONNX Runtime, in float32 and in int8; `quantized` compares float and int8. Knows no runs.
"""
