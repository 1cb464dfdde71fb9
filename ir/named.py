"""Numpy arrays with named dims: what the ops' meanings compute with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .core import Dim


@dataclass(frozen=True)
class Named:
    """An array and the dim of each of its axes."""

    array: Any
    dims: tuple[Dim, ...] = ()

    def over(self, dims: Iterable[Dim]) -> Any:
        """The array with exactly these axes in this order, of size 1 where it lacks the dim."""
        dims = tuple(dims)
        own = [d for d in dims if d in self.dims]
        if len(own) != len(self.dims):
            raise ValueError(f"{self.dims} are not all among {dims}")
        array = self.array.transpose([self.dims.index(d) for d in own])
        return array.reshape([array.shape[own.index(d)] if d in own else 1 for d in dims])

    def axis(self, dim: Dim) -> int:
        """The axis of a dim."""
        return self.dims.index(dim)

    def size(self, dim: Dim) -> int:
        """The size of a dim in this array."""
        return self.array.shape[self.dims.index(dim)]

    def without(self, dims: Iterable[Dim]) -> tuple[Dim, ...]:
        """The dims that are left when these are gone."""
        gone = tuple(dims)
        return tuple(d for d in self.dims if d not in gone)


def union(*arrays: Named) -> tuple[Dim, ...]:
    """The dims of several arrays, in order of appearance."""
    return tuple(dict.fromkeys(d for a in arrays for d in a.dims))
