"""A strict reading of the LaTeX that tables are written in, for machines without any LaTeX."""

from __future__ import annotations

import re

WORDS = """
begin end centering caption label toprule midrule bottomrule cmidrule multicolumn textbf emph
scriptsize footnotesize par smallskip linewidth pm dagger cdot times leq geq ldots textbackslash
textasciitilde textasciicircum textless textgreater textbar resizebox ifdim width else fi
"""
COMMANDS = frozenset(WORDS.split())
TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[{}$&#_^~%\n]|[^\\{}$&#_^~%\n]+", re.DOTALL)


def check_latex(text: str) -> list[list[list[str]]]:
    """Return the rows of every tabular, as cells; an AssertionError where LaTeX would stop.

    Braces, `$` and environments close, every command is known, `^` is in formulas and `&` in tables
    alone, every row has the columns that its table was given, and what LaTeX cannot set is absent.
    """
    stack: list[str] = []
    is_formula = False
    for token in TOKEN.findall(re.sub(r"^%[^\n]*$|(?<=\{)%$", "", text, flags=re.MULTILINE)):
        if token == "{":
            stack.append("{")
        elif token == "}":
            assert stack and stack.pop() == "{", "a brace closes that was not open"
        elif token == "$":
            is_formula = not is_formula
        elif token in ("^", "_"):
            assert is_formula, f"{token} outside of a formula"
        elif token == "\n":
            assert not is_formula, "a formula runs over the end of a line"
        elif token in ("#", "%", "~", "&") and token != "&":
            raise AssertionError(f"{token} is not escaped")
        elif re.fullmatch(r"\\[A-Za-z]+", token):
            assert token[1:] in COMMANDS, f"{token} is no command of LaTeX or booktabs"
        elif token.startswith("\\"):
            assert token[1] in "\\{}$&#_%,", f"{token} is no command"
        else:
            assert all(31 < ord(sign) <= 0x17F for sign in token), token
    assert not stack and not is_formula, "something is left open"
    _check_environments(text)
    bodies = re.findall(r"\\begin\{tabular\}\{([a-z]+)\}\n(.*?)\\end\{tabular\}", text, re.DOTALL)
    outside = re.sub(r"\\begin\{tabular\}.*?\\end\{tabular\}", "", text, flags=re.DOTALL)
    assert not re.search(r"(?<!\\)&", outside), "& outside of a table"
    return [_rows(body, len(spec)) for spec, body in bodies]


def _check_environments(text: str) -> None:
    opened: list[str] = []
    for what, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if what == "begin":
            opened.append(name)
        else:
            assert opened and opened.pop() == name, f"{name} ends where it does not begin"
    assert not opened


def _rows(body: str, width: int) -> list[list[str]]:
    rows = []
    for line in body.splitlines():
        if line in (r"\toprule", r"\midrule", r"\bottomrule"):
            continue
        if line.startswith(r"\cmidrule"):
            ends = [int(end) for end in re.findall(r"\{\d+-(\d+)\}", line)]
            assert ends and max(ends) <= width, line
            continue
        assert line.endswith(r" \\"), line
        assert not line.startswith(("[", "*")), f"would be an option of the line above: {line}"
        cells = re.split(r"(?<!\\) ?& ?", line.removesuffix(r"\\"))
        spans = [re.match(r"\\multicolumn\{(\d+)\}", cell) for cell in cells]
        assert sum(int(span[1]) if span else 1 for span in spans) == width, line
        rows.append([cell.strip() for cell in cells])
    return rows
