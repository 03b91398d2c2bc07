"""What users' type checkers see: a program without mistakes, and mistakes that are found."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def mistakes(checker: str, program: Path) -> tuple[set[int], str]:
    """The lines that a type checker complains about, and all that it says."""
    if checker == "mypy":
        command = ["mypy", "--strict", "--config-file=", "--no-error-summary", "--follow-untyped-imports", str(program)]
    else:
        command = ["pyright", "--pythonpath", sys.executable, "--outputjson", str(program)]
    ran = subprocess.run([sys.executable, "-m", *command], cwd=HERE, check=False, capture_output=True, text=True)
    if checker == "mypy":
        assert ran.returncode in (0, 1), ran.stdout + ran.stderr
        return {
            int(line) for line in re.findall(rf"^{program.name}:(\d+): error", ran.stdout, re.MULTILINE)
        }, ran.stdout
    found = [said for said in json.loads(ran.stdout)["generalDiagnostics"] if said["severity"] == "error"]
    return {said["range"]["start"]["line"] + 1 for said in found}, ran.stdout


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_a_program_without_mistakes_passes(checker: str) -> None:
    lines, said = mistakes(checker, HERE / "program.py")
    assert lines == set(), said


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_mistakes_are_found(checker: str) -> None:
    program = HERE / "wrong_program.py"
    wrong = {number for number, line in enumerate(program.read_text().splitlines(), 1) if line.endswith("# wrong")}
    lines, said = mistakes(checker, program)
    assert lines == wrong, said


def test_the_program_runs() -> None:
    ran = subprocess.run(
        [sys.executable, HERE / "program.py"], check=False, capture_output=True, text=True, timeout=100
    )
    assert (ran.returncode, ran.stdout.splitlines()[-2:]) == (0, ["7 9 3 7", "10"]), ran.stderr
