"""Vector instructions for numba intrinsics, for whatever vector registers the machine has.

An intrinsic is a function of which we write the LLVM instructions; numba compiles it into the kernels that call it.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from contextlib import contextmanager
from functools import lru_cache

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.errors import TypingError

FAST = ("fast",)


@lru_cache(maxsize=1)
def _machine() -> tuple[int, int]:
    """Return the bytes of a vector register and the number of registers."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return 64, 32
    if features.get("avx"):
        return 32, 16
    return 16, 32 if features.get("neon") else 16


def _lanes(n_channels: int, itemsize: int) -> int:
    """Return how many channels are in a vector: a power of two that divides their number."""
    lanes = _machine()[0] // itemsize
    while n_channels % lanes:
        lanes //= 2
    return lanes


def n_registers() -> int:
    """Return the number of vector registers."""
    return _machine()[1]


def groups(n_degrees: int, together: int) -> list[list[int]]:
    """Return the degrees whose sums are held at once: as many as leave registers for the rest."""
    most = (_machine()[1] - 6) // together
    groups: list[list[int]] = [[]]
    for degree in range(n_degrees):
        if groups[-1] and sum(2 * one + 1 for one in groups[-1]) + 2 * degree + 1 > most:
            groups.append([])
        groups[-1].append(degree)
    return groups


def constants(*kinds):
    """Return the constants that some arguments of an intrinsic are: it is compiled for each.

    Numbers that a closure holds are constants; a kernel that holds an intrinsic instead is not found again on the disk.
    """
    if not all(isinstance(kind, types.Literal) for kind in kinds):
        raise TypingError(f"constants expected, got {kinds}")
    return tuple(kind.literal_value for kind in kinds)


def data_of(context, builder, kind, value):
    """Return the pointer to the numbers of an array, and a scalar as it is."""
    return context.make_array(kind)(context, builder, value).data if isinstance(kind, types.Array) else value


def length_of(context, builder, kind, value, axis: int = 0):
    """Return the length of an array."""
    return builder.extract_value(context.make_array(kind)(context, builder, value).shape, axis)


class Emitter:
    """Writes the instructions."""

    def __init__(self, context, builder, kind, n_channels: int) -> None:
        self.builder, self._n_channels = builder, n_channels
        self._kind = context.get_data_type(kind)
        self._size = kind.bitwidth // 8
        self.lanes = _lanes(n_channels, self._size)
        self._vector = ir.VectorType(self._kind, self.lanes)
        self._index = context.get_value_type(types.intp)

    def number(self, value: int):
        """Return a whole number."""
        return ir.Constant(self._index, value)

    def times(self, value, factor: int):
        """Return a product with a constant."""
        return self.builder.mul(value, self.number(factor))

    @contextmanager
    def steps(self, start, stop, step: int):
        """Loop; gives the running number."""
        with cgutils.for_range_slice(self.builder, start, stop, self.number(step), intp=self._index) as (number, _):
            yield number

    def vectors(self, together: int):
        """Loop over the channels, some vectors at a time; gives the first channel."""
        return self.steps(self.number(0), self.number(self._n_channels), self.lanes * together)

    def together(self, most: int) -> int:
        """Return how many vectors at a time: at most so many, and a divisor of those there are."""
        while (self._n_channels // self.lanes) % most:
            most //= 2
        return most

    def zero(self):
        """Return a place for a sum, emptied."""
        place = cgutils.alloca_once(self.builder, self._vector)
        self.builder.store(ir.Constant(self._vector, None), place)
        return place

    def item(self, array, place):
        """Return one number of an array."""
        return self.builder.load(self.builder.gep(array, [place]))

    def spread(self, array, place):
        """Return a vector of one number."""
        one = self.builder.insert_element(
            ir.Constant(self._vector, ir.Undefined), self.item(array, place), ir.Constant(ir.IntType(32), 0)
        )
        pattern = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), None)
        return self.builder.shuffle_vector(one, ir.Constant(self._vector, ir.Undefined), pattern)

    def some(self, array, place, together: int):
        """Return vectors that follow each other."""
        found = [self.builder.load(self._pointer(array, place, k)) for k in range(together)]
        for one in found:
            one.align = self._size
        return found

    def write(self, sums, array, place):
        """Write sums that follow each other."""
        for k, total in enumerate(sums):
            self.builder.store(self.builder.load(total), self._pointer(array, place, k)).align = self._size

    def write_vector(self, value, array, place):
        """Write one vector."""
        self.builder.store(value, self._pointer(array, place, 0)).align = self._size

    def write_total(self, total, array, place):
        """Write the sum over the numbers of a vector."""
        name = f"llvm.vector.reduce.fadd.v{self.lanes}{'f32' if self._size == 4 else 'f64'}"
        kind = ir.FunctionType(self._kind, [self._kind, self._vector])
        add_up = cgutils.get_or_insert_function(self.builder.module, kind, name)
        found = self.builder.call(add_up, [ir.Constant(self._kind, 0.0), self.builder.load(total)], fastmath=FAST)
        self.builder.store(found, self.builder.gep(array, [place]))

    def add_product(self, total, left, right):
        """Return total + left right."""
        return self.builder.fadd(total, self.builder.fmul(left, right, flags=FAST), flags=FAST)

    def _pointer(self, array, place, k: int):
        at = self.builder.add(place, self.number(k * self.lanes))
        return self.builder.bitcast(self.builder.gep(array, [at]), self._vector.as_pointer())
