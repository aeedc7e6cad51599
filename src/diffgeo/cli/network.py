"""The papers' experiments on one network: composed, run where they are not complete, and judged.

A network's folder holds a run folder an experiment, ``p23a/fig9``. A run that is complete there with the settings asked
for is kept, whoever made it: an earlier call, a sweep, another machine. Experiments with equal settings share a run.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from diffgeo.composition import check, composed, results_depend_on, words_of
from diffgeo.config import Config, Plain, heed_wandb
from diffgeo.errors import ConfigError, DiffgeoError, UnsuitableModelError

if TYPE_CHECKING:
    from diffgeo.results import Row
    from diffgeo.session import Context


@dataclass(frozen=True)
class Network:
    """A network, what is asked of it, and where the answers lie.

    Attributes:
        name: a choice of the group ``model``, or what a folder of the user's is called.
        folder: of its runs and of its table of claims.
        configs: settings by experiment, of those that suit it.
        words: of the command line that gives them, by experiment.
        unsuitable: why the others cannot be asked of it, by experiment.
    """

    name: str
    folder: Path
    configs: dict[str, Config] = field(default_factory=dict)
    words: dict[str, list[str]] = field(default_factory=dict)
    unsuitable: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def of(name: str, folder: Path, words: Sequence[str], experiments: Sequence[str], group: str) -> Network:
        """Compose every experiment.

        Args:
            name: of the network.
            folder: of its runs.
            words: of every run's command line; settings of a study count where an experiment has it.
            experiments: by name.
            group: of the runs in W&B, unless ``words`` give one.

        Raises:
            ConfigError: a word that no run understands.
        """
        network, left = Network(name, folder), {_study_of(word) for word in words} - {None}
        for experiment in experiments:
            given = [words_of(experiment), *(word for word in words if _study_of(word) is None)]
            try:
                cfg = composed(given)
                left.difference_update(cfg.study)
                if own := [word for word in words if _study_of(word) in cfg.study]:
                    given += own
                    cfg = composed(given)
                heed_wandb(cfg, list(words), os.environ)
                check(cfg)
            except UnsuitableModelError as error:
                network.unsuitable[experiment] = str(error)
                continue
            cfg.tracking.group = cfg.tracking.group or group
            network.configs[experiment], network.words[experiment] = cfg, given
        if left:
            raise ConfigError(f"no experiment has the study {sorted(map(str, left))[0]}", "see diffgeo-paper --help")
        return network

    @cached_property
    def folders(self) -> dict[str, Path]:
        """The run folder of every experiment; equal settings share the first one's."""
        by_settings: dict[str, Path] = {}
        return {
            experiment: by_settings.setdefault(_settings(asdict(cfg)), self.folder / experiment)
            for experiment, cfg in self.configs.items()
        }

    def complete(self, experiment: str) -> bool:
        """Whether its run completed with these settings."""
        return _complete(self.folders[experiment], _settings(asdict(self.configs[experiment])))

    def todo(self, experiments: Sequence[str]) -> dict[Path, str]:
        """Run folders that these experiments still need, each with the first that needs it."""
        needed: dict[Path, str] = {}
        for experiment in experiments:
            if experiment in self.configs and not self.complete(experiment):
                needed.setdefault(self.folders[experiment], experiment)
        return needed

    def run(
        self, experiments: Sequence[str], earlier: Context | None = None
    ) -> tuple[Context | None, list[DiffgeoError]]:
        """Run what these experiments need. One that fails is reported, and does not keep the others from running.

        What shows only in a run not to suit the network joins :attr:`unsuitable`, and has not failed.

        Returns:
            The last run's session, and what failed.
        """
        from diffgeo.api import run

        todo, failures = self.todo(experiments), []
        if kept := self._of_other_code(experiments):
            print(f"Kept although made by other code: {kept}. Delete a run's folder to make it anew.", file=sys.stderr)
        for i, (folder, experiment) in enumerate(todo.items()):
            print(f"[{i + 1}/{len(todo)}] {folder}", file=sys.stderr, flush=True)
            folder.mkdir(parents=True, exist_ok=True)
            self._leave_words(folder, experiment)
            try:
                earlier = run(self.configs[experiment], folder, earlier=earlier).context
            except UnsuitableModelError as error:
                self.unsuitable[experiment] = str(error)
                print(f"{experiment} is left out: {error}", file=sys.stderr, flush=True)
            except DiffgeoError as error:
                failures.append(error)
                print(f"{folder} failed: {error}", file=sys.stderr, flush=True)
        return earlier, failures

    def _of_other_code(self, experiments: Sequence[str]) -> str:
        """Complete runs that are of another commit than this one, each with its own; empty if there are none."""
        from diffgeo.runner.manifest import commit

        now, found = commit(), dict[str, str]()
        for experiment in experiments:
            if experiment in self.configs and self.complete(experiment):
                facts = json.loads((self.folders[experiment] / "run.json").read_text(encoding="utf-8"))
                if now is not None and facts.get("commit") not in (None, now):
                    found[self.folders[experiment].as_posix()] = str(facts["commit"])[:10]
        return ", ".join(f"{folder} ({own})" for folder, own in found.items())

    def _leave_words(self, folder: Path, experiment: str) -> None:
        """Write where Hydra would which words of ``diffgeo`` give this run; its page shows them."""
        path = folder / ".hydra" / "overrides.yaml"
        path.parent.mkdir(exist_ok=True)
        OmegaConf.save(OmegaConf.create(self.words[experiment]), path)

    def judged(self) -> list[Row]:
        """Every claim whose experiment is complete, asked for in this call or not, with its verdict."""
        import pandas as pd

        from diffgeo.claims import decide, judge
        from diffgeo.convergence import Convergence, summary
        from diffgeo.run_folders import belongs
        from diffgeo.studies import all_claims

        rows = []
        for claim in all_claims():
            if claim.experiment not in self.configs or not self.complete(claim.experiment):
                continue
            folder = self.folders[claim.experiment]
            facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            paths = [path for path in (folder / "tables").glob("*.parquet") if belongs(facts, f"tables/{path.name}")]
            tables = {path.stem: pd.read_parquet(path) for path in paths}
            found = summary(Convergence.read(facts))
            rows.append(judge(claim, tables, facts["model"]["source"]) | {"not_converged": found, "run": str(folder)})
        return decide(rows)


def choosing(model: str) -> tuple[str, list[str]]:
    """A network's name, and the words that choose it: a choice of the group ``model``, or a pipeline's folder.

    >>> choosing("factor_faces_4")
    ('factor_faces_4', ['model=factor_faces_4'])
    >>> choosing("nets/mine")
    ('mine', ['model=local', 'model.path=nets/mine'])
    """
    if "/" in model:
        reads_text = (Path(model).expanduser() / "tokenizer").is_dir()
        return Path(model).name, [f"model={'local_sd' if reads_text else 'local'}", f"model.path={model}"]
    return model, [f"model={model}"]


def _settings(cfg: Plain) -> str:
    """What a run's numbers depend on, as text."""
    return json.dumps(results_depend_on(cfg), sort_keys=True)


def _study_of(word: str) -> str | None:
    """The study that a word sets something of; None if it sets something else."""
    key = word.partition("=")[0].split(".")
    return key[1] if key[0] == "study" and len(key) > 1 else None


def _complete(folder: Path, settings: str) -> bool:
    try:
        facts = dict(json.loads((folder / "run.json").read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError):
        return False
    return facts.get("status") == "completed" and _settings(facts["settings"]) == settings
