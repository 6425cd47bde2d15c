"""Puts the fused layers into a PEFT model, and computes a step's loss with them.

The model stays what it was: its parameters keep names, shapes and values, so saving, loading, merging and generating are PEFT's
and transformers' own. Only a layer's forward on flat rows is another; whatever it can't do falls through to the stock one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch.nn import Identity, Module

from unsloth_ft.errors import UserError
from unsloth_ft.kernels import ARCHITECTURES, side_by_side
from unsloth_ft.kernels.attention import NAME, register
from unsloth_ft.kernels.cross_entropy import cross_entropy, learned_positions
from unsloth_ft.kernels.layer import Heads, Layer, LayerFunction
from unsloth_ft.kernels.projection import Member, Projection, QuantizedProjection, Scratch
from unsloth_ft.kernels.rows import LastRows


@dataclass(frozen=True)
class FusedForward:
    """In the place of a decoder layer's `forward`. `window`: the layer's sliding window."""

    layer: Layer
    stock: Callable[..., torch.Tensor]
    adapters: tuple[LoraLayer, ...]
    name: str
    window: int | None
    recompute: bool
    rows: LastRows

    def __call__(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None,
        past_key_values: Any = None,
        cu_seq_lens_q: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        if cu_seq_lens_q is None or attention_mask is not None or past_key_values is not None or not self.applies:
            return self.stock(
                hidden_states,
                attention_mask=attention_mask,
                position_embeddings=position_embeddings,
                past_key_values=past_key_values,
                cu_seq_lens_q=cu_seq_lens_q,
                **kwargs,
            )
        self.layer.refresh()
        return self.flat(hidden_states, position_embeddings, cu_seq_lens_q)

    def flat(
        self, hidden_states: torch.Tensor, position_embeddings: tuple[torch.Tensor, torch.Tensor], cu_seq_lens: torch.Tensor
    ) -> torch.Tensor:
        """The fused forward of flat rows, with the adapters' values of the last refresh; (1, T, hidden)."""
        half = self.layer.heads.size // 2
        cos, sin = (part[0, :, None, :half] for part in position_embeddings)
        rows = self.rows.of(cu_seq_lens, self.window)
        with torch.autocast(hidden_states.device.type, enabled=False):
            if not torch.is_grad_enabled():
                return self.layer.forward(hidden_states[0], cos, sin, rows)[0][None]
            return LayerFunction.apply(hidden_states[0], self.layer, cos, sin, rows, self.recompute, *self.layer.parameters)[None]

    @property
    def applies(self) -> bool:
        """Whether the adapters are in force as they were at the installation, and drop nothing out."""
        return not any(
            adapter.disable_adapters
            or adapter.merged
            or adapter.active_adapters != [self.name]
            or (adapter.training and not isinstance(adapter.lora_dropout[self.name], Identity))
            for adapter in self.adapters
        )


def install(model: PeftModel, *, recompute: bool | int, load_in_4bit: bool = False) -> None:
    """Fuses every decoder layer. `recompute`: keep nothing but their input for the backward (gradient checkpointing), of all layers or of
    so many from the first.

    Raises UserError for a model that can't be fused.
    """
    base = model.get_base_model()
    _refuse_others(type(base).__name__, base.config)
    register()
    base.set_attn_implementation(NAME)
    rows, scratch = LastRows(), Scratch() if load_in_4bit else None
    recomputed = recompute if not isinstance(recompute, bool) else len(base.model.layers) if recompute else 0
    for number, layer in enumerate(base.model.layers):
        adapters = tuple(module for module in layer.modules() if isinstance(module, LoraLayer))
        fused = _fused(layer, base.config, name=model.active_adapter, scratch=scratch)
        window = base.config.sliding_window if base.config.model_type == "mistral" else _window(layer, base.config)
        layer.forward = FusedForward(fused, layer.forward, adapters, model.active_adapter, window, number < recomputed, rows)
    base.save_pretrained = partial(_save_whole, base)


def loss(model: PeftModel, inputs: dict[str, Any], num_items: torch.Tensor | float | None) -> torch.Tensor | None:
    """The loss of flat rows, their sum over `num_items` (None: the mean), a scalar; None where the rows are padded or the fused layers don't apply.

    Head and final norm see the positions alone that predict a learned token.
    """
    base = model.get_base_model()
    forwards = [layer.forward for layer in base.model.layers]
    if "cu_seq_lens_q" not in inputs or not all(isinstance(forward, FusedForward) and forward.applies for forward in forwards):
        return None
    for forward in forwards:
        forward.layer.refresh()
    items = float(len(learned_positions(inputs["labels"][0])[0]) if num_items is None else num_items)
    compute = partial(_rows_loss, base, forwards, items=items)
    parts = side_by_side.split(inputs, threads=torch.get_num_threads()) if torch.is_grad_enabled() else [inputs]
    if len(parts) == 1:
        return compute(inputs)
    return side_by_side.total(compute, parts, [parameter for forward in forwards for parameter in forward.layer.parameters])


def _save_whole(base: Module, save_directory: str | os.PathLike[str], *args: Any, state_dict: dict[str, Any] | None = None, **kwargs: Any) -> None:
    """In the place of the model's `save_pretrained`: safetensors takes no views of a common buffer, so each weight is copied.

    A hook of `state_dict` would do as well, and copy the base at every checkpoint of the adapter.
    """
    whole = {name: tensor.contiguous() for name, tensor in base.state_dict().items()} if state_dict is None else state_dict
    type(base).save_pretrained(base, save_directory, *args, state_dict=whole, **kwargs)


def _rows_loss(base: Module, forwards: Sequence[FusedForward], inputs: dict[str, Any], *, items: float) -> torch.Tensor:
    with torch.autocast(inputs["input_ids"].device.type, enabled=False):
        hidden = base.model.embed_tokens(inputs["input_ids"])
        position_embeddings = base.model.rotary_emb(hidden, inputs["position_ids"])
        for forward in forwards:
            # Not layer(…): under transformers' checkpointing that computes the forward a third time.
            hidden = forward.flat(hidden, position_embeddings, inputs["cu_seq_lens_q"])
        positions, targets = learned_positions(inputs["labels"][0])
        return cross_entropy(base.model.norm(hidden[0, positions]), base.lm_head.weight, targets, num_items=items)


def _refuse_others(architecture: str, config: Any) -> None:
    if architecture not in ARCHITECTURES:
        raise UserError(f"the model is a {architecture}; backend fused has the layers of {', '.join(ARCHITECTURES)}. Pass --backend peft.")
    for name, expected in (("hidden_act", "silu"), ("attention_dropout", 0)):
        found = config.to_dict()[name]
        if found != expected:
            raise UserError(f'config.json: {name} is "{found}"; backend fused knows {expected} alone. Pass --backend peft.')


def _fused(layer: Module, config: Any, *, name: str, scratch: Scratch | None) -> Layer:
    attention, mlp = layer.self_attn, layer.mlp
    normed = config.model_type == "qwen3"
    heads = Heads(
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        size=attention.head_dim,
        scaling=attention.scaling,
        q_norm=attention.q_norm.weight.detach() if normed else None,
        k_norm=attention.k_norm.weight.detach() if normed else None,
    )
    return Layer(
        heads=heads,
        qkv=_projection([attention.q_proj, attention.k_proj, attention.v_proj], name, scratch),
        o=_projection([attention.o_proj], name, scratch),
        gate_up=_projection([mlp.gate_proj, mlp.up_proj], name, scratch),
        down=_projection([mlp.down_proj], name, scratch),
        input_norm=layer.input_layernorm.weight.detach(),
        post_norm=layer.post_attention_layernorm.weight.detach(),
        eps=config.rms_norm_eps,
    )


def _projection(modules: Sequence[Module], name: str, scratch: Scratch | None) -> Projection:
    members = [_member(module, name, quantized=scratch is not None) for module in modules]
    return Projection(members) if scratch is None else QuantizedProjection(members, scratch)


def _member(module: Module, name: str, *, quantized: bool) -> Member:
    adapter = module if isinstance(module, LoraLayer) else None
    linear = module if adapter is None else adapter.get_base_layer()
    state = linear.weight.quant_state if quantized else None
    if adapter is None:
        return Member(linear.weight, linear.bias, quantized=state)
    return Member(
        linear.weight, linear.bias, adapter.lora_A[name].weight, adapter.lora_B[name].weight, adapter.scaling[name], quantized=state
    )


def _window(layer: Module, config: Any) -> int | None:
    """Qwen's layers have a sliding window of their own; Llama's have none."""
    return layer.self_attn.sliding_window if config.model_type in ("qwen2", "qwen3") else None
