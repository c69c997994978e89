"""Option names of version 0.1: still accepted, with a note that names the new one."""

from __future__ import annotations

from typing import ClassVar

import click


class RenamedOptions(click.Command):
    """A command that translates old names of options; subclass it with `old_names`."""

    old_names: ClassVar[dict[str, str]] = {}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Replace old names by new ones; words after `--` are not options."""
        end = args.index("--") if "--" in args else len(args)
        return super().parse_args(ctx, [*map(self._translated, args[:end]), *args[end:]])

    def _translated(self, word: str) -> str:
        name, equals, value = word.partition("=")
        if name not in self.old_names:
            return word
        click.echo(f"note: {name} is now {self.old_names[name]}", err=True)
        return self.old_names[name] + equals + value


def command_with(old_names: dict[str, str]) -> type[RenamedOptions]:
    """Return the class of a command whose options had these old names."""

    class Command(RenamedOptions):
        pass

    Command.old_names = old_names
    return Command
