"""Gene modules of a run, for models that group genes: named, set against a network, and as modules.gmt.

Gene sets and network are the user's files: of the command line, else those that the run was trained with.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from pertcast.analysis.gene_modules import GeneModuleResult, ModuleKnowledge, analyse_gene_modules
from pertcast.analysis.gene_sets import GeneSets, read_gmt
from pertcast.encoding import EncoderSpec
from pertcast.evaluation.bootstrap import N_DRAWS
from pertcast.predictor import Predictor

from pertcast_jobs.evaluate.compared import compared_responses, replicate_halves
from pertcast_jobs.evaluate.saving import Evaluation
from pertcast_jobs.run_config import RunConfig
from pertcast_jobs.run_folder import RunFolder, write_text

GMT_NAME: Final = "modules.gmt"


def gene_modules_of_run(
    evaluation: Evaluation, sets: GeneSets | None = None, *, n_draws: int = N_DRAWS, seed: int = 0
) -> GeneModuleResult | None:
    """Describe the modules of an evaluated run's model, and how well it predicts their responses.

    Parameters
    ----------
    evaluation
        Of one run.
    sets
        Gene sets to name modules by; those of the run's configuration where None.
    n_draws, seed
        Of the bootstrap; the seed also of the permuted labels.

    Returns
    -------
    GeneModuleResult or None
        None where the model groups no genes.

    Raises
    ------
    SchemaError
        The evaluation keeps no predictions, or a gene's name cannot stand in a GMT file.
    """
    folder = RunFolder.open(evaluation.runs[0])
    labels = Predictor.from_bundle(folder.bundle_path).model.gene_modules()
    if labels is None:
        return None
    compared = compared_responses(evaluation)
    found = analyse_gene_modules(
        compared,
        labels.cpu().numpy(),
        knowledge_of_run(folder.config(), sets),
        halves=replicate_halves(evaluation),
        n_draws=n_draws,
        seed=seed,
    )
    found.gmt()
    return found


def knowledge_of_run(config: RunConfig, sets: GeneSets | None = None) -> ModuleKnowledge:
    """Return what is known of genes beside a run's model: gene sets given, or those that it was trained with.

    Parameters
    ----------
    config
        Of the run; its encoder's `gene_sets`, GMT files, are read where no sets are given.
    sets
        Gene sets of the command line.
    """
    if sets is not None:
        return ModuleKnowledge(sets=sets)
    paths = _files(config.encoder, "gene_sets")
    missing = [path for path in paths if not path.is_file()]
    if missing:
        return ModuleKnowledge(
            sets_note=f"not named: {missing[0].name}, of the training, is not there; give --gmt"
        )
    return ModuleKnowledge(sets=_joined([read_gmt(path) for path in paths])) if paths else ModuleKnowledge()


def _files(encoder: EncoderSpec, option: str) -> list[Path]:
    """Return the files of an option of the encoder: one, several, or none where it is not set."""
    given: Path | str | Iterable[Path | str] | None = getattr(encoder, option, None)
    if given is None:
        return []
    return [Path(given)] if isinstance(given, str | Path) else [Path(path) for path in given]


def _joined(read: Sequence[GeneSets]) -> GeneSets:
    """Return the sets of several files; a name that an earlier file has is told apart by its file."""
    if len(read) == 1:
        return read[0]
    members: dict[str, tuple[str, ...]] = {}
    for sets in read:
        for name, genes in sets.members.items():
            members[name if name not in members else f"{name} ({sets.source})"] = genes
    return GeneSets(members, source=", ".join(sets.source for sets in read))


def save_modules(evaluation: Evaluation) -> None:
    """Write modules.gmt beside the report; without modules, remove that of an earlier time.

    Parameters
    ----------
    evaluation
        Its folder exists.
    """
    path: Path = evaluation.folder / GMT_NAME
    found = evaluation.biology and evaluation.biology.gene_modules
    if found:
        write_text(path, found.gmt())
    else:
        path.unlink(missing_ok=True)
