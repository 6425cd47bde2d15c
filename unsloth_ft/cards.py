"""Cards by name or size, for a plan for one that isn't here. No torch, no driver."""

from __future__ import annotations

import re
from dataclasses import dataclass

from unsloth_ft.errors import UserError, nearest
from unsloth_ft.hardware import GIB, MIB, Gpu, Hardware

SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(GB|GiB|MiB|MB)", re.IGNORECASE)
MOST_MIB = 2**30  # 1 PiB, more than any machine has
ANY_CARD = (8, 0)  # compute capability of a card that is known by its size alone: Ampere, the first with bfloat16
VENDORS = frozenset(("nvidia", "geforce", "tesla", "quadro"))
OTHER_CARDS = frozenset(("laptop", "max", "ti", "super", "d", "nvl", "mobile"))  # behind a name, they make it another card
FILLERS = re.compile(r"nvidia|geforce|tesla|quadro|[\s_-]")


@dataclass(frozen=True)
class Card:
    """One kind of card.

    `memory_mib` as nvidia-smi reports it, with ECC where it is on as delivered. `teraflops`: of a dense matrix product in bfloat16, or
    float16 below SM 8.0, summed in float32.
    """

    name: str
    memory_mib: int
    compute_capability: tuple[int, int]
    teraflops: float

    @property
    def gpu(self) -> Gpu:
        return Gpu(self.name, self.memory_mib * MIB, self.compute_capability)


# Rates without sparsity, from the data sheet or architecture white paper that a line names ("FP16 with FP32 accumulate", at half speed on
# GeForce cards). All of them are what SMs, operations a clock and boost clock come to, within 1.3 % (tests/test_cards.py); "counted" are
# rates that the vendor gives only in that form. Memory: from outputs of nvidia-smi.
CARDS = {
    "t4": Card("NVIDIA T4", 15360, (7, 5), 65),  # T4 data sheet, mixed precision
    "v100": Card("NVIDIA V100 16 GB", 16384, (7, 0), 125),  # V100 data sheet, NVLink
    "v10032gb": Card("NVIDIA V100 32 GB", 32768, (7, 0), 125),  # V100 data sheet, NVLink
    "v100pcie": Card("NVIDIA V100 PCIe 16 GB", 16384, (7, 0), 112),  # V100 data sheet, PCIe
    "rtx3060": Card("NVIDIA GeForce RTX 3060", 12288, (8, 6), 25.5),  # counted: 28 SMs at 1.777 GHz
    "rtx3070": Card("NVIDIA GeForce RTX 3070", 8192, (8, 6), 40.6),  # GA102 white paper, appendix A
    "rtx3080": Card("NVIDIA GeForce RTX 3080", 10240, (8, 6), 59.5),  # GA102 white paper
    "rtx3090": Card("NVIDIA GeForce RTX 3090", 24576, (8, 6), 71),  # GA102 white paper, appendix A
    "rtx4060": Card("NVIDIA GeForce RTX 4060", 8188, (8, 9), 30.2),  # counted: 24 SMs at 2.46 GHz
    "rtx4060ti16gb": Card("NVIDIA GeForce RTX 4060 Ti 16 GB", 16380, (8, 9), 44.1),  # counted: 34 SMs at 2.535 GHz
    "rtx4070": Card("NVIDIA GeForce RTX 4070", 12282, (8, 9), 58.3),  # counted: 46 SMs at 2.475 GHz
    "rtx4080": Card("NVIDIA GeForce RTX 4080", 16376, (8, 9), 97.5),  # Ada white paper, appendix A
    "rtx4090": Card("NVIDIA GeForce RTX 4090", 24564, (8, 9), 165.2),  # Ada white paper, appendix A
    "rtx5090": Card("NVIDIA GeForce RTX 5090", 32607, (12, 0), 209.5),  # RTX Blackwell white paper, appendix A
    "rtxa6000": Card("NVIDIA RTX A6000", 49140, (8, 6), 154.8),  # GA102 white paper, appendix C; ECC is off as delivered
    "rtx6000ada": Card("NVIDIA RTX 6000 Ada", 49140, (8, 9), 364.2),  # RTX 6000 Ada data sheet: 1,457 in FP8 with sparsity
    "l4": Card("NVIDIA L4", 23034, (8, 9), 121),  # L4 data sheet: 242 with sparsity
    "l40s": Card("NVIDIA L40S", 46068, (8, 9), 362),  # L40S data sheet: 362.05
    "a10": Card("NVIDIA A10", 23028, (8, 6), 125),  # A10 data sheet
    "a100": Card("NVIDIA A100 40 GB", 40960, (8, 0), 312),  # A100 data sheet, PCIe and SXM alike
    "a10080gb": Card("NVIDIA A100 80 GB", 81920, (8, 0), 312),  # A100 data sheet, PCIe and SXM alike
    "h100": Card("NVIDIA H100 80 GB", 81559, (9, 0), 989.5),  # H100 data sheet, SXM: 1,979 with sparsity
    "h100pcie": Card("NVIDIA H100 PCIe 80 GB", 81559, (9, 0), 756),  # H100 data sheet, PCIe: 1,513 with sparsity
    "h200": Card("NVIDIA H200", 143771, (9, 0), 989.5),  # H200 data sheet, SXM: 1,979 with sparsity
}


def memory_size(text: str) -> int:
    """Whole MiB in bytes, of "24GB" as cards are sold: 24 GiB. nvidia-smi says 24,564 MiB of a 24 GB RTX 4090, 8,188 of an 8 GB RTX 4060
    and 81,920 of an 80 GB A100: within 0.1 % of GiB, and 7 % more than 10⁹ bytes each. "24GiB" and "24564MiB" are read too.
    Raises UserError.
    """
    found = SIZE.fullmatch(text.strip())
    mebibytes = float(found[1]) * (1024 if found[2][0] in "Gg" else 1) if found else 0.0
    if not 1 <= mebibytes <= MOST_MIB:
        raise UserError(f'memory "{text}"; expected a size like 24GB (GiB are meant, as cards are sold) or 24564MiB.')
    return int(mebibytes) * MIB


def find(text: str) -> Gpu:
    """The card of that name ("RTX 4090", "t4") or size ("24GB"). Raises UserError with the nearest names."""
    if SIZE.fullmatch(text.strip()):
        size = memory_size(text)
        return Gpu(f"a card of {size / GIB:g} GiB", size, ANY_CARD)
    name = FILLERS.sub("", text.lower())
    if name not in CARDS:
        raise UserError(f'--gpu "{text}": no card of that name is known here.{nearest(name, list(CARDS))} A size like 24GB is taken too.')
    return CARDS[name].gpu


def teraflops(gpu: Gpu) -> float | None:
    """The published rate of a card with this driver's name ("NVIDIA A100-SXM4-80GB"); None: not known here, as of a laptop's or a Ti."""
    words = _words(gpu.name)
    known = sorted(CARDS.values(), key=lambda card: -len(_words(card.name)))
    for card in known:
        core = _words(card.name)
        if words[: len(core)] == core and not OTHER_CARDS.intersection(words[len(core) :]):
            return card.teraflops
    return None


def _words(name: str) -> list[str]:
    """A card's name in words, without vendor and memory: ["rtx", "4090"]."""
    without_size = re.sub(r"\b\d+ ?gb\b", "", name.lower())
    return [word for word in re.findall(r"[a-z0-9]+", without_size) if word not in VENDORS]


def planned_for(gpu: Gpu, machine: Hardware) -> Hardware:
    """This machine with that card in it."""
    return Hardware(
        gpus=(gpu,),
        cpu_name=machine.cpu_name,
        cpu_count=machine.cpu_count,
        cpu_has_bfloat16=machine.cpu_has_bfloat16,
        memory_bytes=machine.memory_bytes,
        system=machine.system,
    )
