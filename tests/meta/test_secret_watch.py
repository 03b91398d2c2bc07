"""The watch over the suite finds what it is there to find."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LEAKS = {
    "a log line": "logging.getLogger('seakernel.http').debug('GET %s', 'https://store/a?X-Amz-Signature=1')",
    "a log line of a crate below": "logging.getLogger('reqwest').debug('local-access-token-1')",
    "an error": "pytest.raises(ValueError, int, 'canary')",
    "an error that is caught": "seakernel.OperationalError('local-signature-1')",
    "a field of an error": "seakernel.OperationalError('x', error_code='canary')",
    "the cause of an error": """
    with pytest.raises(KeyError):
        try:
            raise ValueError('canary')
        except ValueError as error:
            raise KeyError('x') from error""",
    "standard error": "os.write(2, b'canary')",
    "a parameter in the log": """
    with seakernel.connect('local') as connection, connection.cursor() as cursor:
        cursor.execute('SELECT :p', {'p': 'a private word'})
        logging.getLogger('seakernel').debug('bound a private word')""",
}


def run(tmp_path: Path, body: str) -> subprocess.CompletedProcess[str]:
    test = tmp_path / "test_it.py"
    test.write_text(f"import logging, os, pytest, seakernel\n\ndef test_it():\n    {body}\n")
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "secret_watch", "-c", os.devnull, str(test)]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": path}
    )


@pytest.mark.parametrize("body", LEAKS.values(), ids=LEAKS)
def test_a_leak_fails_the_test(tmp_path: Path, body: str) -> None:
    done = run(tmp_path, body)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.returncode
    assert "leaked into" in done.stdout


def test_what_is_no_secret_passes(tmp_path: Path) -> None:
    done = run(tmp_path, "logging.getLogger('seakernel').debug('chunk fetched')")
    assert done.returncode == pytest.ExitCode.OK
    assert "hold no secret" in done.stdout
