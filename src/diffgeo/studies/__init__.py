"""Studies: one folder each, one :class:`Study` object each. Nothing here imports torch."""

from diffgeo.studies.study import COLUMNS, GROUP, PROVENANCE, Study, all_claims, studies, study_named

__all__ = ["COLUMNS", "GROUP", "PROVENANCE", "Study", "all_claims", "studies", "study_named"]
