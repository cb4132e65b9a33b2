"""Gene modules of a run, for models that group genes: named, set against a network, and as modules.gmt.

Gene sets and network are the user's files: of the command line, else those that the run was trained with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from pertcast.analysis.gene_modules import GeneModuleResult, ModuleKnowledge, analyse_gene_modules
from pertcast.analysis.gene_sets import GeneSets, read_gmt
from pertcast.evaluation.bootstrap import N_DRAWS
from pertcast.predictor import Predictor
from pertcast_data.networks.reading import read_gene_networks

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
        knowledge_of_run(folder.config(), compared.genes, sets),
        halves=replicate_halves(evaluation),
        n_draws=n_draws,
        seed=seed,
    )
    found.gmt()
    return found


def knowledge_of_run(
    config: RunConfig, genes: Sequence[str], sets: GeneSets | None = None
) -> ModuleKnowledge:
    """Return what is known of genes beside a run's model: the files that it was trained with.

    Parameters
    ----------
    config
        Of the run; its encoder's `gene_network`, and its `gene_sets` where no sets are given.
    genes
        Names of the G genes.
    sets
        Gene sets of the command line.
    """
    knowledge = _network_of(config, genes)
    if sets is not None:
        return replace(knowledge, sets=sets)
    path = config.encoder.gene_sets
    if path is None:
        return knowledge
    if not path.is_file():
        note = f"not named: {path.name}, of the training, is not there; give --gmt"
        return replace(knowledge, sets_note=note)
    return replace(knowledge, sets=read_gmt(path))


def _network_of(config: RunConfig, genes: Sequence[str]) -> ModuleKnowledge:
    """Return the edges of the training's network among the genes; none where a file is not there."""
    encoder = config.encoder
    paths = encoder.gene_network
    needed = paths if encoder.gene_names is None else (*paths, encoder.gene_names)
    if not paths or not all(path.is_file() for path in needed):
        return ModuleKnowledge()
    network = read_gene_networks(paths, encoder.gene_network_score, encoder.gene_names)
    return ModuleKnowledge(edges=network.among(genes)[0], network=", ".join(network.files))


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
