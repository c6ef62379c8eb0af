"""The application that verbs are registered with, and what they share: option types, tables, errors."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NoReturn

import polars as pl
from cyclopts import App, Parameter
from cyclopts.config import Toml
from cyclopts.exceptions import CycloptsError, UnknownOptionError
from cyclopts.panel import CycloptsPanel
from pydantic import ValidationError
from rich.logging import RichHandler
from rich.table import Table
from rich.text import Text

from attire.catalog.sources import SourceOptions
from attire.errors import AttireError, did_you_mean, shown
from attire.records import read_toml
from attire.score.promise import Promise, Scope
from attire.storage import storage_fault
from attire.terminal import Console, take_any_text

# Old names of options, by verb.
RENAMED_OPTIONS = {
    ("ingest", "--cache"): "--cache-px",
    ("train", "--precision"): "--amp auto|bf16|off",
    ("train", "--start"): "--init-from",
}


class OptionsFile(Toml):
    """A TOML file with a table of options for each verb."""

    def _load_config(self, path: Path) -> dict[str, Any]:
        try:
            content = read_toml(path)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise CycloptsError(msg=f"{path} cannot be read: {reason}. Fix or remove it.") from None
        verbs = [name for name in app if not name.startswith("-")]
        for name in content:
            if name not in verbs:
                hint = did_you_mean(name, verbs)
                raise CycloptsError(msg=f"{path}: '{name}' is not a verb, so it cannot have a table of options{hint}")
        return content


def format_error(error: CycloptsError) -> Any:
    """A parsing error for the terminal; for the old name of an option it gives the new one."""
    if isinstance(error, UnknownOptionError) and error.command_chain:
        name = str(error.token.keyword or error.token.value).strip("[]")  # [name] in the options file
        option = name if name.startswith("--") else f"--{name}"
        if new := RENAMED_OPTIONS.get((error.command_chain[0], option)):
            return CycloptsPanel(CycloptsError(msg=f"{option} is now {new}."))
    if isinstance(error.__cause__, ValidationError):
        faults = error.__cause__.errors(include_url=False, include_context=False)
        return CycloptsPanel(CycloptsError(msg="\n".join(map(_option_fault, faults))))
    return CycloptsPanel(error)


def _option_fault(fault: Mapping[str, Any]) -> str:
    """A fault that pydantic found, in the words of the command line."""
    option = f"--{'.'.join(map(str, fault['loc'])).replace('_', '-')}"
    return f"{option} {shown(repr(fault['input']))}: {fault['msg'].removeprefix('Value error, ')}."


console, error_console = Console(), Console(stderr=True)
app = App(
    name="attire",
    help="Product photos in, catalog attributes out, with a confidence a team can act on.\n\n"
    "Options can also be set in ./attire.toml, in a table named after the verb; flags override them.",
    config=OptionsFile("attire.toml"),
    # --keys a b is the same as --keys a --keys b, and there is no --empty-keys
    default_parameter=Parameter(consume_multiple=True, negative_iterable=()),
    console=console,
    error_console=error_console,
    error_formatter=format_error,
    suppress_keyboard_interrupt=False,  # `main` prints a message
)
Options = Annotated[SourceOptions, Parameter(name="*", negative="")]
DEFAULTS = SourceOptions()


@dataclass(frozen=True, slots=True)
class PromiseOptions:
    """Options of the verbs that fill fields.

    Parameters
    ----------
    precision
        Least share of filled fields that is right: 0.95, one for some keys (colour=0.9, category=0.99), or a .toml file
        with both. Less certain fields are left open.
    confidence
        How sure it must be that each key keeps its precision.
    scope
        key: every key keeps its precision. average: all keys together do, which fills more.
    """

    precision: list[str] = field(default_factory=list)
    confidence: float | None = None
    scope: Scope | None = None

    @property
    def promise(self) -> Promise:
        """What is promised; raises `ConfigError` for text that is not a precision."""
        return Promise.parse(self.precision, self.confidence, self.scope)


Wanted = Annotated[PromiseOptions, Parameter(name="*")]
WANTED = PromiseOptions()


def main(command: Callable[[], object] = app) -> None:
    """Run `command`, by default the command line; an `AttireError` is printed without a traceback."""
    take_any_text()
    handler = RichHandler(console=error_console, show_time=False, show_path=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    logging.getLogger("attire").setLevel(logging.INFO)
    threading.excepthook = _end_thread
    try:
        command()
    except AttireError as error:
        _refuse(str(error))
    except MemoryError:
        _refuse("there is not enough memory. Use a smaller input or batch, or a machine with more.")
    except KeyboardInterrupt:
        error_console.print("interrupted: finished work is saved, and the same command continues from there")
        sys.exit(130)
    except Exception as error:
        if (fault := storage_fault(error) or _path_fault(error)) is None:
            raise
        _refuse(fault)


def _path_fault(error: Exception) -> str | None:
    """A message about the path of `error`, for example a missing file."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}."
    return None


def _end_thread(args: threading.ExceptHookArgs) -> None:
    """Print nothing for a full disk: TensorBoard's thread passes that error on to the main thread."""
    if storage_fault(args.exc_value) is None:
        threading.__excepthook__(args)


def _refuse(reason: str) -> NoReturn:
    error_console.print(Text.assemble(("error:", "bold red"), " ", reason), soft_wrap=True)
    sys.exit(2)


def drop_unset(options: dict[str, Any]) -> dict[str, Any]:
    """The options that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def facts(texts: Mapping[str, str]) -> Table:
    """A table of names and texts, without borders."""
    lines = Table.grid(padding=(0, 2))
    lines.add_column(style="dim")
    lines.add_column()
    for name, text in texts.items():
        lines.add_row(name, text)
    return lines


def table(rows: pl.DataFrame) -> Table:
    """The rows as a table, numbers aligned to the right."""
    printed = Table()
    for name, kind in rows.schema.items():
        printed.add_column(name, justify="right" if kind.is_numeric() else "left")
    for row in rows.iter_rows():
        printed.add_row(*(_cell(value) for value in row))
    return printed


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
