"""The bridge to the C core: sizes checked under the GIL, then loops without it."""
