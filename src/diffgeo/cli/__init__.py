"""The commands: ``diffgeo`` (``command``) and its companions."""
