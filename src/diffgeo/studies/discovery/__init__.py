"""What changes when a latent moves along its own leading directions?"""

from diffgeo.studies.discovery.settings import DiscoveryConfig
from diffgeo.studies.study import Study

__all__ = ["STUDY"]

STUDY = Study(
    name="discovery",
    title="Traversals",
    question="What changes when a latent moves along its own leading directions?",
    settings=DiscoveryConfig,
    package=__name__,
    columns=(
        *("singular_value", "residual_left", "residual_right", "passes", "converged", "gap"),
        *("change_low_share", "path_length", "largest_step", "pixel_change"),
    ),
    place=10,
    seconds=53,
    rows=("sample", "t_frac", "direction"),
    traverses=True,
)
