"""``python -m diffgeo``."""

from diffgeo.cli import main

main()
