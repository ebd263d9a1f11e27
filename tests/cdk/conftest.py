"""Tests of the cloud side; they need the extra `cdk` and Node.js."""

import os
import shutil
from importlib.util import find_spec

# jsii warns of Node.js versions that are out of support; what it makes is the same.
os.environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "18,20")

INSTALLED = find_spec("aws_cdk") is not None and shutil.which("node") is not None
collect_ignore_glob = [] if INSTALLED else ["test_*.py"]
