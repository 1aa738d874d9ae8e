"""What verbs print: the same text with colour on a terminal and without it elsewhere."""

from tfrs_twotower.cli import console

TABLE = "view  targets  model\n----  -------  -----\na     3        .2"


def test_a_file_gets_the_plain_text(capsys, monkeypatch):
    console.tables([TABLE])
    assert capsys.readouterr().out == f"\n{TABLE}\n\n"
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    console.tables([TABLE])
    assert "\x1b[3" not in capsys.readouterr().out


def test_a_terminal_gets_colour_in_the_models_column_and_for_the_verdict(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    console.tables([TABLE])
    assert "a     3        \x1b[36m.2" in capsys.readouterr().out
    console.verdict("ndcg@10 .2, best baseline popularity .3: -.1 [-.2, -.05], worse.")
    assert "\x1b[1;31m" in capsys.readouterr().out
