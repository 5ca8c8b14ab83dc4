"""The command line: the table of commands, the only error handler, the only `sys.exit`.

A command's module is imported when it is called, so `advisor --help` stays instant.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from importlib import import_module

import click

from executors.base import Problem, UserError

COMMANDS = {  # name -> what it does; the module is advisor/commands/<name>.py (`-` as `_`), the command its `command`
    "ask": "Recommend how to adapt a model, from answers in a file.",
    "profile": "Measure what need not be asked: data, documents, model, machine.",
    "report": "Show a run: the reasons, the costs, and what was measured.",
    "chart": "Draw the decision chart, or the path a run took in it.",
    "what-if": "Show what other answers would change.",
    "recheck": "Say whether a decision still stands: measure again, and read today's prices.",
    "presets": "Typical situations to start from, each with a page.",
    "quote": "Say what each method needs in memory, time and money.",
    "run": "Execute the recommended method and score it on held-out rows.",
    "prove": "Race the viable methods on held-out rows, and revise the recommendation.",
    "judge": "Let a language model grade a run's answers, and measure it against people.",
    "predict": "Use what a run has built.",
    "chat": "Ask a run one question after another, each answer with its sources.",
    "index": "Index a folder of documents and keep the index fresh; prove that it is.",
    "export": "Export what a run has tuned: adapter, merged weights, or GGUF.",
    "prompt": "Show a run's prompt as the model sees it, how it was found, or export it.",
    "demo": "Watch the whole way on a bundled task, in a few minutes.",
    "runs": "List the runs of this folder.",
    "fetch": "Fetch model weights ahead of time.",
}

EPILOG = """\b
Examples:
  advisor                                       answer questions in the terminal
  advisor ask --answers a.yaml --data rows.csv  the same without a terminal
  advisor run last                              run what was recommended
  advisor predict last "my parcel is late"      use it
"""


class Commands(click.Group):
    """A group that knows its commands' names and help without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f"advisor.commands.{name.replace('-', '_')}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from executors.base import did_you_mean

            raise click.UsageError(f"no command '{args[0]}'{did_you_mean(args[0], COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        click.echo(f"advisor {version('adaptation-advisor')}")
        ctx.exit()


@click.command(cls=Commands, invoke_without_command=True, epilog=EPILOG)
@click.option("--lang", type=click.Choice(["en", "zh"]), help="Language (default: the locale's).")
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
@click.pass_context
def cli(ctx: click.Context, lang: str | None) -> None:
    """Should we prompt, retrieve, tune with LoRA, or fine-tune in full?

    Without a command, asks a few questions and recommends.
    """
    ctx.ensure_object(dict)
    ctx.obj["lang"] = lang
    if ctx.invoked_subcommand is None:
        from advisor.commands.ask import interview

        interview(ctx)


def main() -> None:
    """Run the command line and end the process: 0 done, 1 a user's error, 2 wrong usage, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that cannot show a character shows '?', not a traceback
            stream.reconfigure(errors="replace")
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """The exit status of one call."""
    try:
        status: int | None = cli(arguments, prog_name="advisor", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except UserError as error:
        return _fail(error, arguments)
    except click.Abort as stop:  # click's word for Ctrl-C; what was kept is said in the interruption itself
        kept = map(str, stop.__cause__.args if stop.__cause__ else ())
        chinese = _language(arguments) == "zh"
        click.echo("：".join(["已中断", *kept]) if chinese else ": ".join(["interrupted", *kept]), err=True)
        return 130
    except BrokenPipeError:  # the reader of a pipe has left, as in `advisor report | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return _fail(_disk_full(error.filename), arguments)
        if error.errno in (errno.EACCES, errno.EROFS):
            return _fail(_forbidden(error.filename), arguments)
        raise
    return status or 0  # a command that ends with `ctx.exit(n)` hands its status back


def _fail(error: UserError, arguments: list[str]) -> int:
    lang = _language(arguments)
    told = error.told(lang)
    click.secho(f"错误：{told.message}" if lang == "zh" else f"error: {told.message}", fg="red", err=True)
    for line in filter(None, told.hint.split("\n")):
        click.echo(f"  → {line}", err=True)
    return 1


def _language(arguments: list[str]) -> str:
    """The language of a call that went wrong, told from its arguments: click's own view of them is gone by now."""
    from advisor.texts import choose_language

    asked = re.findall(r"--lang[= ](en|zh)\b", " ".join(arguments))
    return choose_language(asked[-1] if asked else None)


def _disk_full(place: str | None) -> UserError:
    return UserError(
        f"no space left on the disk{f': {place}' if place else ''}",
        "free some space and repeat the command: it resumes",
        Problem(f"磁盘空间不足{f'：{place}' if place else ''}", "请腾出空间后重新运行命令，会从中断处继续"),
    )


def _forbidden(place: str | None) -> UserError:
    return UserError(
        f"no permission to write or read{f': {place}' if place else ''}",
        "choose another folder, e.g. with ADVISOR_RUNS",
        Problem(f"没有读写权限{f'：{place}' if place else ''}", "请换一个文件夹，例如用 ADVISOR_RUNS 指定"),
    )
