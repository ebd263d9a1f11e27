"""A server of the Open Inference Protocol that answers as Triton 2.51 does.

What its models do stands in `served` for it and for a real Triton alike, whose python backend runs
`stand_in`; `tests/contract/test_triton_recordings.py` holds it against what the real one answered.
"""
