"""``python -m diffgeo``."""

from diffgeo.cli.main import main

main()
