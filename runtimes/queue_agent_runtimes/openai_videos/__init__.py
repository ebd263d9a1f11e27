"""Servers of the OpenAI dialect that make videos and meshes beside images, or instead.

That is vLLM-Omni, SGLang-Diffusion, TensorRT-LLM and Dynamo: `POST /v1/videos`, and at SGLang
`POST /v1/meshes`, answer with the record of a job that is asked for until it has ended, and
whose file is fetched. What engines do differently stands in `engines`.
"""

from queue_agent_runtimes.openai_videos.adapter import OpenAIRuntime

__all__ = ["OpenAIRuntime"]
