"""These tests need an environment of their own: `make test-triton` makes it, and runs them."""

from triton_servers import HOME

collect_ignore = [] if HOME.is_dir() else ["test_real_triton.py"]
