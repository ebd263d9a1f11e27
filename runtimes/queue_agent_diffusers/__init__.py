"""The bundled runtime: diffusers pipelines behind the OpenAI Images dialect.

Importing this package loads neither torch nor diffusers; serving a model does.
"""
