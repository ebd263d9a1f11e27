"""A cog server without cog, and the model that it and a real one serve.

`app` answers as cog 0.23.1 does (coglet's routes); `model` is a folder as cog packs them.
"""
