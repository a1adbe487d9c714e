"""Rewrites ONNX models made elsewhere to our input and output."""
