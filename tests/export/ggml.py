"""llama.cpp's own quantizers, out of the library inside the wheel `xllamacpp`: what ours are held against."""

from __future__ import annotations

import ctypes
from importlib.util import find_spec
from pathlib import Path

import gguf
import numpy


def library() -> ctypes.CDLL:
    (folder,) = find_spec("xllamacpp").submodule_search_locations
    found = ctypes.CDLL(str(next(Path(folder).glob("xllamacpp*.so"))))
    found.ggml_quantize_chunk.restype = ctypes.c_size_t
    # type, source, destination, first value, rows, columns, importance matrix
    sizes = [ctypes.c_int64] * 3
    found.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *sizes, ctypes.c_void_p]
    return found


def quantize(values: numpy.ndarray, type_name: str) -> numpy.ndarray:
    """`(rows, columns)` in float32 → `(rows, bytes a row)`, by ggml's `ggml_quantize_chunk` without an importance matrix."""
    kind = gguf.GGMLQuantizationType[type_name.upper()]
    block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    rows, columns = values.shape
    made = numpy.zeros((rows, columns // block * block_bytes), dtype="uint8")
    count = library().ggml_quantize_chunk(int(kind), values.ctypes.data, made.ctypes.data, 0, rows, columns, None)
    assert count == made.nbytes
    return made
