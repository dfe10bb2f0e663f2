"""The C interface: ctypes, cffi, Numba, Cython and C draw the stream's own numbers.

Oracle: the reference of tests/reference.py, which is written from the definition of the stream, and the generator's
positions. The examples are those of docs/guides/c_interface.md, built and run.
"""

import ctypes
import ctypes.util
import importlib.util
import pickle
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import cffi
import numpy as np
import pytest
import reference
from numpy.random import PCG64, Generator
from pages import DOCS, blocks

import fastdist as fd

pytestmark = pytest.mark.any_isa  # others' C around the stream

PAGE = DOCS / "guides" / "c_interface.md"
PERIOD = 2**122


def numbers(seed, domain, begin, n):
    key = tuple(int(word) for word in fd.BlockSFC64(seed).state["state"]["key"])
    return getattr(reference, f"{domain}s")(key, begin, n)


def at(seed, normal=0, uniform=0):
    return fd.BlockSFC64.at(fd.BlockSFC64(seed).place._replace(normal=normal, uniform=uniform))


def ctypes_of(bit_generator):
    interface = bit_generator.ctypes
    return interface, interface.state, lambda out: np.ctypeslib.as_ctypes(out)


def cffi_of(bit_generator):
    interface = bit_generator.cffi
    names = {np.dtype(np.float32): "float[]", np.dtype(np.float64): "double[]"}
    return interface, interface.state, lambda out: cffi.FFI().from_buffer(names[out.dtype], out)


either = pytest.mark.parametrize("interface_of", [ctypes_of, cffi_of])
domains = pytest.mark.parametrize("domain", ["normal", "uniform"])


@either
@domains
@pytest.mark.usefixtures("isa")
def test_next(interface_of, domain):
    b = fd.BlockSFC64(5)
    interface, state, _ = interface_of(b)
    following = getattr(interface, f"next_{domain}")
    with b.lock:
        drawn = [following(state) for _ in range(2500)]
    np.testing.assert_array_equal(drawn, numbers(5, domain, 0, 2500))
    other = {"normal": "uniform", "uniform": "normal"}[domain]
    assert (getattr(b.place, domain), getattr(b.place, other), b.place.raw) == (2500, 0, 0)


@either
@domains
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_fill(interface_of, domain, dtype):
    b = fd.BlockSFC64(6)
    interface, state, pointer = interface_of(b)
    fill = getattr(interface, f"fill_{domain}_f{np.dtype(dtype).itemsize * 8}")
    wanted = numbers(6, domain, 0, 6000).astype(dtype)
    if domain == "uniform":
        wanted = np.minimum(wanted, np.nextafter(dtype(1), dtype(0)))
    done = 0
    for n in (1, 0, 7, 1016, 1, 2048, 1500):
        out = np.full(n + 2, -9.0, dtype)  # one more at each end, which must stay
        fill(state, n, pointer(out[1:]))
        assert (out[0], out[-1]) == (-9, -9)
        np.testing.assert_array_equal(out[1:-1], wanted[done : done + n])
        done += n
        assert getattr(b.place, domain) == done


@either
def test_in_turns_with_draws_of_all_kinds(interface_of):
    """One by one, in bulk and by `standard_normal`, from a place in a block over three of its ends."""
    b = at(7, normal=1000)
    interface, state, pointer = interface_of(b)
    rng = np.random.default_rng(0)
    got = []
    while len(got) < 3000:
        n, how = int(rng.integers(1, 200)), rng.integers(3)
        out = np.empty(n)
        if how == 0:
            out[:] = [interface.next_normal(state) for _ in range(n)]
        elif how == 1:
            interface.fill_normal_f64(state, n, pointer(out))
        else:
            fd.standard_normal(n, rng=b, out=out)
        got.extend(out)
        assert b.place.normal == 1000 + len(got)
    np.testing.assert_array_equal(got, numbers(7, "normal", 1000, len(got)))


@pytest.mark.parametrize("begin", [1023, 2**58 - 3, PERIOD - 3])
def test_next_goes_over_ends(begin):
    """Of a block, of a key's positions, of the stream."""
    b = at(8, normal=begin)
    drawn = [b.ctypes.next_normal(b.ctypes.state) for _ in range(8)]
    np.testing.assert_array_equal(drawn, fd.standard_normal(8, rng=at(8, normal=begin)))
    assert b.place.normal == (begin + 8) % PERIOD


def test_state_and_advance_after_next():
    b = fd.BlockSFC64(9)
    f, state = b.ctypes, b.ctypes.state
    wanted = numbers(9, "normal", 0, 300)
    assert [f.next_normal(state) for _ in range(100)] == wanted[:100].tolist()
    copy = pickle.loads(pickle.dumps(b))
    assert copy.ctypes.next_normal(copy.ctypes.state) == wanted[100]
    b.advance(-50)
    assert f.next_normal(state) == wanted[50]
    b.state = fd.BlockSFC64(10).state
    assert f.next_normal(state) == numbers(10, "normal", 0, 1)[0]


def test_interfaces_are_numpys_and_more():
    b, other = fd.BlockSFC64(1), fd.BlockSFC64(2)
    numpys = PCG64(1).ctypes._fields
    assert b.ctypes._fields[: len(numpys)] == numpys
    assert b.ctypes is b.ctypes
    assert b.ctypes.next_normal is other.ctypes.next_normal
    assert b.ctypes.state_address != other.ctypes.state_address


def test_callers_floating_point_state_makes_no_difference():
    libm = ctypes.CDLL(ctypes.util.find_library("m"))
    upward = {"x86_64": 0x800, "aarch64": 0x400000, "arm64": 0x400000}.get(
        sysconfig.get_platform().split("-")[-1]
    )
    if upward is None:
        pytest.skip("FE_UPWARD is not known here")
    b, out = fd.BlockSFC64(11), np.empty(5000)
    f, state, pointer = ctypes_of(b)
    array = pointer(out)
    before = libm.fegetround()
    libm.fesetround(upward)
    try:
        f.fill_normal_f64(state, 5000, array)
        drawn = [f.next_normal(state) for _ in range(5000)]
        assert libm.fegetround() == upward
    finally:
        libm.fesetround(before)
    np.testing.assert_array_equal([*out, *drawn], numbers(11, "normal", 0, 10_000))


# ---- compiled ----------------------------------------------------------------------------


def built(source):
    """A shared object of a C file."""
    target = source.with_suffix(sysconfig.get_config_var("EXT_SUFFIX"))
    command = shlex.split(sysconfig.get_config_var("LDSHARED"))
    command += ["-fPIC", "-O1", "-g0", "-I", fd.get_include(), "-isystem", sysconfig.get_path("include")]
    if source.name == "walk_c.c":  # what Cython makes is not ours to clean
        command += ["-std=c11", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([*command, str(source), "-o", str(target)], check=True)
    return target


def imported(path):
    spec = importlib.util.spec_from_file_location(path.name.partition(".")[0], path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def from_cython(text, path):
    path.write_text(text, encoding="utf-8")
    # Found where the package is, as for any user.
    command = [sys.executable, "-m", "cython", "-3", "-I", str(Path(fd.__file__).parents[1]), str(path)]
    subprocess.run(command, check=True)
    return built(path.with_suffix(".c"))


def check_walk(example):
    """The steps of docs/guides/c_interface.md's walk, several in a row on one generator."""
    b, taken = fd.BlockSFC64(12), 0
    for bound in (1.0, 30.0, 5.0, 40.0, 0.1):
        walk = np.cumsum(numbers(12, "normal", taken, 20_000))
        wanted = 1 + int(np.argmax(abs(walk) >= bound))
        assert wanted > 1 or bound < 2
        assert example(b, bound) == wanted
        taken += wanted
        assert b.place.normal == taken
        assert not b.lock.locked()


def numba_examples():
    for code in blocks(PAGE, "python", "numba"):
        names = {}
        exec(code, names)
        yield names["example"]


def test_numba():
    one_by_one, _ = numba_examples()
    check_walk(one_by_one)


def test_numba_by_portions():
    _, by_portions = numba_examples()
    b = fd.BlockSFC64(12)
    walk = np.cumsum(numbers(12, "normal", 0, 20_000))
    wanted = 1 + int(np.argmax(abs(walk) >= 30.0))
    assert by_portions(b, 30.0) == wanted
    assert b.place.normal == -(-wanted // 256) * 256


def test_numba_fills():
    import numba

    b = fd.BlockSFC64(13)
    fill = b.ctypes.fill_normal_f64

    @numba.njit
    def filled(state, n):
        out = np.empty(n)
        fill(state, n, out.ctypes)
        return out

    np.testing.assert_array_equal(filled(b.ctypes.state_address, 1500), numbers(13, "normal", 0, 1500))


def test_cython(tmp_path):
    check_walk(imported(from_cython(*blocks(PAGE, "cython"), tmp_path / "walk_cython.pyx")).example)


@pytest.fixture(scope="module")
def extension(tmp_path_factory):
    source = tmp_path_factory.mktemp("c") / "walk_c.c"
    (text,) = blocks(PAGE, "c")
    source.write_text(text, encoding="utf-8")
    return built(source)


def test_c(extension):
    example = imported(extension).example
    check_walk(example)
    with pytest.raises(TypeError, match=r"rng must be a BlockSFC64 .* got a PCG64"):
        example(PCG64(1), 1.0)


class Versions(ctypes.Structure):
    _fields_ = (("version", ctypes.c_int), ("revision", ctypes.c_int))


@pytest.mark.parametrize(
    ("version", "revision", "message"),
    [
        (2, 0, r"version 1\.0 of .* has version 2\.0: compile this module again"),
        (1, -1, r"version 1\.0 of .* has version 1\.-1: install a newer fastdist"),
    ],
)
def test_versions_must_agree(extension, tmp_path, monkeypatch, version, revision, message):
    table, name = Versions(version, revision), b"fastdist.random._c_api"
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
    monkeypatch.setattr(fd.random, "_c_api", new(ctypes.addressof(table), name, None))
    with pytest.raises(ImportError, match=message):
        imported(shutil.copy(extension, tmp_path / extension.name))


TABLE = """
from fastdist.random.c_api cimport (
    FD_NORMAL, FD_RANDOM_REVISION, FD_RANDOM_VERSION, FD_UNIFORM, fd_domain, fd_import_random, fd_key, fd_next_uniform,
    fd_place, fd_random, fd_stream,
)
from libc.stdlib cimport free, malloc

fd_import_random()

def parts(rng, int domain, Py_ssize_t n, ends, double[::1] out):
    "The next n numbers of a generator, made by a reader of its own each."
    cdef fd_stream *stream = fd_random.stream_of(rng)
    cdef fd_stream *own
    cdef fd_place place = fd_random.take(stream, <fd_domain>domain, n)
    cdef Py_ssize_t begin = 0, end
    for end in ends:
        own = <fd_stream *>malloc(fd_random.stream_size)
        fd_random.read(own, &place, begin)
        if end > begin and domain == FD_UNIFORM:
            fd_random.fill_uniform_f64(own, end - begin, &out[begin])
        elif end > begin:
            fd_random.fill_normal_f64(own, end - begin, &out[begin])
        free(own)
        begin = end
    return (place.key.word[0], place.key.word[1]), place.position, place.carry

def started(first, second, position, carry, float[::1] normals):
    "Normals and a uniform of a stream of one's own."
    cdef fd_stream *own = <fd_stream *>malloc(fd_random.stream_size)
    cdef fd_key key
    key.word[0], key.word[1] = first, second
    fd_random.start(own, key)
    fd_random.seek(own, FD_NORMAL, position, carry)
    fd_random.fill_normal_f32(own, normals.shape[0], &normals[0])
    cdef double uniform = fd_next_uniform(own)
    free(own)
    return uniform

def versions():
    return (fd_random.version, fd_random.revision), (FD_RANDOM_VERSION, FD_RANDOM_REVISION)
"""


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return imported(from_cython(TABLE, tmp_path_factory.mktemp("cython") / "table.pyx"))


@pytest.mark.parametrize("domain", [0, 1])
def test_parts_of_a_range(table, domain):
    b = at(14, normal=500, uniform=500)
    out, g = np.empty(5000), Generator(b)
    key, position, carry = table.parts(g, domain, 5000, (1, 600, 600, 3000, 5000), out)
    np.testing.assert_array_equal(out, numbers(14, ("normal", "uniform")[domain], 500, 5000))
    assert (key, position, carry) == (b.place.key, 500, 0)
    assert (b.place.normal, b.place.uniform) == ((5500, 500), (500, 5500))[domain]


@pytest.mark.parametrize(("position", "carry"), [(0, 0), (1030, 0), (2**58 - 5, 3), (2**58 + 7, 2**64 - 2)])
def test_streams_of_ones_own(table, position, carry):
    place = fd.Place((3, 4), normal=position + carry * 2**58)
    out = np.empty(2000, np.float32)
    uniform = table.started(3, 4, position, carry, out)
    np.testing.assert_array_equal(out, fd.standard_normal(2000, dtype=np.float32, rng=place))
    assert uniform == fd.random.standard_uniform((), rng=place)


def test_version(table):
    assert table.versions() == ((1, 0), (1, 0))
