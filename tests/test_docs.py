"""The documentation names what is there: targets, verbs, flags, files, fields and public names."""

import argparse
import dataclasses
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import tfrs_twotower
import tfrs_twotower.recipe  # noqa: F401  (registers every configuration class)
from tfrs_twotower import configuration
from tfrs_twotower.cli.main import build_parser

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page for page in ROOT.rglob("*.md") if not {".venv", "runs", "build"} & set(page.relative_to(ROOT).parts)
)


def _pages():
    return pytest.mark.parametrize("page", PAGES, ids=[str(p.relative_to(ROOT)) for p in PAGES])


def _verbs():
    actions = build_parser()._actions
    return next(a.choices for a in actions if isinstance(a, argparse._SubParsersAction))


def _code(text):
    """The code of a page: fenced and indented blocks, and what stands between backquotes."""
    fenced = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^    .*$", text, re.MULTILINE)
    return "\n".join(fenced + indented + re.findall(r"`([^`\n]+)`", text)).replace("\\\n", " ")


@_pages()
def test_links_to_files_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


@_pages()
def test_make_targets_exist(page):
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    for command in re.findall(r"^\s*make ([^#&|;\n]*)", _code(page.read_text()), re.MULTILINE):
        named = [word for word in command.split() if re.fullmatch(r"[a-z]+", word)]
        assert set(named) <= set(targets), command


@_pages()
def test_verbs_and_flags_exist(page):
    verbs = _verbs()
    for verb, rest in re.findall(r"^\s*twotower ([a-z][a-z-]*)([^#&|;\n]*)", _code(page.read_text()), re.MULTILINE):
        assert verb in verbs
        flags = set(re.findall(r"(?<!\S)--[a-z-]+", rest))
        assert flags <= set(verbs[verb]._option_string_actions), f"twotower {verb}{rest}"


def test_every_verb_and_flag_has_a_help_text():
    for name, verb in _verbs().items():
        assert verb.description, name
        for action in verb._actions:
            assert action.help, f"twotower {name}: {action.option_strings or action.dest}"


def test_every_configuration_field_is_documented():
    """In its class, or in another class of the same file that explains the field of the same name."""
    classes = [cls for cls in configuration._CLASSES.values() if cls.__module__.startswith("tfrs_twotower.")]
    for cls in classes:
        docs = cls.__doc__ + "".join(c.__doc__ for c in classes if c.__module__ == cls.__module__)
        for field in dataclasses.fields(cls):
            assert re.search(rf"\b{field.name}\b", docs), f"{cls.__name__}.{field.name}"


def _modules():
    for module in pkgutil.walk_packages(tfrs_twotower.__path__, "tfrs_twotower."):
        if not module.name.startswith("tfrs_twotower.retail_sample"):
            yield importlib.import_module(module.name)


def test_every_public_name_has_a_docstring():
    bare = []
    for module in _modules():
        for name, value in vars(module).items():
            mine = getattr(value, "__module__", None) == module.__name__
            if mine and not name.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value)):
                # A dataclass without a docstring gets its signature as one.
                if not value.__doc__ or value.__doc__.startswith(f"{name}("):
                    bare.append(f"{module.__name__}.{name}")
    assert not bare
