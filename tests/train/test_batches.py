"""How rows become a batch: end to end, or padded."""

from __future__ import annotations

from unsloth_ft.chat import IGNORE, Row
from unsloth_ft.train.batches import EpochSampler, Examples, collate, flat

ROWS = [{"input_ids": (5, 6, 7), "labels": (IGNORE, 6, 7), "index": 4}, {"input_ids": (8, 9), "labels": (8, 9), "index": 2}]


def test_flat_rows_stand_end_to_end_and_their_first_token_is_not_learned():
    batch = flat(ROWS)
    shapes = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in batch.items()}
    assert shapes == {
        "input_ids": [[5, 6, 7, 8, 9]],
        "labels": [[-100, 6, 7, -100, 9]],
        "position_ids": [[0, 1, 2, 0, 1]],
        "cu_seq_lens_q": [0, 3, 5],
        "cu_seq_lens_k": [0, 3, 5],
        "max_length_q": 3,
        "max_length_k": 3,
    }
    assert [str(batch[name].dtype) for name in ("input_ids", "labels", "position_ids", "cu_seq_lens_q")] == [
        "torch.int64", "torch.int64", "torch.int64", "torch.int32",
    ]  # fmt: skip


def test_padding_is_on_the_right_without_attention_and_without_labels():
    batch = collate(ROWS, padding_id=1)
    assert {name: value.tolist() for name, value in batch.items()} == {
        "input_ids": [[5, 6, 7], [8, 9, 1]],
        "labels": [[-100, 6, 7], [8, 9, -100]],
        "attention_mask": [[1, 1, 1], [1, 1, 0]],
    }


def test_the_sampler_follows_the_epoch():
    sampler = EpochSampler(lambda epoch: [epoch, 7, 8])
    sampler.set_epoch(4)
    assert list(sampler) == [4, 7, 8]
    assert len(sampler) == 3


def test_several_numbers_are_one_packed_sequence():
    rows = [Row((5, 6), (IGNORE, 6), "a.jsonl:1", (2,)), Row((7,), (7,), "a.jsonl:2", (1,))]
    packed = Examples(rows)[1, 0]
    assert [one["index"] for one in packed] == [1, 0]
    assert packed[0] == Examples(rows)[1] == {"input_ids": (7,), "labels": (7,), "index": 1}
