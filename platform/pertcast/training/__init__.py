"""Training: one loop, interchangeable engines, checkpoints and the bundle.

Imports only torch, numpy, pydantic and safetensors; DeepSpeed is imported where its engine is built.
"""
