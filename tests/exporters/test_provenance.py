from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta, timezone

from exportweb import __version__
from exportweb.exporters import provenance


def test_versions_of_what_is_installed():
    found = provenance.packages(("torch", "no-such-package"))
    assert found["exportweb"] == __version__
    assert "torch" in found and "no-such-package" not in found


def test_time_is_utc_iso_8601():
    then = datetime.fromisoformat(provenance.now().replace("Z", "+00:00"))
    assert timedelta(0) <= datetime.now(timezone.utc) - then < timedelta(minutes=1)


def test_the_commit_of_the_training_script(tmp_path, monkeypatch):
    def git(*words):
        return subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    script = tmp_path / "train.py"
    script.write_text("print(1)")
    monkeypatch.setattr(sys, "argv", [str(script)])
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.commit() is None
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    head = git("rev-parse", "HEAD").strip()
    assert provenance.commit() == head
    script.write_text("print(2)")
    assert provenance.commit() == head + "+"


def test_without_git_there_is_no_commit(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance.commit() is None
