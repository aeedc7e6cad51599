"""The commit that a manifest names: of our own checkout, or none."""

import subprocess

import pytest

from diffgeo.runner import manifest


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A git checkout with sources of ours in it."""
    source = tmp_path / "src" / "diffgeo" / "runner" / "manifest.py"
    source.parent.mkdir(parents=True)
    source.write_text("one")
    (tmp_path / "conf").mkdir()
    monkeypatch.setattr(manifest, "__file__", str(source))

    def git(*words):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        done = subprocess.run(["git", "-C", tmp_path, *identity, *words], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    return source, git


def test_the_manifest_names_the_commit_and_says_whether_sources_were_changed(checkout):
    source, git = checkout
    assert manifest.commit() is None, "no repository yet"
    git("init", "-q")
    assert manifest.commit() is None, "no commit yet"
    git("add", "-A")
    git("commit", "-qm", "first")
    head = git("rev-parse", "HEAD")
    assert manifest.commit() == head
    source.write_text("two")
    assert manifest.commit() == f"{head}+"


def test_sources_inside_somebody_elses_repository_have_no_commit(checkout, monkeypatch):
    source, git = checkout
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "theirs")
    installed = source.parents[3] / "env" / "lib" / "site-packages" / "diffgeo" / "runner" / "manifest.py"
    installed.parent.mkdir(parents=True)
    installed.write_text("")
    monkeypatch.setattr(manifest, "__file__", str(installed))
    assert manifest.commit() is None


def test_without_git_there_is_no_commit(checkout, monkeypatch):
    _, git = checkout
    git("init", "-q")
    monkeypatch.setenv("PATH", "")
    assert manifest.commit() is None
