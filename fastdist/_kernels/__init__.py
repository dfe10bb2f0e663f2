"""From NumPy arrays to C kernels: sizes checked under the GIL, then loops without it."""
