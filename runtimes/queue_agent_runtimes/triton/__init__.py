"""Servers of the Open Inference Protocol, KServe's version 2: Triton, and what speaks like it.

The protocol: https://github.com/kserve/open-inference-protocol, with Triton's extensions for binary
tensors, the model configuration and the model repository:
https://github.com/triton-inference-server/server/tree/main/docs/protocol. A job's content is the
portable form, put into the model's tensors by their names, or (task type ``pipeline``) tensors.
"""

from queue_agent_runtimes.triton.adapter import TritonRuntime

__all__ = ["TritonRuntime"]
