"""What is raised of files whose structure is broken."""


class Damaged(ValueError):
    """A file's structure cannot be followed. The message continues its name."""
