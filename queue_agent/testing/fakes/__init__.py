"""Servers that behave and refuse like the real runtimes, without a GPU; run as processes."""
