from __future__ import annotations

import subprocess
from pathlib import Path

from tests.services.process import as_nobody
from tests.services.programs import runnable


def test_program_when_its_folder_is_closed_to_nobody_then_a_copy_runs(
    tmp_path: Path,
) -> None:
    """A checkout in root's home is no reason to leave PostgreSQL out."""
    root = tmp_path / "closed" / "package"
    (root / "bin").mkdir(parents=True)
    program = root / "bin" / "tell"
    program.write_text("#!/bin/sh\necho here\n")
    program.chmod(0o700)
    (tmp_path / "closed").chmod(0o700)
    found = runnable(program, package=root)
    # Who is not root runs it as they are, where it is.
    assert (found == program) is (as_nobody() == {})
    done = subprocess.run(
        [found], capture_output=True, text=True, check=True, cwd="/", **as_nobody()
    )
    assert done.stdout == "here\n"
