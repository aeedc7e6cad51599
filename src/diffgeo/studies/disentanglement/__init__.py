"""What does each direction change, what else changes, and how does that compare?"""

from diffgeo.studies.disentanglement.settings import DisentanglementConfig
from diffgeo.studies.study import Study

__all__ = ["STUDY"]

STUDY = Study(
    name="disentanglement",
    title="Scorecard",
    question="What does each direction change, what else changes, and how does that compare?",
    settings=DisentanglementConfig,
    package=__name__,
    columns=(
        *("local_success", "transfer_success", "ssim", "psnr", "identity", "s_dir", "target", "target_held_out"),
        *("dependency_mean", "dependency_max", "precision_own", "precision_gain", "precision_gain_matched"),
        *("dci_d", "dci_c", "dci_i", "mig", "sap", "factor_vae"),
        *("effect_vote", "effect_gap", "effect_disentanglement", "effect_completeness"),
    ),
    place=100,
    seconds=37,
    rows=("t_frac", "method", "direction", "sample"),
)
