# cython: cdivision=True
# cython: freethreading_compatible=True, embedsignature=False, auto_pickle=False, autotestdict=False
"""BlockSFC64: numpy.random's interface to the streams of src_c/stream.h."""

cimport cython
from cpython.dict cimport PyDict_GetItemWithError
from cpython.long cimport PyLong_CheckExact
from cpython.pycapsule cimport PyCapsule_New
from cpython.ref cimport PyObject
from libc.stdint cimport UINT64_MAX, uint32_t, uint64_t, uintptr_t
from numpy.random.bit_generator cimport BitGenerator

from fastdist._kernels cimport core
from fastdist._kernels.isa cimport functions
from fastdist._kernels.sources cimport Noise, stream_noise
from fastdist.random cimport c_api

import operator
import os
from collections.abc import Mapping

import numpy as np
from numpy.random import Generator, SeedSequence
from numpy.random.bit_generator import ISeedSequence

from fastdist.random._interface import with_cffi, with_ctypes
from fastdist.random._place import PERIOD, KeyAlone, Place, checked

cdef extern from "Python.h":
    PyObject *PyThreadState_GetDict()

cdef const core.fd_stream_api *stream_api = functions().stream
cdef const core.fd_random_api *random_api = functions().random


# ---- for other extension modules ---------------------------------------------------------

cdef c_api.fd_stream *stream_of(object rng) except NULL:
    bit_generator = rng.bit_generator if isinstance(rng, Generator) else rng
    if not isinstance(bit_generator, BlockSFC64):
        raise TypeError(
            "rng must be a BlockSFC64 or a numpy.random.Generator on one, got a "
            f"{type(bit_generator).__name__}")
    return <c_api.fd_stream *>(<BlockSFC64>bit_generator).stream.c


cdef c_api.fd_random_api public_api = (<const c_api.fd_random_api *>random_api)[0]
public_api.stream_of = stream_of
_c_api = PyCapsule_New(&public_api, c_api.FD_RANDOM_CAPSULE, NULL)

# In the order of _interface.NEXT and FILL.
cdef tuple addresses = (
    <uintptr_t>public_api.next_normal,
    <uintptr_t>public_api.next_uniform,
    <uintptr_t>public_api.fill_normal_f64,
    <uintptr_t>public_api.fill_normal_f32,
    <uintptr_t>public_api.fill_uniform_f64,
    <uintptr_t>public_api.fill_uniform_f32,
)


# ---- the generator -----------------------------------------------------------------------


def noise_of_place(place):
    """The normals and uniforms of a stream from a place on; without a lock."""
    cdef Noise noise = stream_noise(False)
    begin(noise.stream.c, place)
    return noise


cdef int begin(core.fd_stream *stream, object place) except -1:
    """Let a stream begin at a place."""
    cdef core.fd_key key
    cdef uint64_t[5] word = [0, 0, 0, 0, 0]
    cdef bint small = in_words(place, word)
    if not small:
        place = checked(place)
        word[0], word[1] = place.key
    key.word[0] = word[0]
    key.word[1] = word[1]
    random_api.start(stream, key)
    if small:
        stream_api.seek_raw(stream, word[2], 0)
        random_api.seek(stream, core.FD_NORMAL, word[3], 0)
        random_api.seek(stream, core.FD_UNIFORM, word[4], 0)
    else:
        seek(stream, place.raw, place.normal, place.uniform)
    return 0


cdef bint in_words(object place, uint64_t *word) except -1:
    """True for a place whose key and positions are plain ints of 64 bits, which are put to `word`."""
    if type(place) is not Place:
        return False
    key, raw, normal, uniform = <tuple>place
    if type(key) is not tuple or len(<tuple>key) != 2:
        return False
    first, second = <tuple>key
    if not (
        PyLong_CheckExact(first) and PyLong_CheckExact(second) and PyLong_CheckExact(raw)
        and PyLong_CheckExact(normal) and PyLong_CheckExact(uniform)
    ):
        return False
    try:
        word[0], word[1], word[2], word[3], word[4] = first, second, raw, normal, uniform
    except OverflowError:
        return False
    return True


cdef int seek(core.fd_stream *stream, object raw, object normal, object uniform) except -1:
    """Let a stream stand at these positions, around which it may go."""
    raw, normal, uniform = raw % PERIOD, normal % PERIOD, uniform % PERIOD
    stream_api.seek_raw(stream, raw % core.FD_POSITIONS, raw // core.FD_POSITIONS)
    random_api.seek(stream, core.FD_NORMAL, normal % core.FD_POSITIONS, normal // core.FD_POSITIONS)
    random_api.seek(stream, core.FD_UNIFORM, uniform % core.FD_POSITIONS, uniform // core.FD_POSITIONS)
    return 0


cdef object position(const core.fd_cursor *cursor):
    """Of all a stream has."""
    return cursor.position + (<object>cursor.carry) * core.FD_POSITIONS


cdef class BlockSFC64(BitGenerator):
    r"""Counter-addressed SFC64: a bit generator whose every number is a function of (key, position).

    A stream is cut into blocks of 1024 numbers. The eight SFC64 lanes that make a block start from
    Philox-4x32-10 hashes of the key and the block's number, so that any block can be made at
    any time, by any worker, on any machine, and comes out the same. The raw 64-bit words that
    `numpy.random.Generator` builds on, the normals of `fastdist.standard_normal` and of distributions
    here, and the uniforms of discrete ones are streams of their own, with a position each: mixing calls
    never makes their numbers overlap.

    Parameters
    ----------
    seed : None, int, array_like of ints or SeedSequence, optional
        As for NumPy's bit generators: None takes entropy from the operating system.

    Attributes
    ----------
    lock : object
        With the methods of a `threading.RLock`. Whatever reads or moves the positions holds it; a draw of
        them only while it takes its range, so that others, threads or signal handlers, may
        draw behind it meanwhile.
    state : dict
        Key and positions; may be set.

    Notes
    -----
    The key has 128 bits, ``seed_seq.generate_state(2, numpy.uint64)``. A stream has 2**122
    positions. The normals are a ziggurat of 1021 rectangles of equal area below the density, with exact
    wedges and tail (src_c/stream.h, src_c/ziggurat.h); they use no mathematical library and no
    contraction, and a float32 normal is the float64 one, rounded. A uniform is ``(k + 1/2) * 2**-52``, of
    52 bits of a word: never 0 nor 1; a float32 one is that, rounded, but at most ``1 - 2**-24``. SFC64 is
    Chris Doty-Humphrey's (PractRand); Philox is from Salmon et al., "Parallel random numbers: as easy as
    1, 2, 3", SC 2011; the ziggurat without a test inside is McFarland's, "A modified ziggurat algorithm
    for generating exponentially and normally distributed pseudorandom numbers", J. Stat. Comput. Simul.
    86(7), 2016.

    Examples
    --------
    >>> import numpy as np, fastdist as fd
    >>> bit_generator = fd.BlockSFC64(1)
    >>> np.random.Generator(bit_generator).integers(10, size=3).shape
    (3,)
    >>> first = fd.standard_normal(5, rng=bit_generator)
    >>> bit_generator.advance(-5).state["state"]["normal_position"]
    0
    """

    def __cinit__(self, *args, **kwargs):
        cdef core.fd_key key
        key.word[0] = key.word[1] = 0
        self._noise = stream_noise(True)
        self.stream = self._noise.stream
        random_api.start(self.stream.c, key)

    def __init__(self, seed=None):
        if self._bitgen.state is NULL:
            BitGenerator.__init__(self, seed)
            self.connect()
        else:  # once more: others may be drawing
            self._seed_seq = seed if isinstance(seed, ISeedSequence) else SeedSequence(seed)
        words = self._seed_seq.generate_state(2, np.uint64)
        with self.stream:
            self.start(words)

    cdef void connect(self):
        """Let NumPy's functions of this generator be those of the stream."""
        self._bitgen.state = self.stream.c
        self._bitgen.next_uint64 = stream_api.next_uint64
        self._bitgen.next_uint32 = stream_api.next_uint32
        self._bitgen.next_double = stream_api.next_double
        self._bitgen.next_raw = stream_api.next_uint64
        self.lock = self.stream

    cdef int start(self, words) except -1:
        cdef core.fd_key key
        key.word[0] = words[0]
        key.word[1] = words[1]
        random_api.start(self.stream.c, key)
        return 0

    @property
    def state(self):
        """Key and positions.

        Returns
        -------
        dict
            ``bit_generator``: the class's name; ``state``: a dict of ``key`` (two uint64),
            ``raw_position``, ``normal_position`` and ``uniform_position`` (ints below 2**122; the last may
            be left away where a state is set, and then is 0); ``has_uint32`` and
            ``uinteger``: the half of a word that 32-bit draws have left, as NumPy's generators
            have it.
        """
        cdef core.fd_stream *stream = self.stream.c
        with self.stream:
            raw = stream.raw_block + stream.raw_at + (<object>stream.raw_carry) * core.FD_POSITIONS
            return {
                "bit_generator": type(self).__name__,
                "state": {
                    "key": np.array([stream.key.word[0], stream.key.word[1]], dtype=np.uint64),
                    "raw_position": raw % PERIOD,
                    "normal_position": position(&stream.cursor[<int>core.FD_NORMAL]),
                    "uniform_position": position(&stream.cursor[<int>core.FD_UNIFORM]),
                },
                "has_uint32": stream.has_half,
                "uinteger": stream.half if stream.has_half else 0,
            }

    @state.setter
    def state(self, value):
        if not isinstance(value, Mapping):
            raise TypeError(f"state must be a dict, got {type(value).__name__}")
        name = value.get("bit_generator", "")
        if name != type(self).__name__:
            raise ValueError(f"state must be for a {type(self).__name__} bit generator, got one for {name!r}")
        words = [operator.index(word) for word in np.array(value["state"]["key"], object).flat]
        if len(words) != 2 or not all(0 <= word < 2**64 for word in words):
            raise ValueError(f"state: key must be two integers in [0, 2**64), got {words}")
        raw = operator.index(value["state"]["raw_position"])
        normal = operator.index(value["state"]["normal_position"])
        uniform = operator.index(value["state"].get("uniform_position", 0))
        for position in (raw, normal, uniform):
            if not 0 <= position < PERIOD:
                raise ValueError(f"state: positions must be in [0, 2**122), got {position}")
        cdef uint32_t half = value["uinteger"]
        cdef int has_half = bool(value["has_uint32"])
        with self.stream:
            self.start(words)
            seek(self.stream.c, raw, normal, uniform)
            self.stream.c.half = half
            self.stream.c.has_half = has_half

    @property
    def ctypes(self):
        """Functions for ctypes, as Numba takes them.

        Returns
        -------
        interface
            A named tuple. ``state_address`` and ``state`` are what all functions take. NumPy's
            ``next_uint64``, ``next_uint32`` and ``next_double`` are of the raw words; ``next_normal`` and
            ``next_uniform`` return the next of the stream's own, and ``fill_normal_f64``,
            ``fill_normal_f32``, ``fill_uniform_f64`` and ``fill_uniform_f32``, of (state, n, array), write
            n of them. ``cursors`` are the stream's own records for normals and uniforms, from which loops
            take what is made without a call (docs on the C interface). Hold `lock` meanwhile, and keep this
            object alive.

        Examples
        --------
        >>> import fastdist as fd
        >>> bit_generator = fd.BlockSFC64(1)
        >>> interface = bit_generator.ctypes
        >>> with bit_generator.lock:
        ...     first = interface.next_normal(interface.state)
        >>> bool(first == fd.standard_normal(rng=1)), bit_generator.place.normal
        (True, 1)
        """
        if self.own_ctypes is None:
            interface = with_ctypes(BitGenerator.ctypes.__get__(self), addresses)
            with cython.critical_section(self):
                if self.own_ctypes is None:
                    self.own_ctypes = interface
        return self.own_ctypes

    @property
    def cffi(self):
        """The same functions as those of `ctypes`, for cffi.

        Returns
        -------
        interface
            A named tuple.
        """
        if self.own_cffi is None:
            interface = with_cffi(BitGenerator.cffi.__get__(self), addresses)
            with cython.critical_section(self):
                if self.own_cffi is None:
                    self.own_cffi = interface
        return self.own_cffi

    @property
    def place(self):
        """Where the stream stands, which may be passed for `rng`, and to other machines."""
        cdef core.fd_stream *stream = self.stream.c
        with self.stream:
            return Place(
                (stream.key.word[0], stream.key.word[1]),
                (stream.raw_block + stream.raw_at + (<object>stream.raw_carry) * core.FD_POSITIONS) % PERIOD,
                position(&stream.cursor[<int>core.FD_NORMAL]),
                position(&stream.cursor[<int>core.FD_UNIFORM]),
            )

    @classmethod
    def at(cls, place):
        """A new generator that stands at a place.

        Parameters
        ----------
        place : Place
            As `BlockSFC64.place` tells it.

        Returns
        -------
        BlockSFC64
            It does not spawn: of its seed nothing is known but the key.
        """
        cdef BlockSFC64 new
        if cls is BlockSFC64:  # past NumPy's constructor, which takes several times as long
            new = BlockSFC64.__new__(BlockSFC64)
            begin(new.stream.c, place)
            new._seed_seq = KeyAlone((new.stream.c.key.word[0], new.stream.c.key.word[1]))
            new.capsule = PyCapsule_New(&new._bitgen, "BitGenerator", NULL)
            new.connect()
        else:
            new = cls(KeyAlone(checked(place).key))
            begin(new.stream.c, place)
        return new

    def advance(self, delta):
        """Move all positions, of raw words, normals and uniforms, as if `delta` of each had been drawn.

        Parameters
        ----------
        delta : int
            How far; negative numbers go back, and 2**122 is once around.

        Returns
        -------
        BlockSFC64
            This object. What a 32-bit draw has left over is dropped.
        """
        delta = operator.index(delta)
        with self.stream:
            state = self.state["state"]
            seek(
                self.stream.c, state["raw_position"] + delta, state["normal_position"] + delta,
                state["uniform_position"] + delta)
        return self

    def jumped(self, jumps=1):
        """A new generator on the same key, `jumps` * 2**96 positions further on.

        Parameters
        ----------
        jumps : int, optional
            How often to jump.

        Returns
        -------
        BlockSFC64
            For parallel work one stream may be jumped 2**26 times before it comes round; `spawn`
            has no such limit.
        """
        jumps = operator.index(jumps)
        cdef BlockSFC64 other = type(self)(self._seed_seq)
        other.state = self.state
        return other.advance(jumps << 96)

    def spawn(self, n_children):
        """New independent generators, of seeds that this one's seed spawns.

        Parameters
        ----------
        n_children : int
            How many.

        Returns
        -------
        list of BlockSFC64
            No two calls give the same ones.

        Raises
        ------
        TypeError
            If the seed sequence that this generator was made from does not spawn.
        """
        with self.stream:
            return BitGenerator.spawn(self, n_children)


# ---- one generator a thread --------------------------------------------------------------

# Where a thread's state dict has its noise; another key after a fork, so that a child starts anew.
cdef object THREAD_KEY = object()


cdef Noise thread_noise():
    """The noise of this thread's own generator, seeded from the operating system at first use.

    In the state dict of the thread, which is looked up faster than a threading.local and dies with
    it. Nobody else draws from it, so that it needs no lock.
    """
    cdef dict state = <dict>PyThreadState_GetDict()
    cdef PyObject *found = PyDict_GetItemWithError(state, THREAD_KEY)
    if found is not NULL:
        return <Noise>found
    cdef Noise noise = BlockSFC64()._noise
    noise.shared = False
    state[THREAD_KEY] = noise
    return noise


cdef Noise own_noise(object rng):
    """The noise of a BlockSFC64, of a seed or this thread's own, or a noise as it is; of others None."""
    if rng is None:
        return thread_noise()
    if PyLong_CheckExact(rng):
        if rng < 0 or rng > UINT64_MAX:
            return None
        return noise_of_seed(rng)
    if type(rng) is Generator:
        rng = rng.bit_generator
    elif isinstance(rng, Noise):
        return rng
    return (<BlockSFC64>rng)._noise if isinstance(rng, BlockSFC64) else None


def unshared_noise():
    """The noise of this thread's own generator."""
    return thread_noise()


cdef uint32_t hashed(uint32_t value, uint32_t *constant, uint32_t multiplier) noexcept:
    value ^= constant[0]
    constant[0] *= multiplier
    value *= constant[0]
    return value ^ (value >> 16)


cpdef Noise noise_of_seed(uint64_t seed):
    """The normals of ``BlockSFC64(seed)``, from their beginning; without a lock.

    The key is what `numpy.random.SeedSequence` makes of the seed, a hash by O'Neill ("Developing a seed_seq
    alternative", 2015) of a pool of four words, here in a fiftieth of the time.
    """
    cdef uint32_t pool[4]
    cdef uint32_t word[4]
    cdef uint32_t constant = 0x43b0d7e5, mixed
    cdef int i, k
    for i in range(4):
        pool[i] = hashed(<uint32_t>(seed >> 32 * i) if i < 2 else 0, &constant, 0x931e8875)
    for i in range(4):
        for k in range(4):
            if i != k:
                mixed = 0xca01f9ddu * pool[k] - 0x4973f715u * hashed(pool[i], &constant, 0x931e8875)
                pool[k] = mixed ^ (mixed >> 16)
    constant = 0x8b51f9dd
    for i in range(4):
        word[i] = hashed(pool[i], &constant, 0x58f38ded)
    return noise_of_key(word[0] | <uint64_t>word[1] << 32, word[2] | <uint64_t>word[3] << 32)


cpdef Noise noise_of_key(uint64_t first, uint64_t second):
    """The normals of the BlockSFC64 stream with this key, from its beginning; without a lock."""
    cdef core.fd_key key
    cdef Noise noise = stream_noise(False)
    key.word[0] = first
    key.word[1] = second
    random_api.start(noise.stream.c, key)
    return noise


def forget_threads():
    """Let every thread seed a new generator: for the child of a fork."""
    global THREAD_KEY
    THREAD_KEY = object()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget_threads)
