"""Build of the extension: its C sources, one by one, and the compiler flags of each ISA row.

Everything else is in pyproject.toml.
"""

import platform
import sys
from pathlib import Path

import numpy as np
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CFLAGS = ["-std=c11", "-O3", "-Wall", "-Wextra", "-Wpedantic", "-fvisibility=hidden", "-ffp-contract=off"]
# Cython's output is not ours to clean: it trips these, and only these.
CYTHON_CFLAGS = ["-Wno-pedantic", "-Wno-unused-function", "-Wno-missing-field-initializers", "-Wno-cast-function-type"]

# ISA rows by machine: what the row's own file is compiled with. Never -march=native: the choice is made at run time.
X86_64 = {"avx2": ["-mavx2", "-mfma"]}
ISA_FLAGS = {"x86_64": X86_64, "amd64": X86_64}.get(platform.machine().lower(), {})

# NumPy's library exports its functions; the extension must not.
LINK = {"linux": ["-Wl,--exclude-libs,ALL"], "darwin": ["-Wl,-exported_symbol,_PyInit_*"]}.get(sys.platform, [])


class BuildISA(build_ext):
    """Compiles each row of `ISA_FLAGS` with flags of its own and links it in with the rest."""

    def build_extension(self, ext: Extension) -> None:
        for isa, flags in ISA_FLAGS.items():
            ext.extra_objects += self.compiler.compile(
                [f"src_c/isa/{isa}.c"],
                output_dir=self.build_temp,
                extra_postargs=CFLAGS + flags,
                depends=ext.depends,
            )
        super().build_extension(ext)


bridge = Extension(
    "fastdist._kernels.bridge",
    sources=[
        "fastdist/_kernels/bridge.pyx",
        *sorted(map(str, Path("src_c").glob("*.c"))),
        "src_c/isa/scalar.c",
    ],
    include_dirs=["src_c"],
    define_macros=[(f"FD_HAVE_{isa.upper()}", "1") for isa in ISA_FLAGS],
    extra_compile_args=CFLAGS + CYTHON_CFLAGS,
    extra_link_args=LINK,
    library_dirs=[str(Path(np.__file__).parent / "random" / "lib")],
    libraries=["npyrandom", "m"],
    depends=[
        str(path)
        for pattern in ("src_c/**/*.h", "src_c/*.def", "src_c/isa/*.c", "fastdist/_kernels/*.pxd")
        for path in sorted(Path().glob(pattern))
    ],
)

setup(
    # build_dir keeps the generated C out of the package, and so out of the wheel.
    ext_modules=cythonize([bridge], build_dir="build/cython", language_level=3),
    cmdclass={"build_ext": BuildISA},
)
