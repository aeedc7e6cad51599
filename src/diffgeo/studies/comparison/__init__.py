"""How do the field's methods of editing compare, at equal change of the picture?"""

from diffgeo.studies.comparison.settings import ComparisonConfig
from diffgeo.studies.study import Study

__all__ = ["STUDY"]

STUDY = Study(
    name="comparison",
    title="The field's methods compared",
    question="How do the field's methods of editing compare, at equal change of the picture?",
    settings=ComparisonConfig,
    package=__name__,
    place=95,
    seconds=15,
    rows=("sample", "method", "direction"),
    columns=(
        *("local_success", "transfer_success", "transfer", "ssim", "locality", "passes", "inside", "outside", "spill"),
        *("effect", "wanted", "turned", "mask_share", "share", "departure", "cosine"),
        *("mask", "frame_all", "interaction", "off_data_all", "residual_change_all"),
    ),
)
