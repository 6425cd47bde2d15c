"""llama.cpp's own converter and Mistral's tekken vocabulary, fetched for the tests: what our GGUF files are compared with.

`python -m tests.oracle FOLDER` downloads the source archive of llama-cpp-python and the wheel of mistral-common with pip and unpacks
what the tests read. Neither is installed: the one would be compiled, the other breaks transformers' AutoTokenizer (tests/golden).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from types import TracebackType

LLAMA_CPP = "llama-cpp-python==0.3.36"
MISTRAL_COMMON = "mistral-common==1.13.1"
TEKKEN = "tekken_240718.json"  # Mistral Nemo's
# The converter with its own gguf package, and the parts of the runtime that read metadata.
KEPT = (
    "convert_hf_to_gguf.py",
    "convert_lora_to_gguf.py",
    "conversion/",
    "gguf-py/gguf/",
    "models/templates/",
    "common/common.cpp",
    "include/llama.h",
    "src/llama-arch.cpp",
    "src/llama-hparams.cpp",
    "src/llama-model.cpp",
    "src/llama-model-loader.cpp",
    "src/llama-vocab.cpp",
    "src/models/llama.cpp",
    "src/models/qwen2.cpp",
    "src/models/qwen3.cpp",
)
MISSING = "llama.cpp's converter is not here; make .venv/oracle/done fetches it"


def folder() -> Path:
    """The root of llama.cpp's source, as far as it was unpacked; tekken's vocabulary lies in it too."""
    return Path(os.environ.get("UNSLOTH_FT_ORACLE") or Path(__file__).parent.parent / ".venv" / "oracle")


def is_here() -> bool:
    return (folder() / "done").is_file()


def tekken() -> Path:
    return folder() / TEKKEN


def fetch(target: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        downloads = Path(name)
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(downloads)]
        subprocess.run([*download, "--no-binary", ":all:", LLAMA_CPP], check=True)
        subprocess.run([*download, "--only-binary", ":all:", MISTRAL_COMMON], check=True)
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        unpack_llama_cpp(next(downloads.glob("llama_cpp_python-*.tar.gz")), target)
        with zipfile.ZipFile(next(downloads.glob("mistral_common-*.whl"))) as wheel:
            (target / TEKKEN).write_bytes(wheel.read(f"mistral_common/data/{TEKKEN}"))
    (target / "done").touch()


def unpack_llama_cpp(archive: Path, target: Path) -> None:
    with tarfile.open(archive) as files:
        for member in files:
            inside = member.name.partition("/vendor/llama.cpp/")[2]
            if member.isfile() and inside.startswith(KEPT):
                path = target / inside
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(files.extractfile(member).read())


class Converter:
    """convert_hf_to_gguf.py in a process of its own, with its own gguf package: it may be newer than the installed one."""

    def __enter__(self) -> Converter:
        root = folder()
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("oracle_worker.py"))],
            env=os.environ | {"PYTHONPATH": f"{root / 'gguf-py'}:{root}", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            encoding="utf-8",
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()
        self.log.close()

    def convert(self, model_dir: Path, path: Path, *, quantization: str) -> Path:
        self.process.stdin.write(json.dumps(["--outtype", quantization, "--outfile", str(path), str(model_dir)]) + "\n")
        self.process.stdin.flush()
        if self.process.stdout.readline() != "done\n":
            self.log.seek(0)
            raise AssertionError(f"llama.cpp's converter failed:\n{self.log.read()[-4000:]}")
        return path


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))
