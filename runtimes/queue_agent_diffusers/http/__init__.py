"""The HTTP side: the OpenAI Images dialect, and what goes beyond it."""
