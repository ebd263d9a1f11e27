"""Servers of the OpenAI dialect for videos, meshes and images, as their sources have them.

vLLM-Omni 0.30, SGLang 0.5.23, TensorRT-LLM (`serve/openai_video_routes.py`) and Dynamo
(`protocols/openai/videos.rs`), each with its records, statuses and ways to end a job. They draw
coloured frames, whose colour is told from the whole request.
"""
