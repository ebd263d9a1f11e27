"""Models on a device: the only part that imports torch."""
