"""llama.cpp's quantizer out of llama-cpp-python, in a process of its own: a failed assertion in it ends the process.

Arguments: the source, the target, and the file type as llama.h numbers it.
"""

import ctypes
import sys


def main(source: str, target: str, file_type: str) -> int:
    import llama_cpp

    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype = int(file_type)
    return llama_cpp.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(settings))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
