"""Adapters of the runtimes that the agent knows, one file each."""
