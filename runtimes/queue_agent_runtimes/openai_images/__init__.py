"""Servers of the OpenAI Images dialect: vLLM-Omni, SGLang-Diffusion, LocalAI, our own.

The dialect: https://docs.vllm.ai/projects/vllm-omni/en/stable/serving/image_generation_api/ and
https://docs.sglang.io/diffusion/api/openai_api.html. A job's content is the portable form, or
the dialect's own fields, or both, where the dialect's own win. What a publisher does not say
is left to the server, which knows its model's best step count and guidance.
"""

from queue_agent_runtimes.openai_images.adapter import OpenAIImagesRuntime
from queue_agent_runtimes.openai_images.bundled import DiffusersRuntime

__all__ = ["DiffusersRuntime", "OpenAIImagesRuntime"]
