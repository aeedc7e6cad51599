"""Exploring a model by hand: a picture, its directions, and what they do. The page itself is :mod:`.app`."""

from diffgeo.explore.session import Card, Choice, EditedPicture, Explorer, Picture, Place
from diffgeo.explore.uploads import picture_of

__all__ = ["Card", "Choice", "EditedPicture", "Explorer", "Picture", "Place", "picture_of"]
