"""The Dockerfile and the templates in deploy/: what can be checked of them without an engine or a cluster."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.queues import QUEUES
from flows.serve import POOL

ROOT = Path(__file__).parents[2]


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, lines that go on joined."""
    text = (ROOT / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    found = [(word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in joined)]
    known = {"FROM", "RUN", "USER", "WORKDIR", "ENV", "COPY", "VOLUME", "ENTRYPOINT", "CMD"}
    assert {word for word, _ in found} <= known, "an instruction that is not known"
    return found


def all_of(word: str) -> list[str]:
    return [rest for name, rest in instructions() if name == word]


def test_the_image_is_pinned_and_runs_without_root() -> None:
    assert instructions()[0][0] == "FROM"
    for base in all_of("FROM"):
        assert re.fullmatch(r"\S+:\d+\.\d+\.\d+\S*|\S+@sha256:[0-9a-f]{64}", base), base
    users = all_of("USER")
    assert users and users[-1] not in ("root", "0") and not any(":" in user for user in users)
    after = [word for word, _ in instructions()]
    last = len(after) - 1 - after[::-1].index("USER")
    assert not any(word == "RUN" and "apt-get" in rest for word, rest in instructions()[last:])
    assert not any("sudo" in rest or "curl" in rest or word == "ADD" for word, rest in instructions())
    assert f"--uid {manifest()['securityContext']['runAsUser']}" in " ".join(all_of("RUN"))


def test_the_image_installs_as_the_makefile_does_with_what_readme_asks_for() -> None:
    (made,) = re.findall(r"pip install -q (.*) -e '\.\[dev\]'", (ROOT / "Makefile").read_text())
    assert f"pip install {made} -e ." in all_of("RUN")
    packages = " ".join(rest for rest in all_of("RUN") if "apt-get install" in rest)
    for package in re.findall(r"apt install ([^`]+)`", (ROOT / "README.md").read_text()):
        needed = {name for name in package.split() if name not in ("python3.11-venv", "make")}
        assert all(f" {name} " in f"{packages} " for name in needed), package
    copies = [place for place, (word, _) in enumerate(instructions()) if word == "COPY"]
    assert copies and instructions()[copies[0] + 1][1].startswith("pip install")


def test_what_git_ignores_does_not_enter_the_image() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    for pattern in (ROOT / ".gitignore").read_text().split():
        if pattern not in ("*.part", ".cache/"):
            assert any(pattern.strip("/*") in one for one in ignored), pattern
    assert ".git" in ignored


def manifest() -> Any:
    """The pod of the Kubernetes template."""
    found = yaml.safe_load((ROOT / "deploy/kubernetes.yaml").read_text())
    assert (found["apiVersion"], found["kind"]) == ("apps/v1", "Deployment")
    labels = found["spec"]["template"]["metadata"]["labels"]
    assert found["spec"]["selector"]["matchLabels"].items() <= labels.items()
    return found["spec"]["template"]["spec"]


def test_a_pod_asks_for_a_gpu_and_has_no_rights() -> None:
    pod = manifest()
    (container,) = pod["containers"]
    for kind in ("requests", "limits"):
        assert container["resources"][kind]["nvidia.com/gpu"] == 1
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] != 0
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert not pod["automountServiceAccountToken"]
    name, _, tag = container["image"].rpartition(":")
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.M)
    assert version is not None and tag == version[1] and name.endswith("/invid")
    assert {mount["name"] for mount in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}


def test_the_worker_of_a_pod_is_a_call_that_prefect_takes() -> None:
    """Prefect's own parser reads the words; the flag asks for help, so that nothing is started."""
    (container,) = manifest()["containers"]
    program, *words = container["command"]
    assert program == "prefect" and words[words.index("--pool") + 1] == POOL
    from prefect.cli._app import _app as app

    command, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    assert command.__name__ == "start" and bound.arguments["limit"] == 1
    images = dict(re.findall(r"(PREFECT_\w+)=(\S+)", " ".join(all_of("ENV"))))
    assert images["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"


@pytest.mark.slow
def test_a_run_from_git_has_the_code_of_the_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: None
) -> None:
    """The pull steps, taken by Prefect from a repository of our own, and the flow loaded from the clone."""
    from prefect.deployments.steps.core import run_steps
    from prefect.utilities.asyncutils import run_coro_as_sync

    origin = tmp_path / "origin"
    origin.mkdir()
    (origin / "flows").mkdir()
    (origin / "flows/process_video.py").write_text("marker = 7\n")
    (origin / "setup.py").write_text("import pathlib; pathlib.Path('built').write_text('yes')\n")
    git = ["git", "-C", str(origin), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q", "-b", "release"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setenv("INVID_REPOSITORY", origin.as_uri())
    monkeypatch.setenv("INVID_REVISION", "release")
    monkeypatch.chdir(tmp_path)
    spec = yaml.safe_load((ROOT / "deploy/git.yaml").read_text())
    output = run_coro_as_sync(run_steps(spec["pull"]))
    clone = Path(output["directory"])
    assert (tmp_path / clone / "built").read_text() == "yes"
    for deployment in spec["deployments"]:
        entry = deployment["entrypoint"].partition(":")[0]
        assert (tmp_path / clone / entry).read_text() == "marker = 7\n"
        assert (ROOT / entry).is_file() and deployment["work_pool"]["work_queue_name"] in QUEUES
    assert os.environ["INVID_REVISION"] == "release"
