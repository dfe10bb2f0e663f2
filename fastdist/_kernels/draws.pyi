"""Types of draws, all of them for compiled callers; draws.pyx says what each does."""

__pyx_capi__: dict[str, object]
