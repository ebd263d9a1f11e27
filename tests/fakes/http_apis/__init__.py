"""Image servers that speak plain HTTP, each a table of its routes over one engine.

Their routes, fields and refusals are those of the projects' own sources:
https://github.com/pytorch/serve (0.12), https://github.com/huggingface/huggingface-inference-toolkit,
https://github.com/xdit-project/xDiT (entrypoints/launch.py),
https://github.com/mrhan1993/Fooocus-API, https://github.com/invoke-ai/InvokeAI.
Only Python's own library, so that they start at once.
"""
