"""The cases are asserts: where there are none, all would pass."""

if not __debug__:
    raise RuntimeError("the cases are asserts, which PYTHONOPTIMIZE (python -O) takes away")
