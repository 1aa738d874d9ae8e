"""Text in colour on a terminal; into a file, and with NO_COLOR, the same text without it."""

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

_STYLES = {"better.": "bold green", "worse.": "bold red"}


def tables(found: Iterable[str]) -> None:
    """Prints aligned tables, each with its heading in bold and the column `model` in colour."""
    console = Console(highlight=False, soft_wrap=True)
    for table in found:
        heading, rule, *rows = table.split("\n")
        begin = heading.index("model")
        end = (rule + "  ").index("  ", begin)
        console.print()
        console.print(Text(heading, "bold"))
        console.print(Text(rule, "dim"))
        for row in rows:
            text = Text(row)
            text.stylize("cyan", begin, end)
            console.print(text)
    console.print()


def verdict(line: str) -> None:
    """Prints a sentence that ends with how the model compares, in the colour of its outcome."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(line, _STYLES.get(line.rsplit(" ", 1)[-1], "bold")))
    console.print()
