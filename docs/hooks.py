"""What MkDocs builds the site of: files where they are in the repository, and pages that are made of code.

Pages keep their path in the repository, so a link that works there works on the site.
"""

import argparse
import ast
import itertools
import json
import logging
import os
import re
from pathlib import Path

import griffe
from markdown_it import MarkdownIt
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
FILES = (
    "*.md", "docs/*.md", "docs/*.png", "docs/*.css", "deploy/*.md", "data/*.md", "bench/*.md", "bench/results/*.png",
)
LOG = logging.getLogger("mkdocs.hooks.pages")
SEVERAL = re.compile(r"^( +)(\w+(?:, \w+)+): (.*(?:\n\1 +.*)*)", re.MULTILINE)


class Habits(griffe.Extension):
    """Explains to Griffe what this project does in its own way."""

    def on_class_instance(self, *, cls, **_):
        """What `config` decorates is a dataclass, so that its signature shows its fields."""
        for decorator in cls.decorators:
            if str(decorator.value) == "config":
                decorator.value = griffe.ExprName("dataclasses.dataclass")

    def on_object(self, *, obj, **_):
        """A line "a, b: ..." of a docstring describes two arguments."""
        if obj.docstring:
            obj.docstring.value = SEVERAL.sub(_each, obj.docstring.value)


def _each(match):
    indent, names, text = match.groups()
    return "\n".join(f"{indent}{name}: {text}" for name in names.split(", "))


def on_files(files, config):
    for file in list(files.documentation_pages()) + list(files.media_files()):
        if file.src_dir == config.docs_dir:
            files.remove(file)
    for path in sorted(path for pattern in FILES for path in ROOT.glob(pattern)):
        name = path.relative_to(ROOT).as_posix()
        files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    reference = _reference()
    notebooks = {f"notebooks/{path.stem}.md": _notebook(path) for path in ROOT.glob("notebooks/*.ipynb")}
    for name, text in {**reference, **notebooks, "reference/cli.md": _cli()}.items():
        files.append(File.generated(config, name, content=text))
    section = next(entry["Reference"] for entry in config.nav if "Reference" in entry)
    section[:0] = reference
    return files


def on_page_markdown(markdown, **_):
    return markdown.replace(".ipynb)", ".md)")


def on_page_content(html, page, **_):
    """Warns where a list is not what it is on GitHub: paragraphs in it need four spaces, and blank lines around."""
    if not page.file.generated_by and html.count("<li>") != MarkdownIt().render(page.markdown).count("<li>"):
        LOG.warning("%s: an item of a list is lost. Indent its paragraphs by four spaces.", page.file.src_uri)


def _public():
    """{module: its public names}, as `tfrs_twotower/__init__.pyi` lists them."""
    stub = ast.parse((ROOT / "tfrs_twotower" / "__init__.pyi").read_text(encoding="utf-8"))
    public = {}
    for node in stub.body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                module = node.module if node.module != "tfrs_twotower" else f"{node.module}.{alias.name}"
                public.setdefault(module, []).append(alias.name)
    return public


def _reference():
    """A page for each module with public names, and one that lists them all."""
    package = griffe.load("tfrs_twotower", search_paths=[str(ROOT)])
    pages, rows = {}, []
    for module, names in sorted(_public().items()):
        title = module.rpartition(".")[2]
        parts = [f"# {title}\n"]
        for name in names:
            path = module if name == title else f"{module}.{name}"
            if package[path.partition(".")[2]].is_module and path != module:
                path += f".{name}"  # a function in a file of its name
            options = f'heading: "tt.{name}"\n      toc_label: "{name}"\n'
            if name == "Recommender":  # whose methods are those of `TrainedRun`, `EvaluatedRun` and `SearchedRun` too
                options += "      inherited_members: true\n"
            parts.append(f"::: {path}\n    options:\n      {options}")
            summary = package[path.partition(".")[2]].docstring.value.splitlines()[0]
            rows.append(f"| [`tt.{name}`][{path}] | {title} | {summary} |")
        pages[f"reference/{title}.md"] = "\n".join(parts)
    head = "# Public names\n\n`import tfrs_twotower as tt`\n\n| name | page | what it is |\n| --- | --- | --- |\n"
    return {"reference/names.md": head + "\n".join(sorted(rows, key=str.lower)), **pages}


def _cli():
    """What `twotower --help` and the help of each verb say."""
    from tfrs_twotower.cli.main import build_parser

    os.environ["COLUMNS"] = "100"  # of the usage lines
    parser = build_parser()
    verbs = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return "\n\n".join(
        ["# Command line", *_help(parser)]
        + [part for name, verb in verbs.choices.items() for part in (f"## twotower {name}", *_help(verb))]
    )


def _help(parser):
    yield f"```text\n{parser.format_usage()}```"
    for indented, lines in itertools.groupby(parser.description.splitlines(), lambda line: line.startswith("  ")):
        text = "\n".join(lines)
        yield f"```text\n{text}\n```" if indented else text.replace("[", r"\[")
    formatter = parser._get_formatter()
    for group in parser._action_groups:
        rows = [
            f"| `{formatter._format_action_invocation(action)}` | {formatter._expand_help(action)} |"
            for action in group._group_actions if action.help not in (None, argparse.SUPPRESS)
        ]
        if rows:
            yield "\n".join([f"{group.title}:\n", "| argument | meaning |", "| --- | --- |", *rows])


def _notebook(path):
    """A notebook as Markdown, with its outputs as they are stored."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        parts += [_output(output) for output in cell.get("outputs", [])]
    return "\n\n".join(parts)


def _output(output):
    data = output.get("data", {})
    if "image/png" in data:
        return f'<img alt="" src="data:image/png;base64,{"".join(data["image/png"]).strip()}">'
    if "text/html" in data:
        return "".join(data["text/html"]).replace(' border="1" class="dataframe"', "")  # the theme draws it
    return f"```text\n{''.join(output.get('text') or data['text/plain']).rstrip()}\n```"
