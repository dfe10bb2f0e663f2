"""Build of the extensions: the C core with the compiler flags of each ISA, then Cython's modules.

Everything else is in pyproject.toml. For another machine than this one (tools/wheels.py):

    FASTDIST_BUILD_MACHINE   its name, as platform.machine() would tell it there
    FASTDIST_BUILD_NPYRANDOM the folder of its libnpyrandom.a
"""

import gzip
import os
import platform
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist

# No contraction: a fused multiply-add is one that the source asks for. No debug information, which Python's
# own flags ask for: it would be seven times the code.
CFLAGS = ["-std=c11", "-O3", "-g0", "-fvisibility=hidden", "-ffp-contract=off", "-Wall", "-Wextra"]
# Cython's output and Python's headers are not ours to clean: they trip these, and only these.
CYTHON_CFLAGS = ["-Wno-unused-function", "-Wno-missing-field-initializers", "-Wno-cast-function-type"]
# The core is C through and through: nothing is ever thrown past it.
CORE_CFLAGS = ["-Wpedantic", "-pthread", "-fno-asynchronous-unwind-tables"]

# ISAs by machine: the flags of each one's own file. Never -march=native: the choice is made at run time.
X86_64 = {
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma"],
}
AARCH64 = {"neon": []}
ISA_CFLAGS = {"x86_64": X86_64, "amd64": X86_64, "aarch64": AARCH64, "arm64": AARCH64}.get(
    os.environ.get("FASTDIST_BUILD_MACHINE", platform.machine()).lower(), {}
)
# While working on kernels: FASTDIST_BUILD_ISAS=avx2 builds this one and scalar only.
if "FASTDIST_BUILD_ISAS" in os.environ:
    ISA_CFLAGS = {isa: ISA_CFLAGS[isa] for isa in os.environ["FASTDIST_BUILD_ISAS"].split()}
# The last word: FASTDIST_BUILD_CFLAGS="-O1 -Werror" looks for warnings in a third of the time.
CFLAGS += os.environ.get("FASTDIST_BUILD_CFLAGS", "").split()

# NumPy's library exports its functions; the extension must not. Nor does it need names of what it hides.
LINK = {
    "linux": ["-Wl,--version-script=src_c/exports.map", "-Wl,-s", "-pthread"],
    "darwin": ["-Wl,-exported_symbol,_PyInit_*", "-Wl,-x"],
}
# The library of the NumPy that is built with.
NPYRANDOM = os.environ.get("FASTDIST_BUILD_NPYRANDOM", str(Path(np.__file__).parent / "random" / "lib"))


def files(*patterns: str) -> list[str]:
    """Paths that match, in the same order everywhere."""
    return sorted(path.as_posix() for pattern in patterns for path in Path().glob(pattern))


class BuildWithCore(build_ext):
    """Compiles the C core, each file with flags of its own, in parallel, and links it into one module."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or True

    def build_extension(self, ext: Extension) -> None:
        if ext is isa:
            core = {f"src_c/isa/{isa}.c": flags for isa, flags in ISA_CFLAGS.items()}  # the longest first
            core |= {source: [] for source in files("src_c/*.c", "src_c/isa/scalar.c")}

            def compiled(source: str) -> list[str]:
                return self.compiler.compile(
                    [source],
                    output_dir=self.build_temp,
                    macros=ext.define_macros,
                    include_dirs=INCLUDES,
                    debug=self.debug,
                    extra_postargs=CFLAGS + CORE_CFLAGS + core[source],
                )

            with ThreadPoolExecutor(os.cpu_count()) as pool:
                ext.extra_objects = [name for names in pool.map(compiled, core) for name in names]
        super().build_extension(ext)


class ReproducibleSdist(sdist):
    """Makes the same bytes of the same files: in order, of no owner, and of the time SOURCE_DATE_EPOCH."""

    def make_archive(self, base_name, *args, base_dir, **kwargs):
        made = int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())

        def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mtime = made
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            return member

        self.mkpath(os.path.dirname(base_name))
        path = f"{base_name}.tar.gz"
        with (
            open(path, "wb") as file,
            gzip.GzipFile("", "wb", fileobj=file, mtime=made) as packed,
            tarfile.open(fileobj=packed, mode="w") as archive,
        ):
            archive.add(base_dir, filter=plain)
        return path


HEADERS = files("src_c/**/*.h", "src_c/*.def", "fastdist/**/*.h", "fastdist/**/*.pxd")
INCLUDES = ["src_c", "fastdist/include"]

# The only module with the core in it; others reach its functions through this one.
isa = Extension(
    "fastdist._kernels.isa",
    sources=["fastdist/_kernels/isa.pyx"],
    include_dirs=INCLUDES,
    define_macros=[(f"FD_HAVE_{isa.upper()}", "1") for isa in ISA_CFLAGS],
    extra_compile_args=CFLAGS + CYTHON_CFLAGS,
    extra_link_args=LINK.get(sys.platform, []),
    library_dirs=[NPYRANDOM],
    libraries=["npyrandom", "m"],
    depends=["setup.py", "src_c/exports.map", *HEADERS, *files("src_c/**/*.c")],
)

others = [
    Extension(
        f"fastdist.{name}",
        sources=[f"fastdist/{name.replace('.', '/')}.pyx"],
        include_dirs=[*INCLUDES, np.get_include()],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
        extra_compile_args=CFLAGS + CYTHON_CFLAGS,
        extra_link_args=LINK.get(sys.platform, []),
        depends=["setup.py", *HEADERS],
    )
    for name in (
        "_kernels.draws",
        "_kernels.program",
        "_kernels.pullbacks",
        "_kernels.sources",
        "_params",
        "distributions._diagonal",
        "distributions._indexing",
        "distributions._rules",
        "distributions.distribution",
        "random._block_sfc64",
        "random._standard_normal",
        "torch._tensors",
    )
]

# build_dir keeps the generated C out of the package, and so out of the wheel.
cythonized = cythonize([isa, *others], build_dir="build/cython", language_level=3)
isa = cythonized[0]

setup(ext_modules=cythonized, cmdclass={"build_ext": BuildWithCore, "sdist": ReproducibleSdist})
