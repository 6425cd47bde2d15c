"""The command line: parses, calls, prints. The only place that exits, and that turns errors into exit codes."""

from __future__ import annotations

import importlib
import os
import sys

import click

from unsloth_ft import __version__
from unsloth_ft.errors import UnslothFtError

# Command -> (module under unsloth_ft.cli, attribute, line in --help). Modules are imported when their command is called, so that
# --help answers without torch, without rich and without the other commands.
COMMANDS = {
    "run": ("run", "run", "Train, prove, export and report, from one data file."),
    "resume": ("run", "resume", "Go on with a run where it stopped."),
    "plan": ("run", "plan", "Show every value a run would use, with its reason."),
    "data": ("data", "data", "Check, repair, split a data file, or see it as the model will."),
    "recipes": ("recipes", "recipes", "List the recipes, or show one."),
    "eval": ("results", "evaluate", "Score a run's adapter on other questions, before against after."),
    "chat": ("results", "chat", "Ask a trained model, in llama.cpp or with its adapter."),
    "export": ("results", "export", "Make further files of a trained run: merged, GGUF, Ollama."),
    "verify": ("results", "verify", "Check a run's files against its record."),
    "runs": ("results", "runs", "List the runs, or show one."),
    "bench": ("bench", "bench", "Measure speed and memory beside vanilla PEFT."),
    "doctor": ("doctor", "doctor", "Say whether this machine can train, and what is missing."),
}


class Lazy(click.Group):
    """A group whose commands are imported one by one, when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[name]
        return getattr(importlib.import_module(f"unsloth_ft.cli.{module}"), attribute)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        from unsloth_ft.errors import nearest

        if args and args[0] not in COMMANDS:
            ctx.fail(f'no command "{args[0]}".{nearest(args[0], list(COMMANDS))} `unsloth-ft --help` lists all.')
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="unsloth-ft")
def program() -> None:
    """From a JSONL file and one consumer GPU to your own model in Ollama, with proof that it is better.

    \b
    unsloth-ft run llama31-8b --data faq.jsonl --export gguf:q8_0 --export ollama
    """


def usage_message(error: click.ClickException) -> str:
    """What was wrong with the command line, and where its right form is shown; a group without a command shows its help."""
    text = error.format_message()
    if text.startswith("Usage:"):
        return text
    hint = (
        f" `{error.ctx.command_path} --help` shows all."
        if isinstance(error, click.UsageError) and error.ctx and "--help" not in text
        else ""
    )
    return f"error: {text[:1].lower()}{text[1:]}{hint}"


def main() -> None:
    """The entry point: every error of ours is a message and an exit code, anything else a bug of ours."""
    # Before anything imports torch: its threads would spin while the other library's work.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # OpenMP's threads spin while they wait, and starve each other once the cores are shared: with other work on two cores a
    # training ran at 19 tokens/s spinning and at 66 to 192 tokens/s sleeping, in one interleaved run.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        # Not program.main(): it ends with 1, a bug of ours, when a reader like `head` has gone.
        with program.make_context("unsloth-ft", sys.argv[1:]) as context:
            program.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        print(usage_message(error), file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; a run goes on from its last checkpoint with the same command", file=sys.stderr)
        sys.exit(130)
    except UnslothFtError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # `unsloth-ft … | head`: the reader has gone, and that is no error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        import traceback

        traceback.print_exc()
        print(f"bug: {type(error).__name__}. It is ours; report it with the lines above and `unsloth-ft doctor`.", file=sys.stderr)
        sys.exit(1)
