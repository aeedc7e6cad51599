"""Studies: one folder each, one :class:`Study` object each. Nothing here imports torch."""

from diffgeo.studies.study import GROUP, Study, all_claims, studies, study_named

__all__ = ["GROUP", "Study", "all_claims", "studies", "study_named"]
